"""Small primary commands (SPC-4) that have no module of their own."""

from __future__ import annotations

import enum
from typing import Final

from scstfs.scsi.sense import Sense, invalid_field_in_cdb

_DESC: Final = 0x01
_RESERVE_10: Final = 0x56
_THIRD_PARTY: Final = 0x10
_PCV: Final = 0x01
_SUPPORTED_DIAGNOSTIC_PAGES: Final = bytes((0x00, 0x00, 0x00, 0x01, 0x00))
_SUPPORTED_INFORMATION: Final = 0x7F
_INFORMATION_LENGTHS: Final = {0: 64, 2: 256}
_TIMESTAMP_LENGTH: Final = 10


def request_sense(cdb: bytes, condition: Sense) -> bytes:
    """Return the data of REQUEST SENSE (SPC-4 6.39), to be cut.

    `condition` has the format that the CDB requests, whatever the Control mode page says.
    """
    return condition.encode_as(descriptor=bool(cdb[1] & _DESC))


def check_reserve(cdb: bytes) -> None:
    """Refuse a RESERVE (10) for a third party (SPC-2 7.21); RESERVE (6) has nothing to check."""
    if cdb[0] == _RESERVE_10 and cdb[2] & _THIRD_PARTY:
        raise invalid_field_in_cdb(2, 4)


def receive_diagnostic_results(cdb: bytes) -> bytes:
    """Return the Supported Diagnostic Pages page, the only one (SPC-4 6.27, 7.2.3).

    Raises CheckCondition for any other page.
    """
    if cdb[1] & _PCV and cdb[2]:
        raise invalid_field_in_cdb(2)
    return _SUPPORTED_DIAGNOSTIC_PAGES


def report_identifying_information(cdb: bytes, information: bytes = b"") -> bytes:
    """Return identifying information for a 12-byte `cdb` (SPC-4 6.32); raises CheckCondition.

    `information` is what was set for the type in the CDB; without it the answer is empty.  Type 7Fh
    returns the list of types.
    """
    kind = cdb[10] >> 1
    if kind == _SUPPORTED_INFORMATION:
        body = b"".join(
            bytes((number << 1, 0)) + length.to_bytes(2, "big")
            for number, length in _INFORMATION_LENGTHS.items()
        )
        return bytes(2) + len(body).to_bytes(2, "big") + body
    if kind not in _INFORMATION_LENGTHS:
        raise invalid_field_in_cdb(10, 7)
    return bytes(2) + len(information).to_bytes(2, "big") + information


class TimestampOrigin(enum.IntEnum):
    """The origin of the time in REPORT TIMESTAMP."""

    POWER_ON = 0
    SET_TIMESTAMP = 2
    OTHER = 3


def report_timestamp(milliseconds: int, origin: TimestampOrigin) -> bytes:
    """Return the data of REPORT TIMESTAMP (SPC-4 6.38): milliseconds since 1970, 48 bits."""
    head = _TIMESTAMP_LENGTH.to_bytes(2, "big") + bytes((origin, 0))
    return head + (milliseconds & 0xFFFFFFFFFFFF).to_bytes(6, "big") + bytes(2)
