"""iSCSI PDU headers as bytes: RFC 7143 clause 11, the codes of RFC 7144 included.

Those of the login phase are in `scstfs.iscsi.login_pdu`, built the same way.

Every PDU starts with a 48-byte Basic Header Segment (BHS). For each kind there is a precompiled
`struct.Struct` that names its fields in order, so that a fast path can use it directly; around it
are a record and an unpack function (what a target receives) or a pack function (what it sends).
Nothing here judges a header: any 48 bytes unpack, and the layers above decide what they mean.

Conventions of all layouts:

- byte 0 holds the opcode in its low six bits and, in requests, the I (immediate) bit 0x40;
- bytes 4-7 are one big-endian word "lengths": TotalAHSLength (in 4-byte words) in the top byte
  and DataSegmentLength (in bytes, without padding) in the lower three (RFC 7143 11.2.1);
- LUN, CDB and ISID are opaque bytes; tags and sequence numbers are unsigned 32-bit integers;
- reserved bytes are skipped when unpacking and zero when packing.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from scstfs.iscsi.codes import (
    FINAL,
    RESERVED_TAG,
    PduOpcode,
    ScsiResponseCode,
)

BytesLike: TypeAlias = bytes | bytearray | memoryview

BHS_LENGTH: Final = 48
"""Bytes in a Basic Header Segment (RFC 7143 11.2)."""
DIGEST_LENGTH: Final = 4
"""Bytes in a header or data digest (RFC 7143 11.2.3)."""
DATA_LENGTH_MASK: Final = 0xFFFFFF
"""`lengths & DATA_LENGTH_MASK` is the DataSegmentLength, `lengths >> 24` the TotalAHSLength."""
NO_LUN: Final = bytes(8)
"""The LUN field where none applies."""


# SCSI Command (RFC 7143 11.3)


SCSI_COMMAND: Final = Struct(">BBxxI8sIIII16s")
"""opcode, flags, lengths, LUN, ITT, ExpectedDataTransferLength, CmdSN, ExpStatSN, CDB."""


class ScsiCommand(NamedTuple):
    """A SCSI Command PDU (RFC 7143 11.3)."""

    opcode: int
    flags: int
    lengths: int
    lun: bytes
    itt: int
    expected_data_transfer_length: int
    cmd_sn: int
    exp_stat_sn: int
    cdb: bytes


def unpack_scsi_command(buffer: BytesLike, offset: int = 0) -> ScsiCommand:
    """Read the 48 bytes at `offset` as a SCSI Command."""
    return ScsiCommand(*SCSI_COMMAND.unpack_from(buffer, offset))


# SCSI Response (RFC 7143 11.4)


SCSI_RESPONSE: Final = Struct(">BBBBI8xIIIIIIII")
"""opcode, flags, response, status, lengths, ITT, SNACK tag, StatSN, ExpCmdSN, MaxCmdSN, ExpDataSN,
bidirectional read residual count, residual count."""


def pack_scsi_response(
    *,
    itt: int,
    status: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    response: int = ScsiResponseCode.COMPLETED_AT_TARGET,
    flags: int = 0,
    exp_data_sn: int = 0,
    residual: int = 0,
    bidi_residual: int = 0,
    data_length: int = 0,
) -> bytes:
    """Build a SCSI Response; `flags` are the RESIDUAL_* bits, F is added (RFC 7143 11.4)."""
    return SCSI_RESPONSE.pack(
        PduOpcode.SCSI_RESPONSE,
        FINAL | flags,
        response,
        status,
        data_length,
        itt,
        0,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        exp_data_sn,
        bidi_residual,
        residual,
    )


# Task Management Function Request and Response (RFC 7143 11.5, 11.6; RFC 7144)


TASK_MANAGEMENT_REQUEST: Final = Struct(">BBxxI8sIIIIII8x")
"""opcode, flags and function, lengths, LUN, ITT, referenced task tag, CmdSN, ExpStatSN, RefCmdSN,
ExpDataSN."""


class TaskManagementRequest(NamedTuple):
    """A Task Management Function Request (RFC 7143 11.5); `flags & TASK_FUNCTION_MASK`."""

    opcode: int
    flags: int
    lengths: int
    lun: bytes
    itt: int
    referenced_task_tag: int
    cmd_sn: int
    exp_stat_sn: int
    ref_cmd_sn: int
    exp_data_sn: int


def unpack_task_management_request(buffer: BytesLike, offset: int = 0) -> TaskManagementRequest:
    """Read the 48 bytes at `offset` as a Task Management Function Request."""
    return TaskManagementRequest(*TASK_MANAGEMENT_REQUEST.unpack_from(buffer, offset))


TASK_MANAGEMENT_RESPONSE: Final = Struct(">BBBxI3s5xI4xIII12x")
"""opcode, flags, response, lengths, additional response information, ITT, StatSN, ExpCmdSN,
MaxCmdSN."""


def pack_task_management_response(
    *,
    itt: int,
    response: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    information: bytes = bytes(3),
) -> bytes:
    """Build a Task Management Function Response (RFC 7143 11.6).

    `information` is what RFC 7144 6.4.1 adds: three bytes that SAM-5 defines.
    """
    return TASK_MANAGEMENT_RESPONSE.pack(
        PduOpcode.TASK_MANAGEMENT_RESPONSE,
        FINAL,
        response,
        0,
        information,
        itt,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
    )


# SCSI Data-Out and Data-In (RFC 7143 11.7)


DATA_OUT: Final = Struct(">BBxxI8sII4xI4xII4x")
"""opcode, flags, lengths, LUN, ITT, TTT, ExpStatSN, DataSN, buffer offset."""


class DataOut(NamedTuple):
    """A SCSI Data-Out PDU (RFC 7143 11.7); `ttt` is RESERVED_TAG for unsolicited data."""

    opcode: int
    flags: int
    lengths: int
    lun: bytes
    itt: int
    ttt: int
    exp_stat_sn: int
    data_sn: int
    buffer_offset: int


def unpack_data_out(buffer: BytesLike, offset: int = 0) -> DataOut:
    """Read the 48 bytes at `offset` as a SCSI Data-Out."""
    return DataOut(*DATA_OUT.unpack_from(buffer, offset))


DATA_IN: Final = Struct(">BBxBI8sIIIIIIII")
"""opcode, flags, status, lengths, LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN, DataSN, offset of the
data, residual count. LUN and TTT count with the A bit only; status, StatSN, residual with S."""


def pack_data_in(
    *,
    itt: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    data_sn: int,
    buffer_offset: int,
    data_length: int,
    flags: int = 0,
    status: int = 0,
    stat_sn: int = 0,
    residual: int = 0,
    lun: bytes = NO_LUN,
    ttt: int = RESERVED_TAG,
) -> bytes:
    """Build a SCSI Data-In; `flags` are FINAL, DATA_STATUS and RESIDUAL_* (RFC 7143 11.7)."""
    return DATA_IN.pack(
        PduOpcode.DATA_IN,
        flags,
        status,
        data_length,
        lun,
        itt,
        ttt,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        data_sn,
        buffer_offset,
        residual,
    )


# The PDU that ends a command with GOOD status and nothing else (RFC 7143 11.4, 11.7)

GOOD_STATUS: Final = Struct(">HxxI8xIIIII12x")
"""opcode and flags, lengths, ITT, TTT (0 in a SCSI Response), StatSN, ExpCmdSN, MaxCmdSN.

SCSI Response and Data-In have the same fields at the same places where status, DataSN, offset and
residual counts are zero."""


# Ready To Transfer (RFC 7143 11.8)

READY_TO_TRANSFER: Final = Struct(">BBxxI8sIIIIIIII")
"""opcode, flags, lengths, LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN, R2TSN, buffer offset, desired
data transfer length."""


def pack_ready_to_transfer(
    *,
    lun: bytes,
    itt: int,
    ttt: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    r2t_sn: int,
    buffer_offset: int,
    desired_length: int,
) -> bytes:
    """Build an R2T; `stat_sn` is the next one and is not consumed (RFC 7143 11.8)."""
    return READY_TO_TRANSFER.pack(
        PduOpcode.READY_TO_TRANSFER,
        FINAL,
        0,
        lun,
        itt,
        ttt,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        r2t_sn,
        buffer_offset,
        desired_length,
    )


# Asynchronous Message (RFC 7143 11.9)


ASYNC_MESSAGE: Final = Struct(">BBxxI8sI4xIIIBBHHH4x")
"""opcode, flags, lengths, LUN, 0xffffffff, StatSN, ExpCmdSN, MaxCmdSN, AsyncEvent, AsyncVCode,
Parameter1, Parameter2, Parameter3."""


def pack_async_message(
    *,
    event: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    lun: bytes = NO_LUN,
    vendor_code: int = 0,
    parameters: tuple[int, int, int] = (0, 0, 0),
    data_length: int = 0,
) -> bytes:
    """Build an Asynchronous Message; sense data and its 2-byte length follow as data."""
    return ASYNC_MESSAGE.pack(
        PduOpcode.ASYNC_MESSAGE,
        FINAL,
        data_length,
        lun,
        RESERVED_TAG,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        event,
        vendor_code,
        *parameters,
    )


# Text Request and Response (RFC 7143 11.10, 11.11)

TEXT_REQUEST: Final = Struct(">BBxxI8sIIII16x")
"""opcode, flags, lengths, LUN, ITT, TTT, CmdSN, ExpStatSN."""


class TextRequest(NamedTuple):
    """A Text Request (RFC 7143 11.10)."""

    opcode: int
    flags: int
    lengths: int
    lun: bytes
    itt: int
    ttt: int
    cmd_sn: int
    exp_stat_sn: int


def unpack_text_request(buffer: BytesLike, offset: int = 0) -> TextRequest:
    """Read the 48 bytes at `offset` as a Text Request."""
    return TextRequest(*TEXT_REQUEST.unpack_from(buffer, offset))


TEXT_RESPONSE: Final = Struct(">BBxxI8sIIIII12x")
"""opcode, flags, lengths, LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN."""


def pack_text_response(
    *,
    itt: int,
    ttt: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    flags: int = FINAL,
    lun: bytes = NO_LUN,
    data_length: int = 0,
) -> bytes:
    """Build a Text Response; `flags` are FINAL or CONTINUE (RFC 7143 11.11)."""
    return TEXT_RESPONSE.pack(
        PduOpcode.TEXT_RESPONSE,
        flags,
        data_length,
        lun,
        itt,
        ttt,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
    )


# Logout Request and Response (RFC 7143 11.14, 11.15)


LOGOUT_REQUEST: Final = Struct(">BBxxI8xIHxxII16x")
"""opcode, flags and reason, lengths, ITT, CID, CmdSN, ExpStatSN."""


class LogoutRequest(NamedTuple):
    """A Logout Request (RFC 7143 11.14); `flags & LOGOUT_REASON_MASK` is the reason."""

    opcode: int
    flags: int
    lengths: int
    itt: int
    cid: int
    cmd_sn: int
    exp_stat_sn: int


def unpack_logout_request(buffer: BytesLike, offset: int = 0) -> LogoutRequest:
    """Read the 48 bytes at `offset` as a Logout Request."""
    return LogoutRequest(*LOGOUT_REQUEST.unpack_from(buffer, offset))


LOGOUT_RESPONSE: Final = Struct(">BBBxI8xI4xIII4xHH4x")
"""opcode, flags, response, lengths, ITT, StatSN, ExpCmdSN, MaxCmdSN, Time2Wait, Time2Retain."""


def pack_logout_response(
    *,
    itt: int,
    response: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    time2wait: int = 0,
    time2retain: int = 0,
) -> bytes:
    """Build a Logout Response; the two times are in seconds (RFC 7143 11.15)."""
    return LOGOUT_RESPONSE.pack(
        PduOpcode.LOGOUT_RESPONSE,
        FINAL,
        response,
        0,
        itt,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        time2wait,
        time2retain,
    )


# Reject (RFC 7143 11.17)

REJECT: Final = Struct(">BBBxI8xI4xIIII8x")
"""opcode, flags, reason, lengths, 0xffffffff, StatSN, ExpCmdSN, MaxCmdSN, DataSN or R2TSN."""


def pack_reject(
    *,
    reason: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    data_sn: int = 0,
    data_length: int = BHS_LENGTH,
) -> bytes:
    """Build a Reject; the refused header follows as data (RFC 7143 11.17)."""
    return REJECT.pack(
        PduOpcode.REJECT,
        FINAL,
        reason,
        data_length,
        RESERVED_TAG,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        data_sn,
    )


# NOP-Out and NOP-In (RFC 7143 11.18, 11.19)

NOP_OUT: Final = Struct(">BBxxI8sIIII16x")
"""opcode, flags, lengths, LUN, ITT, TTT, CmdSN, ExpStatSN."""


class NopOut(NamedTuple):
    """A NOP-Out (RFC 7143 11.18): a ping if `ttt`, an answer if `itt` is RESERVED_TAG."""

    opcode: int
    flags: int
    lengths: int
    lun: bytes
    itt: int
    ttt: int
    cmd_sn: int
    exp_stat_sn: int


def unpack_nop_out(buffer: BytesLike, offset: int = 0) -> NopOut:
    """Read the 48 bytes at `offset` as a NOP-Out."""
    return NopOut(*NOP_OUT.unpack_from(buffer, offset))


NOP_IN: Final = Struct(">BBxxI8sIIIII12x")
"""opcode, flags, lengths, LUN, ITT, TTT, StatSN, ExpCmdSN, MaxCmdSN."""


def pack_nop_in(
    *,
    itt: int,
    ttt: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    lun: bytes = NO_LUN,
    data_length: int = 0,
) -> bytes:
    """Build a NOP-In; with `itt` RESERVED_TAG the StatSN is not consumed (RFC 7143 11.19)."""
    return NOP_IN.pack(
        PduOpcode.NOP_IN, FINAL, data_length, lun, itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn
    )


def padded(length: int) -> int:
    """Round a segment's length up to the 4-byte boundary it is padded to (RFC 7143 11.2.3)."""
    return (length + 3) & ~3


def with_data(header: bytes, data: bytes) -> bytes:
    """Join a header and its padded data segment, without digests."""
    return header + data + bytes(-len(data) & 3)
