"""Logical unit numbers (SAM-5 4.7) and the REPORT LUNS command (SPC-4 6.33)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from scstfs.scsi.sense import invalid_field_in_cdb

MAX_LUN: Final = 0x3FFF
LUN_LENGTH: Final = 8

_SELECT_SUPPORTED: Final = (0x00, 0x02)
_HASH_SIZE: Final = 32


class AddressMethod(enum.IntEnum):
    """How a logical unit number is written into its eight bytes."""

    PERIPHERAL = 0
    FLAT = 1
    LUN = 2


def pack_lun(lun: int, method: AddressMethod = AddressMethod.PERIPHERAL) -> bytes:
    """Return the eight bytes of `lun` (0 to 16383).

    LUN 0 is all zero in every method.  With PERIPHERAL the number goes into 14 bits, so bus
    identifiers other than 0 stand for the numbers from 256 on, as in SCST.
    """
    if lun == 0:
        return bytes(LUN_LENGTH)
    return ((method << 14) | (lun & MAX_LUN)).to_bytes(2, "big") + bytes(6)


def unpack_lun(data: bytes) -> int | None:
    """Return the number in the eight bytes `data`, or None if no logical unit can have it.

    All three methods are understood, whichever one the target reports; the second and further
    levels must be zero.
    """
    if len(data) != LUN_LENGTH or data[0] >> 6 > AddressMethod.LUN or any(data[2:]):
        return None
    return (data[0] & 0x3F) << 8 | data[1]


def report_luns_order(luns: Iterable[int]) -> list[int]:
    """Return `luns` (in the order they were added) in the order REPORT LUNS lists them.

    SCST walks a hash table of 32 buckets, each in insertion order.
    """
    return sorted(luns, key=lambda lun: lun % _HASH_SIZE)


def check_report_luns(cdb: bytes, minimum: int = 16) -> None:
    """Check a REPORT LUNS CDB; raises CheckCondition.

    `minimum` is the smallest allocation length: 16, or 0 if the command reached no device, because
    SCST does not check it then.  A length of zero is never an error.
    """
    if cdb[2] not in _SELECT_SUPPORTED:
        raise invalid_field_in_cdb(2)
    if 0 < int.from_bytes(cdb[6:10], "big") < minimum:
        raise invalid_field_in_cdb(6)


def report_luns(luns: Iterable[int], method: AddressMethod = AddressMethod.PERIPHERAL) -> bytes:
    """Return the REPORT LUNS parameter data for `luns`, in the order given, to be cut."""
    body = b"".join(pack_lun(lun, method) for lun in luns)
    return len(body).to_bytes(4, "big") + bytes(4) + body
