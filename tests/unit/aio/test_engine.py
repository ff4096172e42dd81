from __future__ import annotations

import errno
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from scstfs.aio import DiskRequest, Engine, RequestKind
from tests.support.loop import loop_device
from tests.support.small_filesystem import small_filesystem
from tests.unit.aio.conftest import Disk, Open, aligned

SIZE = 4 << 20
BLOCK = 4096
READ, WRITE = RequestKind.READ, RequestKind.WRITE


@contextmanager
def in_shared_memory() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(SIZE)
        yield Path(file.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "disk"
    with file.open("wb") as opened:
        opened.truncate(SIZE)
    return file


@pytest.fixture(params=["in memory", "buffered", "direct", "block device"])
async def disk(request: pytest.FixtureRequest, path: Path, open_disk: Open) -> AsyncIterator[Disk]:
    """Each kind of file that there is."""
    with loop_device(path) if request.param == "block device" else in_shared_memory() as other:
        file = path if request.param in ("buffered", "direct") else other
        disk = open_disk(file, direct=request.param in ("direct", "block device"))
        yield disk
        assert await disk.close() == 0


@pytest.mark.parametrize("durable", [False, True])
async def test_what_is_written_can_be_read(disk: Disk, durable: bool) -> None:
    memory = aligned(3 * BLOCK)
    memory[:] = data = random.randbytes(3 * BLOCK)
    assert await disk.run(WRITE, BLOCK, memory, durable=durable) == 0
    assert await disk.run(RequestKind.FLUSH) == 0
    assert await disk.read(0, 5 * BLOCK) == bytes(BLOCK) + data + bytes(BLOCK)


async def test_thousands_of_requests_each_end_once_with_their_own_data(disk: Disk) -> None:
    count = SIZE // BLOCK
    content = random.randbytes(SIZE)
    whole = aligned(SIZE)
    whole[:] = content
    writes = [
        disk.begin(WRITE, n * BLOCK, whole[n * BLOCK : (n + 1) * BLOCK]) for n in range(count)
    ]
    assert [await one.error() for one in writes] == [0] * count
    back = aligned(5 * SIZE)
    blocks = [back[n * BLOCK : (n + 1) * BLOCK] for n in range(5 * count)]
    where = [random.randrange(count) * BLOCK for _ in blocks]
    reads = [disk.begin(READ, *one) for one in zip(where, blocks, strict=True)]
    assert [await one.error() for one in reads] == [0] * len(reads)
    for offset, block in zip(where, blocks, strict=True):
        assert block == content[offset : offset + BLOCK]


async def test_the_ends_of_a_batch_wake_the_loop_together(disk: Disk) -> None:
    batches: list[str] = []
    disk.engine.before = lambda: batches.append("begins")
    disk.engine.after = lambda: batches.append("ends")
    memory = aligned(64 * BLOCK)
    disk.engine.hold()
    begun = [disk.begin(READ, n * BLOCK, memory[n * BLOCK : (n + 1) * BLOCK]) for n in range(64)]
    await trio.testing.wait_all_tasks_blocked()
    assert not batches
    disk.engine.release()
    # The loop has other things to do meanwhile.
    time.sleep(0.2)
    for one in begun:
        assert await one.error() == 0
    assert batches == ["begins", "ends"] * (len(batches) // 2)
    assert len(batches) < 10


async def test_ends_can_be_looked_for_without_going_to_sleep(disk: Disk) -> None:
    begun = disk.begin(READ, 0, aligned(BLOCK))
    disk.engine.flush()
    while not begun.errors:
        disk.engine.drain()
    assert begun.errors == [0]
    assert disk.engine.drain() == 0


async def test_behind_the_end_nothing_can_be_read(disk: Disk) -> None:
    assert await disk.run(READ, SIZE, aligned(BLOCK)) == errno.EIO
    memory = aligned(2 * BLOCK)
    memory[:] = b"?" * len(memory)
    assert await disk.run(READ, SIZE - BLOCK, memory) == errno.EIO
    # What is there has been read.
    assert memory[:BLOCK] == bytes(BLOCK)


async def test_ranges_are_made_zeros(disk: Disk) -> None:
    await disk.write(0, b"x" * 4 * BLOCK)
    assert await disk.run(RequestKind.ZERO, 0, length=BLOCK) in (0, errno.EOPNOTSUPP)
    error = await disk.run(RequestKind.PUNCH, BLOCK, length=BLOCK)
    assert error in (0, errno.EOPNOTSUPP)
    found = await disk.read(0, 4 * BLOCK)
    assert found[2 * BLOCK :] == b"x" * 2 * BLOCK
    if not error:
        assert found[BLOCK : 2 * BLOCK] == bytes(BLOCK)


async def test_only_block_devices_are_discarded(disk: Disk) -> None:
    is_block = Path(f"/proc/self/fd/{disk.fd}").is_block_device()
    expected = 0 if is_block else errno.ENOTTY
    assert await disk.run(RequestKind.DISCARD, 0, length=BLOCK) == expected


async def test_what_the_descriptor_does_not_allow_is_an_error(
    engine: Engine, path: Path, open_disk: Open
) -> None:
    disk = open_disk(path)
    os.dup2(os.open(path, os.O_RDONLY), disk.fd)
    assert await disk.run(WRITE, 0, aligned(BLOCK)) == errno.EBADF
    assert await disk.run(READ, 0, aligned(BLOCK)) == 0
    await disk.close()


async def test_a_full_file_system_is_an_error(tmp_path: Path, open_disk: Open) -> None:
    with small_filesystem(tmp_path, 64 << 10) as directory:
        file = directory / "disk"
        file.touch()
        os.truncate(file, SIZE)
        disk = open_disk(file)
        memory = aligned(SIZE)
        assert await disk.run(WRITE, 0, memory) == errno.ENOSPC
        assert await disk.run(READ, 0, memory) == 0
        assert await disk.close() == 0


async def test_more_than_the_system_takes_at_once_waits_for_its_turn(
    path: Path, open_disk: Open
) -> None:
    disks = [open_disk(path) for _ in range(60)]
    memory = aligned(BLOCK)
    begun = [disk.begin(READ, 0, memory) for disk in disks for _ in range(100)]
    for one in begun:
        assert await one.error(seconds=30) == 0
    for disk in disks:
        assert await disk.close() == 0


async def test_a_file_is_closed_after_its_last_request(path: Path, open_disk: Open) -> None:
    disk = open_disk(path)
    memory = aligned(SIZE)
    begun = [disk.begin(READ, 0, memory) for _ in range(200)]
    closed = trio.Event()
    disk.file.close(lambda error: closed.set())
    assert not closed.is_set()
    os.fstat(disk.fd)
    for one in begun:
        assert await one.error() == 0
    with trio.fail_after(5):
        await closed.wait()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(disk.fd)


@pytest.mark.logs("what follows a disk request failed")
async def test_a_bug_in_one_end_does_not_lose_the_others(disk: Disk) -> None:
    def bug(error: int) -> None:
        raise RuntimeError("a bug")

    disk.engine.hold()
    for _ in range(3):
        disk.file.submit(DiskRequest(READ, 0, aligned(BLOCK), bug))
    begun = disk.begin(READ, 0, aligned(BLOCK))
    disk.engine.release()
    assert await begun.error() == 0
    assert await disk.run(READ, 0, aligned(BLOCK)) == 0


async def test_what_has_not_begun_is_cancelled_at_once(path: Path, open_disk: Open) -> None:
    disk = open_disk(path)
    disk.engine.hold()
    begun = [disk.begin(READ, 0, aligned(BLOCK)) for _ in range(200)]
    for one in begun:
        disk.engine.cancel(one.request)
        disk.engine.cancel(one.request)
        assert not one.errors
    disk.engine.release()
    errors = [await one.error() for one in begun]
    assert set(errors) <= {0, errno.ECANCELED}
    assert errors[-1] == errno.ECANCELED
    assert await disk.run(READ, 0, aligned(BLOCK)) == 0
    await disk.close()


async def test_what_has_ended_can_not_be_cancelled(disk: Disk) -> None:
    begun = disk.begin(READ, 0, aligned(BLOCK))
    assert await begun.error() == 0
    disk.engine.cancel(begun.request)
    assert await disk.run(READ, 0, aligned(BLOCK)) == 0
    assert begun.errors == [0]
