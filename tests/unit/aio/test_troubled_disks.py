"""Disks that hang or fail: nobody waits for them but those who want something of them."""

from __future__ import annotations

import errno
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from scstfs.aio import ENGINES, RequestKind
from scstfs.aio import file as files
from tests.support.troubled_disk import TroubledDisk
from tests.unit.aio.conftest import Disk, Open, Pending, aligned, running

BLOCK = 4096
READ, WRITE, FLUSH = RequestKind.READ, RequestKind.WRITE, RequestKind.FLUSH
#: How long the loop may be kept from its work (seconds): machines with much else to do are slow.
PROMPT = 0.5


@asynccontextmanager
async def prompt_loop() -> AsyncIterator[None]:
    """Fail if anything keeps the event loop waiting."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await trio.sleep(0.005)
            longest = max(longest, time.monotonic() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()
    assert longest < PROMPT


@pytest.fixture
def sound(tmp_path: Path, open_disk: Open) -> Disk:
    """A disk that has nothing to do with the other one."""
    file = tmp_path / "sound"
    file.write_bytes(bytes(1 << 20))
    return open_disk(file)


def begin(disk: Disk, operation: RequestKind, count: int) -> list[Pending]:
    memory = aligned(BLOCK)
    if operation is FLUSH:
        return [disk.begin(FLUSH) for _ in range(count)]
    return [disk.begin(operation, n * BLOCK, memory) for n in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "call"), [(READ, "read"), (WRITE, "write"), (FLUSH, "fsync")]
)
async def test_a_hanging_disk_keeps_nobody_else_waiting(
    troubled: TroubledDisk, sound: Disk, open_disk: Open, operation: RequestKind, call: str
) -> None:
    disk = open_disk(troubled.disk, asks=False)
    if operation is FLUSH:
        await disk.write(0, bytes(BLOCK))
    troubled.hang(call)
    async with prompt_loop():
        stuck = begin(disk, operation, 100)
        await trio.to_thread.run_sync(troubled.wait_until_hanging, call)
        for _ in range(20):
            assert await sound.run(READ, 0, aligned(BLOCK)) == 0
            assert await sound.run(WRITE, 0, aligned(BLOCK)) == 0
            assert await sound.run(FLUSH) == 0
        assert not any(one.errors for one in stuck)
        assert troubled.hanging(call) <= files.THREADS
        if call != "read":
            # Reading goes on by itself.
            assert await disk.run(READ, 1 << 20, aligned(BLOCK)) == 0
        troubled.answer()
        for one in stuck:
            assert await one.error() == 0
    assert await disk.close() == 0
    assert await sound.close() == 0


async def test_what_waits_behind_a_hanging_disk_can_be_cancelled(
    troubled: TroubledDisk, open_disk: Open
) -> None:
    disk = open_disk(troubled.disk, asks=False)
    troubled.hang("read")
    stuck = begin(disk, READ, 2 * files.THREADS)
    await trio.to_thread.run_sync(troubled.wait_until_hanging, "read")
    for one in stuck:
        disk.engine.cancel(one.request)
    for one in stuck[files.THREADS :]:
        assert await one.error() == errno.ECANCELED
    await trio.sleep(0.05)
    troubled.answer()
    for one in stuck:
        # Nobody is called back before the system is done with the memory.
        assert await one.error() in (0, errno.ECANCELED)
    assert await disk.close() == 0


async def test_a_disk_that_has_not_answered_for_long_gets_little_more_to_do(
    troubled: TroubledDisk, open_disk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scstfs.aio.lane.STALLED", 0.05)
    monkeypatch.setattr("scstfs.aio.lane.FEW", 2)
    disk = open_disk(troubled.disk, asks=False)
    assert not disk.file.is_stalled
    troubled.hang("read")
    first = begin(disk, READ, 3)
    await trio.sleep(0.1)
    assert disk.file.is_stalled
    more = begin(disk, READ, 5)
    assert all(one.request.token < 0 for one in more)
    troubled.answer()
    for one in first + more:
        assert await one.error() == 0
    assert not disk.file.is_stalled
    assert await disk.close() == 0


async def test_errors_are_told(troubled: TroubledDisk, open_disk: Open) -> None:
    disk = open_disk(troubled.disk, asks=False)
    troubled.fail("read", errno.EIO)
    assert await disk.run(READ, 0, aligned(BLOCK)) == errno.EIO
    troubled.fail("write", errno.ENOSPC)
    assert await disk.run(WRITE, 0, aligned(BLOCK)) == errno.ENOSPC
    troubled.fail("fsync", errno.EIO)
    assert await disk.run(FLUSH) == errno.EIO
    troubled.answer()
    assert await disk.run(READ, 0, aligned(BLOCK)) == 0
    troubled.fail("flush", errno.EDQUOT)
    assert await disk.close() == errno.EDQUOT


@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine_is_closed_whatever_hangs(
    tmp_path: Path, troubled: TroubledDisk, name: str
) -> None:
    async with running(name) as engine:
        disk = Disk(engine, troubled.disk, direct=False, asks=False)
        troubled.hang("read", "fsync", "flush")
        begin(disk, READ, 40)
        await trio.to_thread.run_sync(troubled.wait_until_hanging, "read")
        disk.file.close()
        began = time.monotonic()
    assert time.monotonic() - began < PROMPT
    troubled.answer()


async def test_closing_may_hang(troubled: TroubledDisk, sound: Disk, open_disk: Open) -> None:
    disk = open_disk(troubled.disk, asks=False)
    troubled.hang("flush")
    closed = trio.Event()
    async with prompt_loop():
        disk.file.close(lambda error: closed.set())
        await trio.to_thread.run_sync(troubled.wait_until_hanging, "flush")
        assert await sound.run(READ, 0, aligned(BLOCK)) == 0
        assert not closed.is_set()
        troubled.answer()
        with trio.fail_after(5):
            await closed.wait()
    assert await sound.close() == 0
