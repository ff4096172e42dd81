from __future__ import annotations

import pytest

from scstfs.scsi.opcodes import (
    NO_FLAGS,
    Check,
    DeviceType,
    Direction,
    Feature,
    Field,
    Shape,
    Unit,
    blocks_at,
    bytes_at,
    device_types,
    opcode,
    type_letters,
)


def test_letters() -> None:
    assert device_types("DR") == {DeviceType.DISK, DeviceType.CD_ROM}
    assert device_types("*") == set(range(32))
    for letters in ("DR", "*", "DTLPWRSOMCAEBK", ""):
        assert type_letters(device_types(letters)) == letters
    with pytest.raises(KeyError):
        device_types("X")


def test_fields() -> None:
    cdb = bytes.fromhex("2800 00012345 00 0010 00")
    assert Field(2, 4).get(cdb) == 0x12345
    assert blocks_at((2, 4), (7, 2)).lba == Field(2, 4)
    assert blocks_at(None, (7, 2)).unit is Unit.BLOCKS
    assert bytes_at(7, 2).length == Field(7, 2)
    assert bytes_at(7, 2, lba=(2, 4)).lba == Field(2, 4)


@pytest.mark.parametrize(
    ("check", "byte", "sense"),
    [
        (Check(1, 0x02), 0x01, None),
        (Check(1, 0x02, bit=1), 0x02, "240000 c90001"),
        (Check(1, 0x02), 0x02, "240000 c00001"),
        (Check(1, 0x02, unless=0x08), 0x0A, None),
        (Check(1, 0x06, unless=0x08), 0x04, "240000 c00001"),
        (Check(1, 0x02, points_at=8), 0x02, "240000 c00008"),
    ],
)
def test_checks(check: Check, byte: int, sense: str | None) -> None:
    failure = check.failure(bytes((0x28, byte)))
    assert (failure and failure.sense.encode()[12:].hex(" ", 3)) == sense


def test_a_row_says_no_more_than_it_must() -> None:
    row = opcode(0x00, "TEST UNIT READY", "*")
    assert (row.direction, row.flags, row.shape) == (Direction.NONE, NO_FLAGS, Shape.PLAIN)
    assert (row.lba, row.length, row.usage, row.requires) == (None, None, None, Feature.NONE)
    assert row.execute == "invalid_opcode"


@pytest.mark.parametrize(
    ("code", "usage", "length"),
    [
        (0x12, None, 6),
        (0x28, None, 10),
        (0x7F, None, 32),
        (0x88, None, 16),
        (0xA8, None, 12),
        (0xC1, None, 0),  # vendor specific
        (0xC1, "c1 00 00 00 00 00", 6),
    ],
)
def test_length_of_the_cdb(code: int, usage: str | None, length: int) -> None:
    assert opcode(code, "SOMETHING", "D", usage=usage).cdb_length == length
