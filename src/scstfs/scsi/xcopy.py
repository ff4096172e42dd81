"""EXTENDED COPY (LID1 and LID4) and RECEIVE COPY RESULTS (SPC-3 6.3, SPC-4 6.4, 6.5, 6.20 to 6.25).

One kind of copy is supported: blocks from one logical unit to another (segment descriptor 02h), the
logical units being named by identification descriptors (E4h).  Faults are answered as by SCST.
After its own header, a list of the LID4 form follows the same rules.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import (
    COPY_DEVICE_NOT_REACHABLE,
    COPY_SEGMENT_ERROR,
    INLINE_DATA_LENGTH_EXCEEDED,
    PARAMETER_LIST_LENGTH_ERROR,
    TOO_MANY_SEGMENT_DESCRIPTORS,
    TOO_MANY_TARGET_DESCRIPTORS,
    UNSUPPORTED_SEGMENT_DESCRIPTOR,
    UNSUPPORTED_TARGET_DESCRIPTOR,
    CheckCondition,
    copy_aborted,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)

MAX_TARGETS: Final = 5
MAX_SEGMENTS: Final = 143
MAX_LIST_LENGTH: Final = 0xFFFF
MAX_SEGMENT_BYTES: Final = 256 * 1024 * 1024
DATA_GRANULARITY: Final = 16
CONCURRENT_COPIES: Final = 0xFF
IDENTIFICATION: Final = 0xE4
BLOCK_TO_BLOCK: Final = 0x02

_LID1_HEADER: Final = 16
_LID4_HEADER: Final = 48
_LID4_FORMAT: Final = 0x01
_LID4_PSEUDO_LENGTH: Final = 32
_LID4_PSEUDO_TYPE: Final = 0xFF
_TARGET_LENGTH: Final = 32
_SEGMENT_LENGTH: Final = 28
_SEGMENT_BODY: Final = 0x18
_MAX_DESIGNATOR: Final = 20
_NULL: Final = 0x20
_PERIPHERAL_TYPE: Final = 0x0F
_DC: Final = 0x02


class ListIdUsage(enum.IntEnum):
    """The use of the list identifier."""

    HOLD = 0
    RESERVED = 1
    DISCARD = 2
    NONE = 3

    @property
    def identifies(self) -> bool:
        """Whether the list identifier names the copy, and so must not be in use."""
        return self in (ListIdUsage.HOLD, ListIdUsage.DISCARD)


@dataclass(frozen=True, slots=True)
class CopyHeader:
    """The head of a parameter list; `first_target` is the index of the first target."""

    list_id: int
    usage: ListIdUsage
    immediate: bool
    start: int
    targets_length: int
    segments_length: int
    inline_length: int
    length: int
    first_target: int


class CopyDevice(Protocol):
    """A logical unit as the decoder needs it."""

    @property
    def block_size(self) -> int:
        """Size of a block in bytes, a power of two."""

    @property
    def read_only(self) -> bool:
        """Whether it refuses writes."""


D = TypeVar("D", bound=CopyDevice)


class Segment(NamedTuple, Generic[D]):
    """Blocks to be copied: `length` in bytes, addresses in blocks of the respective device.

    `target_offset` is where in the parameter list the destination is described.
    """

    source: D
    destination: D
    length: int
    source_lba: int
    destination_lba: int
    target_offset: int


class Lookup(NamedTuple, Generic[D]):
    """How the decoder finds devices.

    `find` gets a designation descriptor (code set, type, reserved, length, designator) and returns
    the device of that name; `accessible` tells whether the initiator may use it for copying.
    """

    find: Callable[[bytes], D | None]
    accessible: Callable[[D], bool]


def decode_header(cdb: bytes, data: bytes) -> CopyHeader | None:
    """Decode the head of an EXTENDED COPY (LID1) list; raises CheckCondition.

    None for an empty list, which is answered with GOOD.  If the list identifier identifies the
    copy, the caller checks that it is not in use before it calls `decode_segments`.
    """
    if not int.from_bytes(cdb[10:14], "big"):
        return None
    if len(data) < _LID1_HEADER:
        raise invalid_field_in_cdb(10)
    return CopyHeader(
        list_id=data[0],
        usage=_usage(data[1], data[0]),
        immediate=False,
        start=_LID1_HEADER,
        targets_length=_number(data, 2, 2),
        segments_length=_number(data, 8, 4),
        inline_length=_number(data, 12, 4),
        length=len(data),
        first_target=0,
    )


def decode_header_lid4(cdb: bytes, data: bytes) -> CopyHeader | None:
    """Decode the head of an EXTENDED COPY (LID4) list (SPC-4 6.4.2); raises CheckCondition."""
    if not int.from_bytes(cdb[10:14], "big"):
        return None
    if len(data) < _LID4_HEADER:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if data[0] != _LID4_FORMAT:
        raise invalid_field_in_parameter_list(0)
    if _number(data, 2, 2) != _LID4_PSEUDO_LENGTH:
        raise invalid_field_in_parameter_list(2)
    if data[16] != _LID4_PSEUDO_TYPE:
        raise invalid_field_in_parameter_list(16)
    list_id = _number(data, 20, 4)
    return CopyHeader(
        list_id=list_id,
        usage=_usage(data[1], list_id),
        immediate=bool(data[15] & 0x01),
        start=_LID4_HEADER,
        targets_length=_number(data, 42, 2),
        segments_length=_number(data, 44, 2),
        inline_length=_number(data, 46, 2),
        length=len(data),
        first_target=1,
    )


def _usage(byte: int, list_id: int) -> ListIdUsage:
    usage = ListIdUsage(byte >> 3 & 3)
    if usage is ListIdUsage.NONE and list_id:
        raise invalid_field_in_parameter_list(0)
    if usage is ListIdUsage.RESERVED:
        raise invalid_field_in_parameter_list(1, 3)
    return usage


def decode_segments(header: CopyHeader, data: bytes, lookup: Lookup[D]) -> list[Segment[D]]:
    """Decode everything after the header; raises CheckCondition.

    An error with sense key COPY ABORTED concerns a segment; it is kept for the details of the
    failed segment if the list identifier identifies the copy.
    """
    if header.inline_length:
        raise CheckCondition(INLINE_DATA_LENGTH_EXCEEDED)
    if not header.targets_length:
        if header.segments_length:
            raise invalid_field_in_parameter_list(2)
        return []
    end = header.start + header.targets_length + header.segments_length
    if end > header.length:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if end != header.length:
        raise CheckCondition(INLINE_DATA_LENGTH_EXCEEDED)
    if header.targets_length + header.segments_length > MAX_LIST_LENGTH:
        # SCST does not check the limit that it reports.
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if header.targets_length % _TARGET_LENGTH:
        raise invalid_field_in_parameter_list(2)
    if header.targets_length // _TARGET_LENGTH > MAX_TARGETS:
        raise CheckCondition(TOO_MANY_TARGET_DESCRIPTORS)
    segments_start = header.start + header.targets_length
    targets = [
        (offset, _target(data, offset, lookup))
        for offset in range(header.start, segments_start, _TARGET_LENGTH)
    ]
    for number, offset in enumerate(range(segments_start, end, _SEGMENT_LENGTH)):
        if number == MAX_SEGMENTS:
            raise CheckCondition(TOO_MANY_SEGMENT_DESCRIPTORS)
        if data[offset] != BLOCK_TO_BLOCK:
            raise CheckCondition(UNSUPPORTED_SEGMENT_DESCRIPTOR)
    return [
        _segment(data[offset : offset + _SEGMENT_LENGTH], number, targets, header.first_target)
        for number, offset in enumerate(range(segments_start, end, _SEGMENT_LENGTH))
    ]


def _target(data: bytes, offset: int, lookup: Lookup[D]) -> D | None:
    """Return the device a target descriptor names, None for a null device."""
    descriptor = data[offset : offset + _TARGET_LENGTH]
    if descriptor[0] != IDENTIFICATION:
        raise CheckCondition(UNSUPPORTED_TARGET_DESCRIPTOR)
    # LU ID TYPE should be ignored (SPC-4 6.4.5.6); SCST refuses values other than 0.
    if descriptor[1] & _NULL:
        return None
    if descriptor[1] & _PERIPHERAL_TYPE != DeviceType.DISK:
        raise invalid_field_in_parameter_list(offset + 1, 0)
    length = descriptor[7]
    device = lookup.find(descriptor[4 : 8 + length]) if length <= _MAX_DESIGNATOR else None
    if device is None:
        raise invalid_field_in_parameter_list(offset)
    if _number(descriptor, 29, 3) != device.block_size:
        raise invalid_field_in_parameter_list(offset + 29)
    if not lookup.accessible(device):
        raise invalid_field_in_parameter_list(offset)
    return device


def _segment(
    data: bytes, number: int, targets: list[tuple[int, D | None]], first_target: int
) -> Segment[D]:
    data = data.ljust(_SEGMENT_LENGTH, b"\0")
    if _number(data, 2, 2) != _SEGMENT_BODY:
        raise copy_aborted(COPY_SEGMENT_ERROR, number, 2)
    _, source = _referred(data, 4, number, targets, first_target)
    target_offset, destination = _referred(data, 6, number, targets, first_target)
    if destination.read_only:
        raise copy_aborted(COPY_SEGMENT_ERROR, number, 6)
    unit = destination.block_size if data[1] & _DC else source.block_size
    length = _number(data, 10, 2) * unit
    if length % source.block_size or length % destination.block_size:
        raise copy_aborted(COPY_SEGMENT_ERROR, number, 10)
    return Segment(
        source, destination, length, _number(data, 12, 8), _number(data, 20, 8), target_offset
    )


def _referred(
    data: bytes, field: int, number: int, targets: list[tuple[int, D | None]], first_target: int
) -> tuple[int, D]:
    """Return the target a segment refers to by the index at `field`."""
    index = _number(data, field, 2) - first_target
    if not 0 <= index < len(targets):
        raise copy_aborted(COPY_SEGMENT_ERROR, number, field)
    offset, device = targets[index]
    if device is None:
        raise copy_aborted(COPY_DEVICE_NOT_REACHABLE, number, field)
    return offset, device


def _number(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "big")


class ReceiveAction(enum.IntEnum):
    """Service actions of RECEIVE COPY RESULTS with one-byte list identifiers."""

    COPY_STATUS = 0
    OPERATING_PARAMETERS = 3
    FAILED_SEGMENT_DETAILS = 4


_RECEIVE_ACTIONS: Final = frozenset(ReceiveAction)


def check_receive_action(cdb: bytes) -> ReceiveAction:
    """Return the service action of RECEIVE COPY RESULTS; raises CheckCondition."""
    action = cdb[1] & 0x1F
    if action not in _RECEIVE_ACTIONS:
        raise invalid_field_in_cdb(1, 0)
    return ReceiveAction(action)


def unknown_list_id() -> CheckCondition:
    """Return the answer for a list identifier no copy has."""
    return invalid_field_in_cdb(2)


class CopyStatus(enum.IntEnum):
    """Status of a copy."""

    IN_PROGRESS = 0
    COMPLETED = 1
    FAILED = 2


_KIBIBYTES: Final = 1
_DETAILS_LENGTH: Final = 60


def operating_parameters() -> bytes:
    """Return the data of RECEIVE COPY OPERATING PARAMETERS, to be cut."""
    codes = bytes((BLOCK_TO_BLOCK, IDENTIFICATION))
    out = bytearray(44) + codes
    out[0:4] = (len(out) - 4).to_bytes(4, "big")
    out[4] = 0x01  # SNLID
    out[8:10] = MAX_TARGETS.to_bytes(2, "big")
    out[10:12] = MAX_SEGMENTS.to_bytes(2, "big")
    out[12:16] = MAX_LIST_LENGTH.to_bytes(4, "big")
    out[16:20] = MAX_SEGMENT_BYTES.to_bytes(4, "big")
    out[34:36] = b"\xff\xff"  # total concurrent copies
    out[36] = CONCURRENT_COPIES
    out[37] = DATA_GRANULARITY
    out[43] = len(codes)
    return bytes(out)


def copy_status(status: CopyStatus, segments_processed: int, bytes_written: int) -> bytes:
    """Return the data of RECEIVE COPY STATUS (LID1), to be cut."""
    head = (8).to_bytes(4, "big") + bytes((status,))
    head += (segments_processed & 0xFFFF).to_bytes(2, "big") + bytes((_KIBIBYTES,))
    return head + (bytes_written >> 10 & 0xFFFFFFFF).to_bytes(4, "big")


def failed_segment_details(status: int, sense: bytes) -> bytes:
    """Return the data of RECEIVE COPY FAILURE DETAILS, to be cut.

    `status` is the SCSI status of the copy, 0 if it did not fail; then there is no sense data.
    The length is one too large, as in SCST.
    """
    if not status:
        sense = b""
    out = bytearray(_DETAILS_LENGTH) + sense
    out[0:4] = (len(out) - 3).to_bytes(4, "big")
    out[56] = status
    out[58:60] = len(sense).to_bytes(2, "big")
    return bytes(out)
