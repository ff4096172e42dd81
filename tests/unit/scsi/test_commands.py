"""The table itself: rows that contradict each other or themselves are found here."""

from __future__ import annotations

import pytest

from scstfs.scsi.commands import COMMANDS, EXTENSIONS
from scstfs.scsi.foreign_commands import FOREIGN_COMMANDS
from scstfs.scsi.opcodes import CommandRow, DeviceType, Direction, Feature, Flag, Shape

EVERY = (*COMMANDS, *FOREIGN_COMMANDS, *EXTENSIONS)


def row_id(row: CommandRow) -> str:
    action = "" if row.service_action is None else f"/{row.service_action:02x}"
    return f"{row.code:02x}{action} {row.name}"


@pytest.mark.parametrize("row", [row for row in EVERY if row.usage is not None], ids=row_id)
def test_usage_fits_the_row(row: CommandRow) -> None:
    assert row.usage is not None
    assert row.usage[0] == row.code
    assert len(row.usage) == {0: 6, 1: 10, 2: 10, 3: 32, 4: 16, 5: 12}[row.code >> 5]
    if row.service_action is not None and row.code != 0x7F:
        assert row.usage[1] & 0x1F == row.service_action
    for field in (row.lba, row.length):
        if field is not None and row.shape is not Shape.SIX and row.code != 0x5E:
            assert set(row.usage[field.offset : field.offset + field.size]) == {0xFF}
    if row.protect is not None and row.code == 0x7F:
        # RDPROTECT, WRPROTECT or VRPROTECT: a device without protection accepts only zero.
        assert row.protect == 10
        assert row.usage[row.protect] & 0xE0 == 0xE0
    assert row.timeout in (10, 60, 3600)
    assert row.usage[1 if row.code == 0x7F else -1] == 0x04  # NACA


@pytest.mark.parametrize("row", EVERY, ids=row_id)
def test_flags_fit_together(row: CommandRow) -> None:
    if row.flags & Flag.STRICTLY_SERIALIZED:
        assert row.flags & Flag.SERIALIZED
    if row.flags & Flag.FULLY_LOCAL:
        assert row.flags & Flag.LOCAL
    if row.flags & Flag.EXCLUSIVE_ACCESS_OK:
        assert row.flags & Flag.WRITE_EXCLUSIVE_OK
    if row.flags & Flag.TRANSITIONING_OK:
        assert row.flags & Flag.STANDBY_OK
    if row.direction is not Direction.NONE and row.shape is Shape.PLAIN:
        assert row.length is not None or row.fixed_length or row.code in (0x07, 0x34)


def test_no_row_hides_another() -> None:
    seen: set[tuple[int, int | None, int]] = set()
    for row in COMMANDS:
        for device_type in (DeviceType.DISK, DeviceType.CD_ROM):
            if device_type in row.types:
                key = row.code, row.service_action, int(device_type)
                assert key not in seen
                seen.add(key)


def test_extensions_are_marked_and_named() -> None:
    assert all(row.extension for row in EXTENSIONS)
    assert not any(row.extension for row in (*COMMANDS, *FOREIGN_COMMANDS))
    assert all(row.execute == "invalid_opcode" for row in FOREIGN_COMMANDS)


@pytest.mark.parametrize(
    ("flag", "codes"),
    [
        (Flag.SKIP_UA, {"03", "12", "a0"}),
        (
            Flag.UNAVAILABLE_OK,
            {"03", "12", "25", "3b", "3c", "9e/10", "a0", "a3/0a", "a4/0a"},
        ),
        (Flag.TRANSITIONING_OK, {"03", "12", "25", "3b", "3c", "9e/10", "a0", "a3/0a"}),
        (Flag.FORMATTING_OK, {"03", "12", "a0"}),
        (Flag.NO_MEDIUM_OK, {"12"}),
        (
            Flag.STANDBY_OK,
            {
                *("03", "12", "15", "16", "17", "1a", "1c", "1d", "25", "3b", "3c", "4c", "4d"),
                *("55", "56", "57", "5a", "5e", "5f", "9e/10", "a0", "a3/0a", "a4/0a"),
            },
        ),
        (
            Flag.WRITES_MEDIUM,
            {
                *("04", "07", "0a", "0d", "10", "19", "2a", "2c", "2e", "3f", "41", "42", "50"),
                *("51", "53", "58", "8d"),
                *("7f/0b", "7f/0c", "7f/0d", "81", "82", "83", "89", "8a", "8e", "93", "aa", "ae"),
            },
        ),
        (Flag.STRICTLY_SERIALIZED, {"04", "15", "4c", "55", "a4/0a"}),
    ],
    ids=lambda value: value.name if isinstance(value, Flag) else "",
)
def test_who_has_a_flag(flag: Flag, codes: set[str]) -> None:
    """SCST's own commands of disks and CD-ROMs, with operation code and service action."""
    wanted = {DeviceType.DISK, DeviceType.CD_ROM}
    found = {
        row_id(row).partition(" ")[0]
        for row in (*COMMANDS, *FOREIGN_COMMANDS)
        if row.flags & flag and row.types & wanted
    }
    assert found == codes


def test_features() -> None:
    needs = {row.name: row.requires for row in EVERY if row.requires is not Feature.NONE}
    assert needs["SET TARGET PORT GROUPS"] is Feature.EXPLICIT_ALUA
    assert needs["GET LBA STATUS"] is Feature.THIN
    assert needs["POPULATE TOKEN"] is Feature.TOKEN_COPY
    assert needs["READ(32)"] is Feature.PROTECTION_TYPE_2
