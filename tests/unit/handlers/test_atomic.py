from __future__ import annotations

import errno
import threading
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from scstfs.handlers import atomic
from scstfs.persist.undo import UndoEntry, UndoLog
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status
from tests.support.copies import be
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, System, target

BLOCK = 512
OLD, NEW = b"o" * 4 * BLOCK, b"n" * 4 * BLOCK


def write_atomic(lba: int, blocks: int) -> bytes:
    return b"\x9c\0" + be(lba, 8) + be(0, 2) + be(blocks, 2) + bytes(2)


@pytest.fixture
def undo(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "atomic_writes" / "disk")


@pytest.fixture
def store() -> FakeStore:
    fake = FakeStore()
    fake.content[: len(OLD)] = OLD
    return fake


def test_the_log_is_ahead_of_the_write(undo: UndoLog, store: FakeStore) -> None:
    seen: list[UndoEntry | None] = []

    def arrived(name: str) -> None:
        if name == "write":
            seen.append(UndoLog(undo.path).pending(b"fake"))

    store.arrived = arrived
    atomic.write(store, undo, 0, memoryview(NEW))
    assert seen == [UndoEntry(0, OLD)]
    assert undo.pending(b"fake") is None
    assert store.content[: len(NEW)] == NEW
    assert store.calls[-1] == ("write", 0, len(NEW), True)


class HalfStore(FakeStore):
    """Fails in the middle of the first write, and of all further ones if ``broken``."""

    broken = False
    failed = False

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        if self.failed and not self.broken:
            super().write(offset, data, durable=durable)
            return
        self.failed = True
        super().write(offset, data[:BLOCK], durable=durable)
        raise OSError(errno.EIO, "half of it")


def test_an_error_leaves_the_old_blocks(undo: UndoLog) -> None:
    store = HalfStore()
    store.content[: len(OLD)] = OLD
    with pytest.raises(OSError, match="half"):
        atomic.write(store, undo, 0, memoryview(NEW))
    assert store.content[: len(OLD)] == OLD
    assert undo.pending(b"fake") is None


@pytest.mark.logs("2048 bytes from byte 0 on hold parts of an atomic write that failed: .* half")
def test_what_can_not_be_undone_now_does_not_undo_what_comes_later(undo: UndoLog) -> None:
    store = HalfStore()
    store.broken = True
    store.content[: len(OLD)] = OLD
    with pytest.raises(OSError, match="half"):
        atomic.write(store, undo, 0, memoryview(NEW))
    store.broken = False
    later = b"l" * len(OLD)
    store.write(0, memoryview(later), durable=True)
    atomic.recover(store, undo)  # type: ignore[arg-type]
    assert store.content[: len(OLD)] == later


@pytest.mark.logs(r"cannot write .*atomic_writes/disk: \[Errno 28\] full")
@pytest.mark.parametrize("when", ["enter", "cross_out"])
def test_without_a_log_nothing_is_promised(
    undo: UndoLog, store: FakeStore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(undo, when, fail)
    with pytest.raises(CheckCondition) as refused:
        atomic.write(store, undo, 0, memoryview(NEW))
    assert refused.value.sense.triple == (0x4, 0x44, 0x00)
    assert (store.content[: len(OLD)] == OLD) is (when == "enter")


# Through the command


async def test_many_blocks_are_logged_and_one_is_not(system: System) -> None:
    device = await system.add_disk("disk")
    initiator = system.initiator()
    assert await initiator.execute(write_atomic(0, 1), b"x" * BLOCK) == GOOD
    assert not device.undo.path.exists()
    assert await initiator.execute(write_atomic(0, 4), NEW) == GOOD
    assert device.undo.path.exists()
    assert (system.directory / "disk").read_bytes()[: len(NEW)] == NEW


async def test_the_limit_is_the_one_reported(system: System) -> None:
    await system.add_disk("disk", size=2 << 20)
    initiator = system.initiator()
    limits = await initiator.execute(b"\x12\x01\xb0\0\xff\0", data_in=255)
    most = int.from_bytes(limits.data[44:48], "big")
    assert most == 2048
    assert await initiator.execute(write_atomic(0, most), b"x" * most * BLOCK) == GOOD
    refused = await initiator.execute(write_atomic(0, most + 1), b"x" * (most + 1) * BLOCK)
    assert refused.triple == (0x5, 0x24, 0x00)


@pytest.mark.logs("undoing an atomic write of 2048 bytes")
async def test_a_write_that_was_cut_off_is_undone_when_the_device_comes_back(
    tmp_path: Path,
) -> None:
    async with target(tmp_path) as system:
        device = await system.add_disk("disk")
        assert device.medium.store is not None
        device.medium.store.write(0, memoryview(OLD))
        device.undo.enter(device.medium.store.location, UndoEntry(0, OLD))
        # The power fails here.
        device.medium.store.write(0, memoryview(NEW)[:BLOCK])
    async with target(tmp_path) as system:
        path = tmp_path / "disk"
        device = await system.add("vdisk_fileio", "disk", filename=path)
        assert path.read_bytes()[: len(OLD)] == OLD
        assert device.medium.store is not None
        assert device.undo.pending(device.medium.store.location) is None
        read = b"\x28" + bytes(7) + b"\x04\0"
        result = await system.initiator().execute(read, data_in=len(OLD))
        assert (result.status, result.data) == (Status.GOOD, OLD)


@pytest.mark.logs("belongs to another file or device, and is not used")
async def test_another_file_of_the_same_device_is_left_alone(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        device = await system.add_disk("disk")
        assert device.medium.store is not None
        device.undo.enter(device.medium.store.location, UndoEntry(0, OLD))
        system.delete("disk")
        (tmp_path / "disk").rename(tmp_path / "kept")
        await system.add_disk("disk")
    assert not any((tmp_path / "disk").read_bytes())


async def test_a_write_that_goes_on_is_not_undone_when_the_device_is_made_again(
    system: System,
) -> None:
    device = await system.add_disk("disk")
    assert device.medium.store is not None
    device.medium.store.write(0, memoryview(OLD))
    begun, may_end = threading.Event(), threading.Event()
    write = device.medium.store.write

    def write_slowly(offset: int, data: memoryview, *, durable: bool = False) -> None:
        write(offset, data[:BLOCK], durable=durable)
        begun.set()
        assert may_end.wait(5)
        write(offset + BLOCK, data[BLOCK:], durable=durable)

    device.medium.store.write = write_slowly  # type: ignore[method-assign]
    writer = system.initiator().start(write_atomic(0, 4), NEW)
    await trio.to_thread.run_sync(begun.wait)
    system.delete("disk")
    async with trio.open_nursery() as nursery:
        path = system.directory / "disk"
        nursery.start_soon(partial(system.add, "vdisk_fileio", "disk", filename=path))
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
    assert await writer.wait() == GOOD
    assert path.read_bytes()[: len(NEW)] == NEW
