from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.handlers.aligned import MOST as ALIGNED
from scstfs.handlers.store import FileStore, NullStore, StoreExtent
from scstfs.scsi.unit import ThinLimits
from tests.support.needs import lacking
from tests.support.stores import discard, zero, zero_by_discard
from tests.support.troubled_disk import troubled_disk

SIZE = 1 << 20
PATTERN = bytes(range(256)) * 16


@pytest.fixture
def path(memory_path: Path) -> Path:
    file = memory_path / "disk"
    with file.open("wb") as opened:
        opened.truncate(SIZE)
    return file


@pytest.fixture
def store(path: Path) -> Iterator[FileStore]:
    opened = FileStore(str(path), read_only=False)
    yield opened
    opened.close()


def read(store: FileStore, offset: int, length: int) -> bytes:
    data = bytearray(length)
    store.read(offset, memoryview(data))
    return bytes(data)


def write(store: FileStore, offset: int, data: bytes, *, durable: bool = False) -> None:
    store.write(offset, memoryview(data), durable=durable)


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_written_can_be_read(store: FileStore, path: Path, durable: bool) -> None:
    write(store, 4096, PATTERN, durable=durable)
    assert read(store, 4096, 4096) == PATTERN
    assert path.read_bytes()[4096:8192] == PATTERN


def test_attempts_do_the_whole_transfer(store: FileStore) -> None:
    assert store.try_write(512, memoryview(PATTERN))
    buffer = memoryview(bytearray(len(PATTERN)))
    # Data just written is in memory, unless the machine is so slow that attempts decline.
    deadline = time.monotonic() + 5
    while not store.try_read(512, buffer):
        assert time.monotonic() < deadline
    assert buffer == PATTERN


def test_an_attempt_that_fails_is_declined(path: Path) -> None:
    store = FileStore(str(path), read_only=True)
    assert not store.try_write(0, memoryview(PATTERN))
    with pytest.raises(OSError, match="Errno") as failure:
        store.write(0, memoryview(PATTERN))
    assert failure.value.errno == errno.EBADF
    store.close()


def test_nothing_is_attempted_where_the_system_can_not_be_asked(tmp_path: Path) -> None:
    with troubled_disk(tmp_path) as disk:
        disk.disk.write_bytes(PATTERN)
        store = FileStore(str(disk.disk), read_only=False)
        disk.hang("read", "write", "getattr")
        assert not store.try_read(0, memoryview(bytearray(4096)))
        assert not store.try_write(0, memoryview(PATTERN))
        assert store.lend(0, 4096) is None
        disk.answer()
        assert read(store, 0, 4096) == PATTERN
        store.close()


def test_a_file_that_shrank_gives_an_error(store: FileStore, path: Path) -> None:
    os.truncate(path, 4096)
    with pytest.raises(OSError, match="Errno") as failure:
        read(store, 4096 - 512, 1024)
    assert failure.value.errno == errno.EIO
    assert not store.try_read(4096 - 512, memoryview(bytearray(1024)))
    assert store.measure() == 4096


def test_a_file_that_was_removed_goes_on(store: FileStore, path: Path) -> None:
    path.unlink()
    write(store, 0, PATTERN)
    assert read(store, 0, 4096) == PATTERN


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_file_is_refused(tmp_path: Path, read_only: bool) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, Path("/dev/null")):
        with pytest.raises(OSError, match="Errno") as failure:
            FileStore(str(path), read_only=read_only)
        assert failure.value.errno == errno.EINVAL


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileStore(str(tmp_path / "none"), read_only=False)


def test_zeros_keep_their_space_and_holes_do_not(store: FileStore, path: Path) -> None:
    write(store, 0, b"x" * 65536)
    store.flush()
    zero(store, 0, 32768)
    allocated = path.stat().st_blocks
    assert allocated >= 128
    zero_by_discard(store, 0, 32768)
    assert path.stat().st_blocks < allocated
    assert read(store, 0, 65536) == bytes(32768) + b"x" * 32768


def test_unaligned_discards_read_as_zeros(store: FileStore) -> None:
    write(store, 0, b"x" * 16384)
    discard(store, 512, 9000)
    assert read(store, 0, 16384) == b"x" * 512 + bytes(9000) + b"x" * (16384 - 9512)


def test_zeros_are_written_where_the_file_system_can_not(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr("scstfs.handlers.syscalls.zero_range", refuse)
    write(store, 0, b"x" * 4096)
    zero(store, 1024, 1024)
    assert read(store, 0, 4096) == b"x" * 1024 + bytes(1024) + b"x" * 2048


def test_an_error_of_zeroing_is_an_error(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("scstfs.handlers.syscalls.zero_range", fail)
    with pytest.raises(OSError, match="No space left"):
        zero(store, 0, 512)


def test_extents_are_those_of_the_file_system(store: FileStore) -> None:
    assert list(store.extents(0, SIZE)) == [StoreExtent(0, SIZE, allocated=False)]
    write(store, 65536, b"x" * 65536)
    assert list(store.extents(0, SIZE)) == [
        StoreExtent(0, 65536, allocated=False),
        StoreExtent(65536, 131072, allocated=True),
        StoreExtent(131072, SIZE, allocated=False),
    ]
    assert list(store.extents(70000, 1000)) == [StoreExtent(70000, 71000, allocated=True)]


def test_extents_of_a_file_that_shrank(store: FileStore, path: Path) -> None:
    write(store, 0, b"x" * 8192)
    os.truncate(path, 4096)
    assert list(store.extents(0, 8192)) == [
        StoreExtent(0, 4096, allocated=True),
        StoreExtent(4096, 8192, allocated=False),
    ]


@pytest.mark.parametrize("aligned", [True, False])
def test_direct_io_takes_any_memory(path: Path, aligned: bool) -> None:
    store = FileStore(str(path), read_only=False, direct=True)
    if not store.is_direct:
        pytest.skip("the file system has no direct I/O for blocks of 512 bytes")
    size = ALIGNED + 4096
    memory = memoryview(mmap.mmap(-1, size + 4096))
    data = memory[:size] if aligned else memory[1 : size + 1]
    os.truncate(path, 2 * ALIGNED)
    data[:] = os.urandom(size)
    store.write(4096, data)
    back = memoryview(bytearray(size + 1))[1:]
    store.read(4096, back)
    assert back == data
    store.close()


def test_direct_io_gives_way_where_blocks_are_too_small(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scstfs.handlers.store._takes_direct", lambda fd, block_size: False)
    store = FileStore(str(path), read_only=False, direct=True)
    assert not store.is_direct
    write(store, 100, b"odd")
    assert read(store, 100, 3) == b"odd"
    store.close()


def test_direct_io_makes_no_attempts(path: Path) -> None:
    store = FileStore(str(path), read_only=False, direct=True)
    try:
        if not store.is_direct:
            lacking("needs a file system with direct I/O")
        assert not store.try_read(0, memoryview(bytearray(512)))
        assert not store.try_write(0, memoryview(bytearray(512)))
    finally:
        store.close()


def test_two_stores_of_one_file_have_the_same_medium(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(512))
    one, two, three = (FileStore(str(p), read_only=True) for p in (path, path, other))
    assert one.medium == two.medium
    assert one.medium != three.medium
    for store in (one, two, three):
        store.close()


def test_hints_and_numbers(store: FileStore) -> None:
    store.prefetch(0, 4096)
    available, used = store.usage()
    assert available > 0
    assert used == 0
    limits = store.thin_limits(512)
    assert limits.max_unmap_blocks == ThinLimits.of_file(512).max_unmap_blocks
    # 16 bytes each, in a parameter list of at most 65535 bytes with a header of 8.
    assert limits.max_unmap_extents == 4095
    # Holes do.
    assert limits.reads_zero


# Nothing


def test_nullio_never_shows_what_was_in_a_buffer() -> None:
    store = NullStore(1 << 40)
    buffer = memoryview(bytearray(b"secret" * 700_000))
    assert store.try_read(0, buffer)
    assert not any(buffer)


def test_nullio_forgets() -> None:
    store = NullStore(4096)
    assert store.try_write(0, memoryview(b"x" * 512))
    store.write(0, memoryview(b"x" * 512), durable=True)
    for erase in (zero, discard, zero_by_discard):
        erase(store, 0, 512)
    store.prefetch(0, 512)
    store.flush()
    buffer = bytearray(b"x" * 512)
    store.read(0, memoryview(buffer))
    assert buffer == bytes(512)
    assert list(store.extents(0, 4096)) == [StoreExtent(0, 4096, allocated=True)]
    assert (store.measure(), store.usage()) == (4096, (0, 4096))
    store.close()


@pytest.mark.parametrize(("name", "error"), [("none", errno.ENOENT), ("disk/x", errno.ENOTDIR)])
def test_errors_name_the_file(tmp_path: Path, name: str, error: int) -> None:
    (tmp_path / "disk").touch()
    path = str(tmp_path / name)
    with pytest.raises((FileNotFoundError, NotADirectoryError)) as caught:
        FileStore(path, read_only=False)
    assert (caught.value.errno, caught.value.filename) == (error, path)
