"""What an allocation length cuts off is all that it changes (SPC-4 4.2.5.6), of any data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pytest

from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.handlers.medium_change import change_medium
from scstfs.handlers.store import FileStore
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.opcodes import CommandRow, Direction, Field, Unit
from scstfs.scsi.status import Status
from tests.support.every_command import REFUSALS
from tests.support.reservations import IGNORE, RESERVE, WE, pr_out
from tests.support.target import GOOD, Initiator, System

INVALID_FIELD = (0x5, 0x24, 0x00)

#: How CDBs begin, by the command's name; the others begin with operation code and service action.
FORMS: Mapping[str, list[str]] = {
    "INQUIRY": ["1200", "120100", "120180", "120183", "1201b0", "1201b2"],
    "REQUEST SENSE": ["0300", "0301"],
    "MODE SENSE(6)": ["1a003f", "1a080a"],
    "MODE SENSE(10)": ["5a003f", "5a080a"],
    "LOG SENSE": ["4d0000", "4d000c"],
    "PERSISTENT RESERVE IN": ["5e00", "5e01", "5e02", "5e03"],
    "REPORT TARGET PORT GROUPS": ["a30a", "a32a"],
    "REPORT SUPPORTED OPERATION CODES": ["a30c00", "a30c80", "a30c0128"],
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": ["a30d00", "a30d80"],
    "REPORT IDENTIFYING INFORMATION": ["a30500", "a305000000000000000000fe"],
    "READ TOC/PMA/ATIP": ["430000", "430200", "430001"],
    "GET CONFIGURATION": ["4600", "46020003"],
    "GET EVENT STATUS NOTIFICATION": ["4a01000010", "4a0100006e"],
}

#: They report copies, of which there are none.
ABOUT_COPIES = {
    "RECEIVE COPY STATUS(LID1)",
    "RECEIVE COPY FAILURE DETAILS(LID1)",
    "RECEIVE COPY STATUS(LID4)",
    "RECEIVE ROD TOKEN INFORMATION",
}


def parameter_data(device: VdiskDevice) -> Iterator[tuple[CommandRow, Field]]:
    """The commands that return as much as an allocation length allows."""
    for row in device.opcodes.commands():
        served = (
            row.execute not in {*REFUSALS, "log_refused"}
            and row.requires in device.opcodes.features
        )
        counts_bytes = row.length is not None and row.unit is Unit.BYTES
        if served and row.direction is Direction.IN and counts_bytes:
            assert row.length is not None
            yield row, row.length


def cdbs(row: CommandRow) -> Iterator[bytes]:
    for form in FORMS.get(row.name, [f"{row.code:02x}{row.service_action or 0:02x}"]):
        yield bytes.fromhex(form).ljust(row.cdb_length, b"\0")


def with_room(cdb: bytes, field: Field, room: int) -> bytes:
    after = field.offset + field.size
    return cdb[: field.offset] + room.to_bytes(field.size, "big") + cdb[after:]


async def check(initiator: Initiator, row: CommandRow, field: Field) -> None:
    for cdb in cdbs(row):
        # However large: no more than room for an answer.
        most = (1 << 8 * field.size) - 1
        whole = await initiator.execute(with_room(cdb, field, most), data_in=most)
        assert whole.status is Status.GOOD, (row.name, cdb.hex(), whole)
        assert whole.data, row.name
        for room in range(min(len(whole.data), most) + 1):
            part = await initiator.execute(with_room(cdb, field, room), data_in=most)
            if row.name == "REPORT LUNS" and 0 < room < 16:
                # As SCST has it, which keeps to SPC-2 here: room for one LUN at least.
                assert part.triple == INVALID_FIELD
            else:
                assert part.data == whole.data[:room], (row.name, cdb.hex(), room)


async def registered(system: System) -> Initiator:
    """Two initiators are, and the one that is returned holds a reservation."""
    one, two = system.initiator("one"), system.initiator("two")
    for initiator, key in ((one, 0xA1), (two, 0xB2)):
        assert await initiator.execute(*pr_out(IGNORE, new=key)) == GOOD
    assert await one.execute(*pr_out(RESERVE, WE, key=0xA1)) == GOOD
    return one


async def test_of_a_disk(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    # Data with a time must have the same time.
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    monkeypatch.setattr(FileStore, "usage", lambda store: (1 << 30, 1 << 20))
    disk = await system.add_disk("disk", thin_provisioned=1)
    group = DeviceGroup(system.scst, "group")
    system.scst.device_groups["group"] = group
    target_group = group.target_groups["one"] = TargetGroup(group, "one")
    target_group.targets["target"] = GroupTarget("target", system.target)
    group.devices[disk] = None
    initiator = await registered(system)
    seen = set()
    for row, field in parameter_data(disk):
        seen.add(row.name)
        if row.name not in ABOUT_COPIES:
            await check(initiator, row, field)
    assert seen > ABOUT_COPIES
    assert len(seen) > 20


async def test_of_a_cd_rom_drive(system: System) -> None:
    drive = await system.add("vcdrom", "disk")
    image = system.directory / "image"
    image.write_bytes(bytes(2048))
    await change_medium(drive, str(image))
    drive.medium.changed = False
    initiator = system.initiator()
    seen = set()
    for row, field in parameter_data(drive):
        seen.add(row.name)
        # It has fewer pages, which are no different.
        if row.name != "INQUIRY":
            await check(initiator, row, field)
    assert {"GET CONFIGURATION", "MECHANISM STATUS", "MODE SENSE(6)"} < seen


async def test_where_there_is_no_logical_unit(system: System) -> None:
    await system.add_disk("disk")
    initiator = system.initiator()
    for text, field in (
        ("120000000000", Field(3, 2)),
        ("030000000000", Field(4, 1)),
        ("030100000000", Field(4, 1)),
        ("a00000000000000000000000", Field(6, 4)),
    ):
        cdb = bytes.fromhex(text)
        whole = await initiator.execute(with_room(cdb, field, 255), data_in=255, lun=7)
        assert whole.status is Status.GOOD
        for room in range(len(whole.data) + 1):
            part = await initiator.execute(with_room(cdb, field, room), data_in=255, lun=7)
            assert part.data == whole.data[:room]
