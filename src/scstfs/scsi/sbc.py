"""Checks and parameter lists of single block commands (SBC-3, SBC-4)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.sense import (
    PARAMETER_LIST_LENGTH_ERROR,
    CheckCondition,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)

# FMTPINFO and PROTECTION FIELD USAGE of FORMAT UNIT to the protection type (SBC-3 table 40).
_PROTECTION_TYPES: Final = {(0, 0): 0, (2, 0): 1, (3, 0): 2, (3, 1): 3}


@dataclass(frozen=True, slots=True)
class Format:
    """The parameters of FORMAT UNIT."""

    immediate: bool
    write_protection: bool


def check_compare_and_write(length: int, expected_length: int) -> None:
    """Check that the initiator sends exactly `length` bytes.

    SCST does not check this if there are no blocks.
    """
    if length != expected_length:
        raise invalid_field_in_cdb(13)


def format_unit(cdb: bytes, data: bytes, protection: int) -> Format | None:
    """Check FORMAT UNIT for a device with this protection type; raises CheckCondition.

    Returns None where SCST answers GOOD and does nothing: parameters announced, but none sent.
    """
    fmtpinfo = cdb[1] >> 6
    if not cdb[1] & 0x10:  # FMTDATA
        if fmtpinfo:
            raise invalid_field_in_cdb(1, 6)
        return Format(immediate=False, write_protection=False)
    if not data:
        return None
    if len(data) < 4:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if data[1] & 0x08:  # IP
        raise invalid_field_in_parameter_list(1, 3)
    if cdb[1] & 0x20:  # LONGLIST
        if len(data) < 8:
            raise invalid_field_in_cdb(1, 5)
        if data[3]:  # P_I_INFORMATION, PROTECTION INTERVAL EXPONENT
            raise invalid_field_in_parameter_list(3, 4)
    wanted = _PROTECTION_TYPES.get((fmtpinfo, data[0] & 0x07))
    if wanted is None:
        raise invalid_field_in_parameter_list(0, 0)
    if wanted != protection:
        raise invalid_field_in_cdb(1, 6)
    return Format(immediate=bool(data[1] & 0x02), write_protection=fmtpinfo != 0)


@dataclass(frozen=True, slots=True)
class Overwrite:
    """The parameters of SANITIZE with service action OVERWRITE (SBC-3 5.24.2.2)."""

    pattern: bytes
    count: int
    invert: bool


class SanitizeTest(enum.IntEnum):
    """The test that follows an OVERWRITE."""

    NONE = 0
    VERIFY = 1


def sanitize_overwrite(cdb: bytes, data: bytes, block_size: int) -> Overwrite:
    """Decode the parameter list of SANITIZE OVERWRITE; raises CheckCondition.

    The pattern is 1 to `block_size` bytes, and is repeated to fill a block.
    """
    length = int.from_bytes(cdb[7:9], "big")
    if not 4 < length <= block_size + 4:
        raise invalid_field_in_cdb(7)
    if len(data) < length:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if data[0] & 0x60 not in (SanitizeTest.NONE << 5, SanitizeTest.VERIFY << 5):
        raise invalid_field_in_parameter_list(0, 6)
    count = data[0] & 0x1F
    if not count:
        raise invalid_field_in_parameter_list(0, 4)
    size = int.from_bytes(data[2:4], "big")
    if not 0 < size <= block_size or size > length - 4:
        raise invalid_field_in_parameter_list(2)
    return Overwrite(bytes(data[4 : 4 + size]), count, bool(data[0] & 0x80))


def check_sanitize(cdb: bytes) -> None:
    """Check a SANITIZE that takes no parameters: block erase, exit failure mode."""
    if any(cdb[7:9]):
        raise invalid_field_in_cdb(7)


def check_write_atomic(cdb: bytes) -> None:
    """Check WRITE ATOMIC(16) of a device that does not support atomic boundaries (SBC-4 5.48)."""
    if any(cdb[10:12]):
        raise invalid_field_in_cdb(10)


def read_defect_data(cdb: bytes) -> bytes:
    """Return the data of READ DEFECT DATA (10) and (12): no defects, in the requested format.

    PLIST and GLIST come back as they were requested (SBC-3 5.17, 5.18).
    """
    if cdb[0] == 0x37:
        return bytes((0, cdb[2] & 0x1F, 0, 0))
    return bytes((0, cdb[1] & 0x1F, 0, 0, 0, 0, 0, 0))
