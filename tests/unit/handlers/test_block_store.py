from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.handlers.block_device import BlockDevice
from scstfs.handlers.block_store import BlockStore
from scstfs.handlers.store import FileStore, StoreExtent
from tests.support.loop import loop_device
from tests.support.stores import discard, zero, zero_by_discard

SIZE = 8 << 20


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "image"
    with file.open("wb") as opened:
        opened.truncate(SIZE)
    with loop_device(file) as path:
        yield path


@pytest.fixture
def store(device: str) -> Iterator[BlockStore]:
    opened = BlockStore(device, read_only=False, block_size=512)
    yield opened
    opened.close()


def test_a_file_is_no_block_device(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match="Errno") as failure:
        BlockStore(str(file), read_only=False, block_size=512)
    assert failure.value.errno == errno.ENOTBLK


def test_nobody_else_may_have_it(store: BlockStore, device: str) -> None:
    with pytest.raises(OSError, match="Errno") as failure:
        BlockStore(device, read_only=False, block_size=512)
    assert failure.value.errno == errno.EBUSY


def test_blocks_are_read_and_written(store: BlockStore) -> None:
    data = os.urandom(3 * 512)
    store.write(512, memoryview(data))
    store.write(8192, memoryview(data), durable=True)
    back = memoryview(bytearray(len(data) + 1))[1:]
    for offset in (512, 8192):
        store.read(offset, back)
        assert back == data


@pytest.mark.parametrize("length", [1, 200, 512 + 200, (1 << 20) + 1])
def test_data_that_ends_within_a_block_leaves_the_rest_of_it(
    store: BlockStore, length: int
) -> None:
    before = os.urandom((1 << 20) + 2048)
    store.write(0, memoryview(before))
    data = os.urandom(length)
    store.write(512, memoryview(data))
    back = memoryview(bytearray(len(before)))
    store.read(0, back)
    assert back == before[:512] + data + before[512 + length :]
    start = memoryview(bytearray(length))
    store.read(512, start)
    assert start == data


def test_the_event_loop_never_touches_it(store: BlockStore) -> None:
    assert not store.try_read(0, memoryview(bytearray(512)))
    assert not store.try_write(0, memoryview(bytearray(512)))


def test_what_the_kernel_says_of_it(store: BlockStore) -> None:
    assert store.size == store.measure() == SIZE
    assert store.physical_block_size in (512, 4096)
    assert store.usage() == (0, SIZE)
    assert list(store.extents(512, 1024)) == [StoreExtent(512, 1536, allocated=True)]
    store.prefetch(0, 4096)
    if store.can_discard:
        limits = store.thin_limits(512)
        assert limits.max_unmap_blocks > 0
        assert limits.granularity >= 1


def test_zeros(store: BlockStore) -> None:
    store.write(0, memoryview(b"x" * 4096))
    zero(store, 512, 1024)
    back = bytearray(4096)
    store.read(0, memoryview(back))
    assert back == b"x" * 512 + bytes(1024) + b"x" * 2560


def test_what_a_loop_device_discards_reads_as_zeros(store: BlockStore, tmp_path: Path) -> None:
    if not store.can_discard:
        pytest.skip("loop devices cannot discard here")
    assert store.thin_limits(512).reads_zero
    for give_back in (discard, zero_by_discard):
        store.write(0, memoryview(b"x" * (1 << 20)))
        store.flush()
        before = (tmp_path / "image").stat().st_blocks
        give_back(store, 512, (1 << 20) - 1024)
        back = bytearray(1 << 20)
        store.read(0, memoryview(back))
        assert back == b"x" * 512 + bytes((1 << 20) - 1024) + b"x" * 512
        assert (tmp_path / "image").stat().st_blocks < before


@pytest.mark.parametrize(
    ("offset", "length"), [(512, 1024), (3584, 1024), (3584, 8704), (4096, 8192)]
)
def test_parts_of_sectors_read_as_zeros_too(tmp_path: Path, offset: int, length: int) -> None:
    file = tmp_path / "image"
    with file.open("wb") as opened:
        opened.truncate(SIZE)
    with loop_device(file, sector=4096) as device:
        store = BlockStore(device, read_only=False, block_size=512)
        if not store.can_discard:
            pytest.skip("loop devices cannot discard here")
        store.write(0, memoryview(b"x" * 16384))
        discard(store, offset, length)
        back = bytearray(16384)
        store.read(0, memoryview(back))
        store.close()
    assert back == b"x" * offset + bytes(length) + b"x" * (16384 - offset - length)


def test_a_device_that_takes_its_offer_back_is_overwritten(
    store: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr("scstfs.handlers.syscalls.punch_hole", refuse)
    store.write(0, memoryview(b"x" * 4096))
    discard(store, 512, 1024)
    back = bytearray(4096)
    store.read(0, memoryview(back))
    assert back == b"x" * 512 + bytes(1024) + b"x" * 2560


@pytest.fixture
def unsure(device: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockStore]:
    """A device of which it is not known what it reads as where it was discarded."""
    monkeypatch.setattr(BlockDevice, "discards_to_zeros", False)
    opened = BlockStore(device, read_only=False, block_size=512)
    yield opened
    opened.close()


def test_discards_leave_parts_of_sectors(unsure: BlockStore) -> None:
    assert not unsure.thin_limits(512).reads_zero
    unsure.write(0, memoryview(b"x" * 8192))
    discard(unsure, 100, 200)
    discard(unsure, 4096, 4096)
    back = bytearray(4096)
    unsure.read(0, memoryview(back))
    assert back == b"x" * 4096


def test_zeros_are_written_where_a_discard_might_not_give_them(
    unsure: BlockStore, tmp_path: Path
) -> None:
    unsure.write(0, memoryview(b"x" * 4096))
    before = (tmp_path / "image").stat().st_blocks
    zero_by_discard(unsure, 512, 1024)
    back = bytearray(4096)
    unsure.read(0, memoryview(back))
    assert back == b"x" * 512 + bytes(1024) + b"x" * 2560
    assert (tmp_path / "image").stat().st_blocks == before


def test_a_discard_that_is_not_possible_is_no_error(
    unsure: BlockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        monkeypatch.setattr(
            "scstfs.handlers.syscalls.discard",
            lambda fd, offset, length: (_ for _ in ()).throw(OSError(number, "no")),
        )

    refuse(errno.EOPNOTSUPP)
    discard(unsure, 0, 4096)
    refuse(errno.EIO)
    with pytest.raises(OSError, match="no"):
        discard(unsure, 0, 4096)


# Through the page cache (vdisk_fileio)


@pytest.fixture
def cached(device: str) -> Iterator[FileStore]:
    opened = FileStore(device, read_only=False)
    yield opened
    opened.close()


def test_discards_reach_the_device_through_the_page_cache(
    cached: FileStore, device: str, tmp_path: Path
) -> None:
    direct = BlockStore(device, read_only=False, block_size=512)
    can_discard = direct.can_discard
    direct.close()
    if not can_discard:
        pytest.skip("loop devices cannot discard here")
    image = tmp_path / "image"
    cached.write(0, memoryview(b"x" * (1 << 20)))
    cached.flush()
    before = image.stat().st_blocks
    discard(cached, 4096, (1 << 20) - 4096)
    back = bytearray(8192)
    cached.read(0, memoryview(back))
    # What a loop device has discarded is a hole in its file.
    assert back == b"x" * 4096 + bytes(4096)
    assert image.stat().st_blocks < before


def test_a_cached_device_is_described_as_the_device(cached: FileStore, device: str) -> None:
    assert cached.usage() == (0, SIZE)
    assert list(cached.extents(512, 1024)) == [StoreExtent(512, 1536, allocated=True)]
    direct = BlockStore(device, read_only=False, block_size=512)
    assert cached.can_discard is direct.can_discard
    assert cached.thin_limits(512) == direct.thin_limits(512)
    assert cached.medium == direct.medium
    direct.close()


def test_who_may_not_write_may_not_discard(device: str) -> None:
    store = FileStore(device, read_only=True)
    assert not store.can_discard
    store.close()
