from __future__ import annotations

import pytest

from scstfs.handlers.medium_change import change_medium
from scstfs.handlers.vdisk import VdiskDevice
from tests.support.target import GOOD, Initiator, System

MEDIUM_CHANGED, NO_MEDIUM = (0x6, 0x28, 0x00), (0x2, 0x3A, 0x00)
TEST_UNIT_READY = bytes(6)
GET_CONFIGURATION = b"\x46" + bytes(6) + b"\0\xff\0"
MECHANISM_STATUS = b"\xbd" + bytes(7) + b"\0\xff\0\0"
READ_DISC_INFORMATION = b"\x51" + bytes(6) + b"\0\xff\0"


def get_event(length: int = 8) -> bytes:
    return b"\x4a\x01\0\0\x10\0\0" + length.to_bytes(2, "big") + b"\0"


def image(system: System, name: str = "image", blocks: int = 100) -> str:
    path = system.directory / name
    path.write_bytes(bytes(blocks * 2048))
    return str(path)


@pytest.fixture
async def drive(system: System) -> VdiskDevice:
    """With a medium that all know of."""
    found = await system.add("vcdrom", "disk")
    await change_medium(found, image(system))
    found.medium.changed = False
    return found


async def event(initiator: Initiator) -> str:
    """Event code and media status."""
    result = await initiator.execute(get_event(), data_in=8)
    assert result.data[:4] == bytes.fromhex("00060410")
    return result.data[4:6].hex()


async def test_the_table_of_contents_ends_with_the_medium(
    system: System, drive: VdiskDevice
) -> None:
    result = await system.initiator().execute(b"\x43" + bytes(6) + b"\0\xff\0", data_in=255)
    assert len(result.data) == 20
    assert result.data[14] == 0xAA, "lead-out"
    assert int.from_bytes(result.data[16:20], "big") == 100


async def test_each_initiator_is_told_once_of_each_change(
    system: System, drive: VdiskDevice
) -> None:
    one, two = system.initiator("one"), system.initiator("two")
    assert await event(one) == "0002"
    await change_medium(drive, image(system, "other"))
    assert [await event(one), await event(one), await event(two)] == ["0202", "0002", "0202"]
    await change_medium(drive, None)
    assert [await event(one), await event(one)] == ["0300", "0000"]
    # The present state counts, not the events in between.
    await change_medium(drive, image(system, "other"))
    assert await event(two) == "0202"


async def test_who_comes_later_is_not_told(system: System, drive: VdiskDevice) -> None:
    one = system.initiator("one")
    await change_medium(drive, image(system, "other"))
    assert await event(system.initiator("two")) == "0002"
    await one.end()
    assert not drive.medium.events


async def test_an_event_that_does_not_fit_is_kept(system: System, drive: VdiskDevice) -> None:
    initiator = system.initiator()
    await change_medium(drive, image(system, "other"))
    head = await initiator.execute(get_event(4), data_in=4)
    assert head.data == bytes.fromhex("00060410")
    assert await event(initiator) == "0202"


async def test_an_event_does_not_take_the_place_of_the_unit_attention(
    system: System, drive: VdiskDevice
) -> None:
    initiator = system.initiator()
    await change_medium(drive, image(system, "other"))
    assert await event(initiator) == "0202"
    assert (await initiator.execute(TEST_UNIT_READY)).triple == MEDIUM_CHANGED
    assert await initiator.execute(TEST_UNIT_READY) == GOOD


async def test_an_empty_drive_can_be_asked_about_itself(system: System) -> None:
    await system.add("vcdrom", "disk")
    initiator = system.initiator(clear=False)
    configuration = await initiator.execute(GET_CONFIGURATION, data_in=255)
    assert configuration.data[6:8] == b"\0\0"
    assert await event(initiator) == "0000"
    # The power on is still pending.
    assert (await initiator.execute(MECHANISM_STATUS, data_in=255)).triple == (0x6, 0x29, 0x00)
    assert len((await initiator.execute(MECHANISM_STATUS, data_in=255)).data) == 8
    assert (await initiator.execute(READ_DISC_INFORMATION, data_in=255)).triple == NO_MEDIUM


async def test_a_drive_with_a_medium(system: System, drive: VdiskDevice) -> None:
    initiator = system.initiator()
    configuration = await initiator.execute(GET_CONFIGURATION, data_in=255)
    assert configuration.data[6:8] == b"\0\x08", "CD-ROM"
    assert len((await initiator.execute(READ_DISC_INFORMATION, data_in=255)).data) == 34


async def test_the_drive_tells_that_it_is_locked(system: System, drive: VdiskDevice) -> None:
    one, two = system.initiator("one"), system.initiator("two")
    page = b"\x1a\x08\x2a\0\xff\0"
    assert (await two.execute(page, data_in=255)).data[10] == 0x21
    assert await one.execute(b"\x1e\0\0\0\x01\0") == GOOD
    assert (await two.execute(page, data_in=255)).data[10] == 0x23
    assert await one.execute(b"\x1e\0\0\0\0\0") == GOOD
    assert (await two.execute(page, data_in=255)).data[10] == 0x21
