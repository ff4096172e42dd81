"""Copies by token, known as ODX: POPULATE TOKEN, WRITE USING TOKEN, tokens and their status.

Follows SBC-4 4.28, 5.12, 5.25 and 5.59 and SPC-4 5.17.6, 6.24 and 6.26.  SCST has none of this.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.capacity import read_capacity_16
from scstfs.scsi.provisioning import LbaRange
from scstfs.scsi.sense import (
    INVALID_TOKEN_LENGTH,
    PARAMETER_LIST_LENGTH_ERROR,
    TOKEN_UNSUPPORTED,
    TOO_MANY_SEGMENT_DESCRIPTORS,
    CheckCondition,
    Sense,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)
from scstfs.scsi.unit import LogicalUnit, TokenLimits

TOKEN_LENGTH: Final = 512
RANDOM_LENGTH: Final = 352

_TOKEN_FIELD: Final = 0x01F8
_DESCRIPTOR_LENGTH: Final = 16
_POPULATE_HEADER: Final = 16
_WRITE_HEADER: Final = 536
_WRITE_TOKEN: Final = 16
_IMMEDIATE: Final = 0x01
_RTV: Final = 0x02
_DEL_TKN: Final = 0x02


class RodType(enum.IntEnum):
    """ROD types (SPC-4 table 110)."""

    ACCESS_UPON_REFERENCE = 0x00010000
    POINT_IN_TIME_DEFAULT = 0x00800000
    POINT_IN_TIME_CHANGE_VULNERABLE = 0x00800001
    POINT_IN_TIME_PERSISTENT = 0x00800002
    POINT_IN_TIME_ANY = 0x0080FFFF
    BLOCK_ZERO = 0xFFFF0001


# The type of our tokens: they become invalid when their data changes.
TOKEN_TYPE: Final = RodType.POINT_IN_TIME_CHANGE_VULNERABLE
_POPULATED_TYPES: Final = frozenset((TOKEN_TYPE, RodType.POINT_IN_TIME_ANY))


@dataclass(frozen=True, slots=True)
class Populate:
    """The parameters of POPULATE TOKEN; `timeout` in seconds."""

    extents: tuple[LbaRange, ...]
    timeout: int
    immediate: bool


@dataclass(frozen=True, slots=True)
class WriteUsing:
    """The parameters of WRITE USING TOKEN; `offset` into the token's data in blocks."""

    token: bytes
    extents: tuple[LbaRange, ...]
    offset: int
    immediate: bool
    delete: bool


def list_identifier(cdb: bytes) -> int:
    """Return the list identifier of POPULATE TOKEN and WRITE USING TOKEN."""
    return _number(cdb, 6, 4)


def decode_populate(cdb: bytes, data: bytes, limits: TokenLimits) -> Populate | None:
    """Decode a POPULATE TOKEN list; None if there is none; raises CheckCondition."""
    if not _number(cdb, 10, 4):
        return None
    if len(data) < _POPULATE_HEADER:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if _number(data, 0, 2) < 0x001E:
        raise invalid_field_in_parameter_list(0)
    timeout = _number(data, 4, 4)
    if timeout > limits.max_timeout:
        raise invalid_field_in_parameter_list(4)
    if data[2] & _RTV and _number(data, 8, 4) not in _POPULATED_TYPES:
        raise invalid_field_in_parameter_list(8)
    extents = _extents(data, _POPULATE_HEADER, limits)
    return Populate(extents, timeout or limits.default_timeout, bool(data[2] & _IMMEDIATE))


def decode_write(cdb: bytes, data: bytes, limits: TokenLimits) -> WriteUsing | None:
    """Decode a WRITE USING TOKEN list; None if there is none; raises CheckCondition.

    The caller checks whether the token is known, and how much data it represents.
    """
    if not _number(cdb, 10, 4):
        return None
    if len(data) < _WRITE_HEADER:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    length = _number(data, 0, 2)
    if length < 0x0226 or length != _number(data, _WRITE_HEADER - 2, 2) + 534:
        raise invalid_field_in_parameter_list(0)
    token = bytes(data[_WRITE_TOKEN : _WRITE_TOKEN + TOKEN_LENGTH])
    if _number(token, 6, 2) != _TOKEN_FIELD:
        raise CheckCondition(INVALID_TOKEN_LENGTH)
    if token_type(token) not in (TOKEN_TYPE, RodType.BLOCK_ZERO):
        raise CheckCondition(TOKEN_UNSUPPORTED)
    return WriteUsing(
        token=token,
        extents=_extents(data, _WRITE_HEADER, limits),
        offset=_number(data, 8, 8),
        immediate=bool(data[2] & _IMMEDIATE),
        delete=bool(data[2] & _DEL_TKN),
    )


def _extents(data: bytes, start: int, limits: TokenLimits) -> tuple[LbaRange, ...]:
    """Return the complete block device range descriptors (SBC-4 5.12.3) from `start` on."""
    length = _number(data, start - 2, 2)
    if length < _DESCRIPTOR_LENGTH:
        raise invalid_field_in_parameter_list(start - 2)
    count = min(length, len(data) - start) // _DESCRIPTOR_LENGTH
    if count > limits.max_ranges:
        raise CheckCondition(TOO_MANY_SEGMENT_DESCRIPTORS)
    offsets = range(start, start + count * _DESCRIPTOR_LENGTH, _DESCRIPTOR_LENGTH)
    extents = tuple(LbaRange(_number(data, at, 8), _number(data, at + 8, 4)) for at in offsets)
    if sum(extent.blocks for extent in extents) > limits.max_transfer_blocks:
        raise invalid_field_in_parameter_list(start + 8)
    _check_overlap(extents, start)
    return extents


def _check_overlap(extents: Sequence[LbaRange], start: int) -> None:
    end = 0
    for extent in sorted((e for e in extents if e.blocks), key=lambda e: e.lba):
        if extent.lba < end:
            raise invalid_field_in_parameter_list(start)
        end = extent.lba + extent.blocks


def token_type(token: bytes) -> int:
    """Return the ROD type of a token."""
    return _number(token, 0, 4)


def token_identifier(token: bytes) -> int:
    """Return the number the copy manager gave a token."""
    return _number(token, 8, 8)


def make_token(
    identifier: int, data_bytes: int, unit: LogicalUnit, designator: bytes, random: bytes
) -> bytes:
    """Return a ROD token (SPC-4 5.17.6.5).

    `identifier` must be new; `designator` is a designation descriptor of the logical unit, EUI-64
    or NAA; `random` is `RANDOM_LENGTH` bytes that cannot be guessed.
    """
    out = bytearray(TOKEN_LENGTH)
    out[0:4] = TOKEN_TYPE.to_bytes(4, "big")
    out[6:8] = _TOKEN_FIELD.to_bytes(2, "big")
    out[8:16] = identifier.to_bytes(8, "big")
    out[16:48] = identification_descriptor(designator, unit.block_size, unit.device_type)
    out[48:64] = data_bytes.to_bytes(16, "big")
    # Device type specific data: READ CAPACITY (16) without the LBA.
    out[96:120] = read_capacity_16(bytes((0x9E, 0x10)) + bytes(14), unit)[8:32]
    # The target device is described by the same designator, associated with the target device.
    target = bytearray(designator.ljust(32, b"\0")[:32])
    target[1] = (target[1] & 0x0F) | 0x20
    out[128:160] = target
    out[160:512] = random.ljust(RANDOM_LENGTH, b"\0")[:RANDOM_LENGTH]
    return bytes(out)


def identification_descriptor(designator: bytes, block_size: int, device_type: int) -> bytes:
    """Return an identification descriptor CSCD descriptor (SPC-4 6.4.5.6), 32 bytes."""
    out = bytearray(32)
    out[0] = 0xE4
    out[1] = device_type
    out[4:28] = designator[:24].ljust(24, b"\0")
    out[29:32] = block_size.to_bytes(3, "big")
    return bytes(out)


class OperationStatus(enum.IntEnum):
    """COPY OPERATION STATUS (SPC-4 table 249)."""

    COMPLETED = 0x01
    FAILED = 0x02
    PARTIAL = 0x03
    RESIDUAL = 0x04
    IN_FOREGROUND = 0x11
    IN_BACKGROUND = 0x12
    TERMINATED = 0x60

    @property
    def running(self) -> bool:
        """Whether the copy is still in progress."""
        return self in (OperationStatus.IN_FOREGROUND, OperationStatus.IN_BACKGROUND)


class TransferUnits(enum.IntEnum):
    """Units of the TRANSFER COUNT (SPC-4 table 251)."""

    BYTES = 0x00
    BLOCKS = 0xF1


@dataclass(frozen=True, slots=True)
class CopyOperation:
    """A copy as RECEIVE COPY STATUS (LID4) and RECEIVE ROD TOKEN INFORMATION report it.

    `service_action` is that of the command which began it. `count` is the number of units
    transferred.
    """

    service_action: int
    status: OperationStatus
    completion: int = 0
    counter: int = 0
    units: TransferUnits = TransferUnits.BLOCKS
    count: int = 0
    segments: int = 0
    sense: Sense | None = None


_NOTHING_MORE: Final = 0xFFFFFFFE
_POLL_MILLISECONDS: Final = 1000


def copy_status_lid4(copy: CopyOperation) -> bytes:
    """Return the data of RECEIVE COPY STATUS (LID4) (SPC-4 6.24), to be cut."""
    return _with_length(_status(copy))


def rod_token_information(copy: CopyOperation, tokens: Sequence[bytes] = ()) -> bytes:
    """Return the data of RECEIVE ROD TOKEN INFORMATION (SPC-4 6.26), to be cut.

    `tokens` are those that the copy created; they are left out unless it succeeded.
    """
    body = b""
    if copy.status in (OperationStatus.COMPLETED, OperationStatus.PARTIAL):
        body = b"".join(bytes(2) + token for token in tokens)
    return _with_length(_status(copy) + len(body).to_bytes(4, "big") + body)


def unknown_list_identifier() -> CheckCondition:
    """Return the error for a list identifier that no copy has."""
    return invalid_field_in_cdb(2)


def _status(copy: CopyOperation) -> bytes:
    """Return bytes 4 and following, up to the sense data."""
    sense = copy.sense.encode(descriptor=False) if copy.sense is not None else b""
    padded = sense.ljust(-(-len(sense) // 4) * 4, b"\0")
    delay = _POLL_MILLISECONDS if copy.status.running else _NOTHING_MORE
    out = bytes((copy.service_action & 0x1F, copy.status))
    out += (copy.counter & 0xFFFF).to_bytes(2, "big") + delay.to_bytes(4, "big")
    out += bytes((copy.completion, len(padded), len(sense), copy.units))
    out += copy.count.to_bytes(8, "big") + (copy.segments & 0xFFFF).to_bytes(2, "big")
    return out + bytes(6) + padded


def _with_length(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def _number(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "big")
