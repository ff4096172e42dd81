"""REPORT SUPPORTED OPERATION CODES and ... TASK MANAGEMENT FUNCTIONS (SPC-4 6.35, 6.36).

Both are answered from the table of commands; the bytes are SCST's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scstfs.scsi.opcodes import CommandRow
from scstfs.scsi.sense import CheckCondition, invalid_field_in_cdb

_RCTD: Final = 0x80
_SERVACTV: Final = 0x01
_CTDP: Final = 0x02
_CTDP_ONE: Final = 0x80
_SUPPORTED: Final = 0x03
_NOMINAL_SECONDS: Final = 1

# ABORT TASK, ABORT TASK SET, CLEAR ACA, CLEAR TASK SET and LOGICAL UNIT RESET.
_TASK_FUNCTIONS: Final = 0xF8
# In tenths of a second; ABORT TASK and CLEAR ACA have the long one.
_LONG_TIMEOUT: Final = 300
_SHORT_TIMEOUT: Final = 150


def report_supported_opcodes(cdb: bytes, rows: Sequence[CommandRow]) -> bytes:
    """Return the parameter data for a 12-byte `cdb`; raises CheckCondition.

    `rows` are `OpcodeTable.reported()`. The caller cuts the result at the allocation length.
    """
    timeouts = bool(cdb[2] & _RCTD)
    options, opcode, action = cdb[2] & 0x07, cdb[3], cdb[4] << 8 | cdb[5]
    if options == 0:
        body = b"".join(_descriptor(row, timeouts) for row in rows)
        return len(body).to_bytes(4, "big") + body
    same = [row for row in rows if row.code == opcode]
    plain = [row for row in same if row.service_action is None]
    if options == 1:
        if same and not plain:
            raise _bad_options()
        return _one(plain, timeouts)
    if options == 2:
        found = [row for row in same if row.service_action == action]
        if plain and not found:
            raise _bad_options()
        return _one(found, timeouts)
    raise _bad_options()


def _bad_options() -> CheckCondition:
    return invalid_field_in_cdb(2, 0)


def _descriptor(row: CommandRow, timeouts: bool) -> bytes:
    flags = (_SERVACTV if row.service_action is not None else 0) | (_CTDP if timeouts else 0)
    action = (row.service_action or 0).to_bytes(2, "big")
    size = row.cdb_length.to_bytes(2, "big")
    entry = bytes((row.code, 0)) + action + bytes((0, flags)) + size
    return entry + _timeouts(row) if timeouts else entry


def _one(rows: Sequence[CommandRow], timeouts: bool) -> bytes:
    if not rows:
        return bytes(4)
    row = rows[0]
    usage = row.usage or b""
    head = bytes((0, _SUPPORTED | (_CTDP_ONE if timeouts else 0)))
    entry = head + len(usage).to_bytes(2, "big") + usage
    return entry + _timeouts(row) if timeouts else entry


def _timeouts(row: CommandRow) -> bytes:
    """Return the command timeouts descriptor (SPC-4 6.35.4), times in seconds."""
    times = _NOMINAL_SECONDS.to_bytes(4, "big") + row.timeout.to_bytes(4, "big")
    return bytes((0, 0x0A, 0, 0)) + times


def report_supported_tmf(cdb: bytes) -> bytes:
    """Return the parameter data for a 12-byte `cdb`, extended if it has REPD set."""
    functions = bytes((_TASK_FUNCTIONS, 0, 0))
    if not cdb[2] & 0x80:
        return functions + b"\0"
    times = _LONG_TIMEOUT.to_bytes(4, "big") + _SHORT_TIMEOUT.to_bytes(4, "big")
    return functions + bytes((0x0C, 0x01, 0, 0xA0, 0)) + times
