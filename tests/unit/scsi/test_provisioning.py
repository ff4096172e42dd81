from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.identity import default_identity
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.provisioning import (
    LbaRange,
    LbaStatus,
    Provisioning,
    check_unmap,
    check_write_same,
    get_lba_status,
    lba_status_count,
    unmap_extents,
)
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.unit import LogicalUnit, ThinLimits

THICK = LogicalUnit(default_identity(b"u"), blocks=131072)
THIN = replace(THICK, thin=ThinLimits(16))
TABLE = opcode_table(DeviceType.DISK)


def unmap_cdb(length: int, byte1: int = 0) -> bytes:
    return bytes((0x42, byte1, 0, 0, 0, 0, 0)) + length.to_bytes(2, "big") + b"\0"


LIST = bytes.fromhex(
    "0026"  # data length
    "0020"  # two block descriptors
    "00000000"
    "0000000000000020 00000008 00000000"
    "0000000000000040 00000002 00000000"
)


def test_unmap_extents() -> None:
    assert unmap_extents(unmap_cdb(40), LIST) == [LbaRange(0x20, 8), LbaRange(0x40, 2)]
    assert unmap_extents(unmap_cdb(0), b"") == []
    assert unmap_extents(unmap_cdb(8), bytes(8)) == []


@pytest.mark.parametrize(
    "data",
    [
        LIST[:2] + b"\x00\x21" + LIST[4:],  # no multiple of 16
        LIST[:2] + b"\x00\x30" + LIST[4:],  # longer than the list
    ],
)
def test_bad_descriptor_length(data: bytes) -> None:
    with pytest.raises(CheckCondition) as refused:
        unmap_extents(unmap_cdb(40), data)
    assert refused.value.sense.encode()[12:] == bytes.fromhex("260000 800002")


@pytest.mark.parametrize(
    ("unit", "byte1", "blocks", "sense"),
    [
        (THICK, 0, 1, "200000 000000"),
        (THIN, 1, 1, "240000 c80001"),  # ANCHOR
        (THIN, 0, 17, "260000 800000"),  # more than the limit
        (THIN, 0, 16, None),
    ],
)
def test_checking_unmap(unit: LogicalUnit, byte1: int, blocks: int, sense: str | None) -> None:
    extents = [LbaRange(0, blocks - 1), LbaRange(64, 1)]
    if sense is None:
        check_unmap(unmap_cdb(40, byte1), extents, unit)
        return
    with pytest.raises(CheckCondition) as refused:
        check_unmap(unmap_cdb(40, byte1), extents, unit)
    assert refused.value.sense.encode()[12:] == bytes.fromhex(sense)


@pytest.mark.parametrize(
    ("cdb", "unit", "outcome"),
    [
        ("41 00 00000008 00 0004 00", THICK, False),
        ("41 08 00000008 00 0004 00", THIN, True),
        ("41 08 00000008 00 0004 00", THICK, "200000 000000"),
        ("41 18 00000008 00 0004 00", THIN, "240000 cc0001"),  # ANCHOR
        ("41 00 00000008 00 0000 00", THICK, "240000 c00007"),  # WSNZ
        ("93 00 0000000000000008 00000000 00 00", THICK, "240000 c0000a"),
        ("93 00 0000000000000008 00080001 00 00", THICK, "240000 c0000a"),  # > 256 MiB
        ("93 08 0000000000000008 00080001 00 00", THIN, "240000 c0000a"),
        ("41 02 00000008 00 0004 00", THICK, "240000 c90001"),  # LBDATA
        ("41 04 00000008 00 0004 00", THICK, "240000 c90001"),  # PBDATA
    ],
)
def test_checking_write_same(cdb: str, unit: LogicalUnit, outcome: bool | str) -> None:
    decoded = TABLE.decode(bytes.fromhex(cdb))
    if isinstance(outcome, bool):
        assert check_write_same(decoded.op, decoded.cdb, decoded.data_length, unit) is outcome
        return
    with pytest.raises(CheckCondition) as refused:
        check_write_same(decoded.op, decoded.cdb, decoded.data_length, unit)
    assert refused.value.sense.encode()[12:] == bytes.fromhex(outcome)


def test_lba_status() -> None:
    runs = [
        LbaStatus(0x10, 0x20, Provisioning.MAPPED),
        LbaStatus(0x30, 1 << 40, Provisioning.DEALLOCATED),
        LbaStatus(0x30 + (1 << 40), 1, Provisioning.MAPPED),
    ]
    assert get_lba_status(runs) == bytes.fromhex(
        "00000024 00000000"  # 36 bytes follow the length
        "0000000000000010 00000020 00 000000"
        "0000000000000030 ffffffff 01 000000"
    )


@pytest.mark.parametrize(
    ("room", "count"),
    [(0, 1), (24, 1), (39, 1), (40, 2), (1032, 64), (0xFFFFFFFF, 65536)],
)
def test_how_many_descriptors_fit(room: int, count: int) -> None:
    assert lba_status_count(room) == count
