"""Every command that a device serves, in each form that the standards distinguish."""

from __future__ import annotations

from collections.abc import Iterator

from scstfs.core.device import Device
from scstfs.scsi.opcodes import CommandRow

#: Rows of the table of commands that only refuse a command as SCST does.
REFUSALS = {"invalid_opcode", "invalid_service_action", "internal_target_failure"}


def listed(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in " ".join(text.split()).split(", ")]


def commands(device: Device) -> Iterator[tuple[str, bytes]]:
    """Name and CDB of every command that the device serves, in each of its forms."""
    for row in device.opcodes.commands():
        if row.execute not in REFUSALS and row.requires in device.opcodes.features:
            yield from forms(row)


def forms(row: CommandRow) -> Iterator[tuple[str, bytes]]:
    """The forms of a command with different effects on other nexuses."""
    action = row.service_action or 0
    cdb = bytearray((row.code, action)).ljust(max(row.cdb_length, 6), b"\0")
    if row.name == "START STOP UNIT":
        yield "START STOP UNIT: start", bytes(cdb[:4]) + b"\x01\0"
        yield row.name, bytes(cdb[:4]) + b"\x11\0"
    elif row.name == "PREVENT ALLOW MEDIUM REMOVAL":
        yield "PREVENT ALLOW MEDIUM REMOVAL: allow", bytes(cdb)
        cdb[4] = 1
    yield row.name, bytes(cdb)
