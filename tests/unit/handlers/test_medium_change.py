from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from scstfs.handlers import medium_change
from scstfs.handlers.store import FileStore, Store
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.alua import AccessState
from scstfs.sysfs.errors import SysfsError
from tests.support.descriptors import wait_until_closed
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, System

MIB = 1 << 20
TEST_UNIT_READY, READ_CAPACITY = bytes(6), bytes.fromhex("25000000000000000000")
NO_MEDIUM, MEDIUM_CHANGED = (2, 0x3A, 0), (6, 0x28, 0)


@pytest.fixture
async def disk(system: System) -> VdiskDevice:
    return await system.add_disk()


async def test_opening_and_closing(disk: VdiskDevice) -> None:
    await medium_change.deactivate(disk)
    assert not disk.medium.active
    assert disk.medium.store is None
    assert disk.medium.size == MIB
    await medium_change.activate(disk)
    assert disk.medium.active
    assert disk.medium.store is not None


async def test_whoever_is_slower_changes_nothing(disk: VdiskDevice) -> None:
    store = disk.medium.store
    await medium_change.activate(disk)
    assert disk.medium.store is store


async def test_the_size_stays_until_somebody_asks_for_it(disk: VdiskDevice) -> None:
    await medium_change.deactivate(disk)
    Path(disk.settings.filename or "").write_bytes(bytes(2 * MIB))
    await medium_change.activate(disk)
    assert disk.medium.size == MIB
    await medium_change.resync_size(disk)
    assert disk.medium.size == 2 * MIB
    assert disk.medium.store is not None
    assert disk.medium.store.size == 2 * MIB
    await medium_change.deactivate(disk)
    disk.medium.set_size(MIB)
    assert disk.medium.size == MIB


async def test_a_file_that_is_gone(disk: VdiskDevice) -> None:
    await medium_change.deactivate(disk)
    Path(disk.settings.filename or "").unlink()
    with pytest.raises(SysfsError) as caught:
        await medium_change.activate(disk)
    assert caught.value.errno == errno.ENOENT
    assert not disk.medium.active


async def test_a_device_that_is_deleted_meanwhile(
    disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    await medium_change.deactivate(disk)
    opened: list[Store] = []
    kind = disk.kind

    def open_and_delete(device: VdiskDevice, filename: str | None) -> Store | None:
        store = kind.open_store(device, filename)
        assert store is not None
        opened.append(store)
        device.alive = False
        return store

    monkeypatch.setattr(disk, "kind", replace(kind, open_store=open_and_delete))
    with pytest.raises(SysfsError) as caught:
        await medium_change.activate(disk)
    assert caught.value.errno == errno.ENODEV
    assert disk.medium.store is None
    # What nobody uses is closed again.
    (store,) = opened
    assert isinstance(store, FileStore)
    await wait_until_closed(store.fd)


async def follow(disk: VdiskDevice) -> None:
    """As when the ALUA state allows access again."""
    medium_change.follow_access_state(disk, AccessState.ACTIVE)
    reopened = trio.Event()
    disk.when_reopened(reopened.set)
    await reopened.wait()


@pytest.mark.parametrize("activate", [medium_change.activate, follow])
async def test_a_filename_that_is_changed_meanwhile(
    disk: VdiskDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    activate: Callable[[VdiskDevice], Awaitable[None]],
) -> None:
    await medium_change.deactivate(disk)
    other = tmp_path / "other"
    other.write_bytes(bytes(MIB))
    kind = disk.kind

    def open_and_change(device: VdiskDevice, filename: str | None) -> Store | None:
        device.settings.filename = str(other)
        return kind.open_store(device, filename)

    monkeypatch.setattr(disk, "kind", replace(kind, open_store=open_and_change))
    await activate(disk)
    assert disk.medium.active
    store = disk.medium.store
    assert isinstance(store, FileStore)
    assert store.medium == (False, other.stat().st_dev, other.stat().st_ino)
    assert store.location.startswith(bytes(other.resolve()))


async def test_media_of_a_drive(system: System) -> None:
    drive = await system.add("vcdrom", "cd")
    one, two = system.initiator("one"), system.initiator("two")
    assert (await one.execute(TEST_UNIT_READY)).triple == NO_MEDIUM
    image = system.directory / "image"
    image.write_bytes(bytes(2048 * 10))
    await medium_change.change_medium(drive, str(image))
    assert (await one.execute(TEST_UNIT_READY)).triple == MEDIUM_CHANGED
    for initiator in (one, two):
        assert await initiator.execute(TEST_UNIT_READY) == GOOD
    capacity = await one.execute(READ_CAPACITY, data_in=8)
    assert capacity.data == (9).to_bytes(4, "big") + (2048).to_bytes(4, "big")
    first = drive.medium.store
    with pytest.raises(SysfsError) as caught:
        await medium_change.change_medium(drive, str(system.directory / "missing"))
    assert caught.value.errno == errno.ENOENT
    assert drive.medium.store is first
    with pytest.raises(SysfsError) as caught:
        await medium_change.change_medium(drive, "relative")
    assert caught.value.errno == errno.EINVAL
    assert await one.execute(TEST_UNIT_READY) == GOOD
    await medium_change.change_medium(drive, None)
    assert (await one.execute(TEST_UNIT_READY)).triple == NO_MEDIUM
    assert drive.medium.store is None
    assert drive.settings.filename is None


async def test_a_drive_that_is_deleted_while_its_commands_run(system: System) -> None:
    drive = await system.add("vcdrom", "cd")
    old = FakeStore()
    drive.medium.install(old)
    old.pause("read")
    reader = system.initiator().start(b"\x28" + bytes(7) + b"\x01\0", data_in=2048)
    image = system.directory / "image"
    image.write_bytes(bytes(2048))

    async def change_medium() -> None:
        with pytest.raises(SysfsError) as caught:
            await medium_change.change_medium(drive, str(image))
        assert caught.value.errno == errno.ENODEV

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change_medium)
        while not drive.tasks.gated:
            # The image is being opened in a thread.
            await trio.sleep(0)
        system.delete("cd")
        old.resume("read")
    assert reader.is_over
    assert drive.medium.store is None
