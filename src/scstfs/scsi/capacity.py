"""READ CAPACITY (10) and (16) (SBC-3 5.15, 5.16)."""

from __future__ import annotations

from typing import Final

from scstfs.scsi.sense import invalid_field_in_cdb
from scstfs.scsi.unit import LogicalUnit

_PMI: Final = 0x01
_LARGEST: Final = 0xFFFFFFFF
_LENGTH_16: Final = 32
# PROT_EN and P_TYPE, by protection type.
_PROTECTION: Final = (0x00, 0x01, 0x03, 0x05)
_LBPME: Final = 0x80
_LBPRZ: Final = 0x40


def read_capacity_10(cdb: bytes, unit: LogicalUnit) -> bytes:
    """Return the 8 bytes for the 10-byte `cdb`; raises CheckCondition.

    The last LBA is FFFFFFFFh if it does not fit, or if there is no block.
    """
    if not cdb[8] & _PMI and any(cdb[2:6]):
        raise invalid_field_in_cdb(2)
    last = _LARGEST if unit.blocks >> 32 else (unit.blocks - 1) & _LARGEST
    return last.to_bytes(4, "big") + unit.block_size.to_bytes(4, "big")


def read_capacity_16(cdb: bytes, unit: LogicalUnit) -> bytes:
    """Return the 32 bytes for the 16-byte `cdb`, to be cut; raises CheckCondition.

    Without PMI the LBA must be zero; as in SCST only its upper half is checked.
    """
    if not cdb[14] & _PMI and any(cdb[2:6]):
        raise invalid_field_in_cdb(2)
    out = bytearray(_LENGTH_16)
    out[0:8] = ((unit.blocks - 1) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
    out[8:12] = unit.block_size.to_bytes(4, "big")
    out[12] = _PROTECTION[unit.protection]
    if unit.physical_block_size is not None:
        physical = unit.physical_block_size.bit_length() - unit.block_size.bit_length()
        out[13] = max(physical, 0)
    if unit.thin is not None:
        out[14] = _LBPME | (_LBPRZ if unit.thin.reads_zero else 0)
    return bytes(out)
