from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.scsi.capacity import read_capacity_10, read_capacity_16
from scstfs.scsi.identity import default_identity
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.unit import LogicalUnit, ThinLimits

UNIT = LogicalUnit(default_identity(b"u"), blocks=131072)
CDB_10 = bytes.fromhex("25 00 00000000 0000 00 00")
CDB_16 = bytes.fromhex("9e 10 0000000000000000 00000020 00 00")


@pytest.mark.parametrize(
    ("blocks", "size", "data"),
    [
        (131072, 512, "0001ffff 00000200"),
        (1, 4096, "00000000 00001000"),
        (1 << 32, 512, "ffffffff 00000200"),
        (0, 512, "ffffffff 00000200"),
    ],
)
def test_ten(blocks: int, size: int, data: str) -> None:
    unit = replace(UNIT, blocks=blocks, block_size=size)
    assert read_capacity_10(CDB_10, unit) == bytes.fromhex(data)


def test_ten_with_an_lba() -> None:
    with pytest.raises(CheckCondition) as refused:
        read_capacity_10(bytes.fromhex("25 00 00000005 0000 00 00"), UNIT)
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c00002")
    assert (
        read_capacity_10(bytes.fromhex("25 00 00000005 0000 01 00"), UNIT)[:4].hex() == "0001ffff"
    )


@pytest.mark.parametrize(
    ("unit", "data"),
    [
        # eight blocks of 512 bytes make a physical one
        (UNIT, "000000000001ffff 00000200 00 03 0000"),
        (replace(UNIT, block_size=4096), "000000000001ffff 00001000 00 00 0000"),
        (replace(UNIT, block_size=8192), "000000000001ffff 00002000 00 00 0000"),
        (replace(UNIT, physical_block_size=None), "000000000001ffff 00000200 00 00 0000"),
        (replace(UNIT, thin=ThinLimits(1)), "000000000001ffff 00000200 00 03 8000"),
        (
            replace(UNIT, thin=ThinLimits(1, reads_zero=True)),
            "000000000001ffff 00000200 00 03 c000",
        ),
        (replace(UNIT, protection=2), "000000000001ffff 00000200 03 03 0000"),
    ],
)
def test_sixteen(unit: LogicalUnit, data: str) -> None:
    assert read_capacity_16(CDB_16, unit) == bytes.fromhex(data).ljust(32, b"\0")


def test_sixteen_looks_at_half_the_lba() -> None:
    read_capacity_16(bytes.fromhex("9e 10 0000000000000001 00000020 00 00"), UNIT)
    with pytest.raises(CheckCondition) as refused:
        read_capacity_16(bytes.fromhex("9e 10 0000000100000000 00000020 00 00"), UNIT)
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c00002")
