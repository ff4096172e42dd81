"""Writes for which the event loop waits a moment, and those for which it does not."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
import trio

from scstfs.aio import RequestKind, handover
from scstfs.aio.deadline import Deadline
from tests.support.troubled_disk import TroubledDisk
from tests.unit.aio.conftest import Disk, Open, aligned

BLOCK = 4096
WRITE = RequestKind.WRITE
#: How long the loop may be kept from its work (seconds): machines with much else to do are slow.
PROMPT = 0.5


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop waits longer than a busy machine takes."""
    monkeypatch.setattr(handover, "PATIENCE", 5_000_000_000)


def write(disk: Disk, offset: int, data: bytes, *, stays: bool = False) -> bool:
    return disk.file.write_soon(offset, memoryview(bytearray(data)), stays=stays)


async def left_behind(troubled: TroubledDisk, disk: Disk, data: memoryview, *, stays: bool) -> None:
    """A write of ``data`` to the first block hangs, and the loop has gone on."""
    troubled.hang("write")
    began = time.monotonic()
    assert not disk.file.write_soon(0, data, stays=stays)
    assert time.monotonic() - began < PROMPT
    await trio.to_thread.run_sync(troubled.wait_until_hanging, "write")


@pytest.mark.usefixtures("patient")
async def test_it_is_written_at_once(tmp_path: Path, open_disk: Open) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 << 20))
    disk = open_disk(path)
    assert write(disk, BLOCK, b"a" * handover.LONGEST_COPY)
    assert not write(disk, 0, b"b" * (handover.LONGEST_COPY + 1))
    assert write(disk, 1 << 20, b"c" * handover.LONGEST, stays=True)
    assert not write(disk, 0, b"d" * (handover.LONGEST + 1), stays=True)
    expected = bytearray(4 << 20)
    expected[BLOCK : BLOCK + handover.LONGEST_COPY] = b"a" * handover.LONGEST_COPY
    expected[1 << 20 : 2 << 20] = b"c" * (1 << 20)
    assert path.read_bytes() == expected
    assert await disk.close() == 0


@pytest.mark.usefixtures("patient")
async def test_only_one_short_write_of_a_batch_is_waited_for(
    tmp_path: Path, open_disk: Open
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    disk = open_disk(path)
    disk.engine.hold()
    assert write(disk, 0, bytes(BLOCK))
    assert not write(disk, 0, bytes(BLOCK))
    assert write(disk, 0, bytes(handover.SHORT))
    disk.engine.release()
    assert write(disk, 0, bytes(BLOCK))
    assert await disk.close() == 0


@pytest.mark.usefixtures("patient")
async def test_what_is_under_way_comes_first(troubled: TroubledDisk, open_disk: Open) -> None:
    disk = open_disk(troubled.disk, asks=False)
    troubled.hang("write")
    older = disk.begin(WRITE, 0, aligned(BLOCK))
    assert not write(disk, BLOCK, bytes(BLOCK))
    troubled.answer()
    assert await older.error() == 0
    assert write(disk, BLOCK, bytes(BLOCK))
    assert await disk.close() == 0


@pytest.mark.usefixtures("patient")
async def test_what_comes_too_late_is_not_written(tmp_path: Path, open_disk: Open) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(BLOCK))
    disk, deadline = open_disk(path), Deadline()
    data = memoryview(b"n" * BLOCK)
    assert not disk.file.write_soon(0, data, stays=True, deadline=deadline.address)
    assert path.read_bytes() == bytes(BLOCK)
    deadline.set(time.clock_gettime(time.CLOCK_BOOTTIME) + 60)
    assert disk.file.write_soon(0, data, stays=True, deadline=deadline.address)
    assert path.read_bytes() == data
    assert await disk.close() == 0


@pytest.mark.usefixtures("patient")
async def test_errors_are_for_another_way_to_tell(troubled: TroubledDisk, open_disk: Open) -> None:
    disk = open_disk(troubled.disk, asks=False)
    troubled.fail("write", errno.ENOSPC)
    assert not write(disk, 0, bytes(BLOCK))
    troubled.answer()
    assert write(disk, 0, bytes(BLOCK))
    assert await disk.close() == 0


@pytest.mark.parametrize("stays", [False, True])
async def test_the_loop_does_not_wait_for_a_disk_that_hangs(
    troubled: TroubledDisk, open_disk: Open, stays: bool
) -> None:
    disk = open_disk(troubled.disk, asks=False)
    data = memoryview(bytearray(b"1" * BLOCK))
    await left_behind(troubled, disk, data, stays=stays)
    if not stays:
        data[:] = b"0" * BLOCK
    # Nothing is handed over meanwhile, nor soon afterwards; what overlaps waits.
    assert not write(disk, 1 << 20, bytes(BLOCK))
    memory = aligned(BLOCK)
    memory[:] = b"2" * BLOCK
    newer = disk.begin(WRITE, 0, memory)
    assert newer.request.ahead == 1
    closed: list[int] = []
    troubled.answer()
    assert await newer.error() == 0
    assert os.pread(disk.fd, BLOCK, 0) == b"2" * BLOCK
    disk.file.close(closed.append)
    with trio.fail_after(5):
        while not closed:
            await trio.sleep(0.01)


async def test_a_write_that_was_left_behind_takes_effect_before_what_it_delays_is_cancelled(
    troubled: TroubledDisk, open_disk: Open
) -> None:
    disk = open_disk(troubled.disk, asks=False)
    data = memoryview(bytearray(b"1" * BLOCK))
    await left_behind(troubled, disk, data, stays=True)
    again = disk.begin(WRITE, 0, data)
    disk.engine.cancel(again.request)
    await trio.sleep(0.05)
    # Its memory is still being written from.
    assert not again.errors
    troubled.answer()
    assert await again.error() == errno.ECANCELED
    assert os.pread(disk.fd, BLOCK, 0) == b"1" * BLOCK
    assert await disk.close() == 0


async def test_a_file_is_closed_after_what_was_left_behind(
    troubled: TroubledDisk, open_disk: Open
) -> None:
    disk = open_disk(troubled.disk, asks=False)
    await left_behind(troubled, disk, memoryview(bytearray(BLOCK)), stays=True)
    closed: list[int] = []
    disk.file.close(closed.append)
    await trio.sleep(0.05)
    assert not closed
    troubled.answer()
    with trio.fail_after(5):
        while not closed:
            await trio.sleep(0.01)


async def test_it_is_tried_again_after_a_while(
    troubled: TroubledDisk, open_disk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk(troubled.disk, asks=False)
    await left_behind(troubled, disk, memoryview(bytearray(BLOCK)), stays=True)
    troubled.answer()
    monkeypatch.setattr(handover, "PATIENCE", 5_000_000_000)
    with trio.fail_after(5):
        while not write(disk, 0, bytes(BLOCK)):
            await trio.sleep(0.01)
    assert await disk.close() == 0
