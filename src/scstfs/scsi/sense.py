"""Sense data of CHECK CONDITION (SPC-4 4.5), in fixed and in descriptor format.

One named constant per (sense key, ASC, ASCQ) triple in use.  Encoded sense is byte for byte what
SCST sends: 18 bytes in fixed format; in descriptor format 8 bytes and the descriptors.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from scstfs.scsi.status import Status

FIXED_LENGTH: Final = 18
_FIXED_CODES: Final = (0x70, 0x71)
_DESCRIPTOR_CODES: Final = (0x72, 0x73)
_VALID: Final = 0x80
_SKSV: Final = 0x80
_CD: Final = 0x40
_SD: Final = 0x20
_BPV: Final = 0x08


class SenseKey(enum.IntEnum):
    """Sense keys (SPC-4 4.5.6)."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    VENDOR_SPECIFIC = 0x9
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    RESERVED = 0xC
    VOLUME_OVERFLOW = 0xD
    MISCOMPARE = 0xE
    COMPLETED = 0xF


class Origin(enum.Enum):
    """Where a field pointer counts its bytes from."""

    CDB = _CD
    PARAMETERS = 0
    SEGMENT = _SD


@dataclass(frozen=True, slots=True)
class FieldPointer:
    """Which field is in error (SPC-4 4.5.2.4.2 and .5): a byte, and its most significant bit."""

    byte: int
    bit: int | None = None
    origin: Origin = Origin.CDB

    def encode(self) -> bytes:
        """Return the three sense-key specific bytes."""
        flags = _SKSV | self.origin.value
        if self.bit is not None:
            flags |= _BPV | (self.bit & 7)
        return bytes((flags, (self.byte >> 8) & 0xFF, self.byte & 0xFF))


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of an operation in 65536ths (SPC-4 4.5.2.4.4)."""

    done: int

    def encode(self) -> bytes:
        """Return the three sense-key specific bytes."""
        return bytes((_SKSV, (self.done >> 8) & 0xFF, self.done & 0xFF))


class CopySide(enum.Enum):
    """The logical unit of a copy that failed; the value is its byte in fixed sense data."""

    SOURCE = 8
    DESTINATION = 9


@dataclass(frozen=True, slots=True)
class ThirdParty:
    """The answer of a logical unit to the copy manager: part of COPY ABORTED (SPC-4 5.17.7.4)."""

    side: CopySide
    status: Status
    sense: bytes = b""


@dataclass(frozen=True, slots=True)
class Sense:
    """A sense key with its additional sense code, and the details that go with it.

    `information` is the INFORMATION field (an offset in bytes, or an LBA); `specific` the sense-key
    specific field; `segment` the segment descriptor at which a copy was aborted, and `third_party`
    the logical unit that failed (descriptor format leaves it out, as in SCST).
    """

    key: SenseKey
    asc: int
    ascq: int = 0
    information: int | None = None
    specific: FieldPointer | Progress | None = None
    segment: int | None = None
    third_party: ThirdParty | None = None

    @property
    def triple(self) -> tuple[int, int, int]:
        """Key, ASC and ASCQ."""
        return self.key, self.asc, self.ascq

    @property
    def always_fixed(self) -> bool:
        """Whether this is a unit attention that has response code 70h even if D_SENSE is set.

        So are those for resets and for changed mode parameters (SPC-4 4.5.1).
        """
        return self.key is SenseKey.UNIT_ATTENTION and (
            self.asc == 0x29 or (self.asc, self.ascq) == (0x2A, 0x01)
        )

    def encode(self, descriptor: bool = False) -> bytes:
        """Return the sense data, in descriptor format if `descriptor` (D_SENSE) asks for it."""
        return self.encode_as(descriptor=descriptor and not self.always_fixed)

    def encode_as(self, *, descriptor: bool) -> bytes:
        """Return the sense data in descriptor format or else fixed format, for all conditions."""
        return self._encode_descriptor() if descriptor else self._encode_fixed()

    def _encode_fixed(self) -> bytes:
        out = bytearray(FIXED_LENGTH)
        out[0] = 0x70
        out[2] = self.key
        out[7] = FIXED_LENGTH - 8
        out[12] = self.asc
        out[13] = self.ascq
        if self.information is not None:
            out[0] |= _VALID
            out[3:7] = (self.information & 0xFFFFFFFF).to_bytes(4, "big")
        if self.segment is not None:
            out[10:12] = (self.segment & 0xFFFF).to_bytes(2, "big")
        if self.specific is not None:
            out[15:18] = self.specific.encode()
        if self.third_party is not None:
            self._add_third_party(out, self.third_party)
        return bytes(out)

    @staticmethod
    def _add_third_party(out: bytearray, third_party: ThirdParty) -> None:
        """Append status and sense data; as in SCST the pointer is to the sense data."""
        out[third_party.side.value] = FIXED_LENGTH
        if third_party.sense:
            out[17] = third_party.status
            out += third_party.sense
            out[7] = FIXED_LENGTH - 8 + 1 + len(third_party.sense)
            out += bytes(1)

    def _encode_descriptor(self) -> bytes:
        out = bytearray((0x72, self.key, self.asc, self.ascq, 0, 0, 0, 0))
        if self.information is not None:
            value = self.information & 0xFFFFFFFFFFFFFFFF
            out += bytes((0x00, 0x0A, _VALID, 0)) + value.to_bytes(8, "big")
        if self.segment is not None:
            # Command specific information: the segment number is in its third and fourth byte.
            number = (self.segment & 0xFFFF).to_bytes(2, "big")
            out += bytes((0x01, 0x0A, 0, 0, 0, 0)) + number + bytes(4)
        if self.specific is not None:
            out += bytes((0x02, 0x06, 0, 0)) + self.specific.encode() + bytes(1)
        out[7] = len(out) - 8
        return bytes(out)

    def with_information(self, information: int) -> Sense:
        """Return the same sense with the INFORMATION field valid."""
        return replace(self, information=information)


@dataclass(frozen=True, slots=True)
class Received(Sense):
    """A device's sense data, byte for byte; it keeps its format if possible."""

    data: bytes = b""

    def encode(self, descriptor: bool = False) -> bytes:
        """Return the bytes that came."""
        return self.data

    def encode_as(self, *, descriptor: bool) -> bytes:
        """Return the original bytes if they are in this format, otherwise re-encode them."""
        if (self.data[0] & 0x7F in _DESCRIPTOR_CODES) == descriptor:
            return self.data
        return Sense.encode_as(self, descriptor=descriptor)


class CheckCondition(Exception):  # noqa: N818 - an outcome the standard names so
    """The command ends with CHECK CONDITION and this sense data."""

    status: Final = Status.CHECK_CONDITION

    def __init__(self, sense: Sense) -> None:
        """End the command with `sense`."""
        super().__init__(f"{sense.key.name} {sense.asc:02x}/{sense.ascq:02x}")
        self.sense = sense


# One constant per triple (http://www.t10.org/lists/asc-num.htm gives the texts).
NO_SENSE: Final = Sense(SenseKey.NO_SENSE, 0x00)

FORMAT_IN_PROGRESS: Final = Sense(SenseKey.NOT_READY, 0x04, 0x04)
ALUA_TRANSITION: Final = Sense(SenseKey.NOT_READY, 0x04, 0x0A)
ALUA_STANDBY: Final = Sense(SenseKey.NOT_READY, 0x04, 0x0B)
ALUA_UNAVAILABLE: Final = Sense(SenseKey.NOT_READY, 0x04, 0x0C)
SANITIZE_IN_PROGRESS: Final = Sense(SenseKey.NOT_READY, 0x04, 0x1B)
MEDIUM_NOT_PRESENT: Final = Sense(SenseKey.NOT_READY, 0x3A)

WRITE_ERROR: Final = Sense(SenseKey.MEDIUM_ERROR, 0x03)
UNRECOVERED_READ_ERROR: Final = Sense(SenseKey.MEDIUM_ERROR, 0x11)
SANITIZE_FAILED: Final = Sense(SenseKey.MEDIUM_ERROR, 0x31, 0x03)

INTERNAL_TARGET_FAILURE: Final = Sense(SenseKey.HARDWARE_ERROR, 0x44)
SET_TARGET_PORT_GROUPS_FAILED: Final = Sense(SenseKey.HARDWARE_ERROR, 0x67, 0x0A)

OPERATION_IN_PROGRESS: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x00, 0x16)
PARAMETER_LIST_LENGTH_ERROR: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x1A)
INVALID_OPCODE: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x20)
LBA_OUT_OF_RANGE: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x21)
INVALID_TOKEN: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23)
TOKEN_UNSUPPORTED: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x01)
TOKEN_REMOTE: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x02)
TOKEN_UNKNOWN: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x04)
TOKEN_CORRUPT: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x05)
TOKEN_REVOKED: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x06)
TOKEN_EXPIRED: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x07)
INVALID_TOKEN_LENGTH: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x23, 0x0A)
INVALID_FIELD_IN_CDB: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x24)
LUN_NOT_SUPPORTED: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x25)
INVALID_FIELD_IN_PARAMETER_LIST: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26)
INVALID_RELEASE: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x04)
TOO_MANY_TARGET_DESCRIPTORS: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x06)
UNSUPPORTED_TARGET_DESCRIPTOR: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x07)
TOO_MANY_SEGMENT_DESCRIPTORS: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x08)
UNSUPPORTED_SEGMENT_DESCRIPTOR: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x09)
INLINE_DATA_LENGTH_EXCEEDED: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x26, 0x0B)
SAVING_NOT_SUPPORTED: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x39)
INVALID_MESSAGE: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x49)
INSUFFICIENT_REGISTRATION_RESOURCES: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x55, 0x04)
INVALID_FIELD_IN_INFORMATION_UNIT: Final = Sense(SenseKey.ILLEGAL_REQUEST, 0x0E, 0x03)

MEDIUM_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x28)
RESET: Final = Sense(SenseKey.UNIT_ATTENTION, 0x29)
NEXUS_LOSS: Final = Sense(SenseKey.UNIT_ATTENTION, 0x29, 0x07)
CLEARED_BY_TRANSPORT: Final = Sense(SenseKey.UNIT_ATTENTION, 0x47, 0x7F)
MODE_PARAMETERS_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x01)
LOG_PARAMETERS_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x02)
RESERVATIONS_PREEMPTED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x03)
RESERVATIONS_RELEASED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x04)
REGISTRATIONS_PREEMPTED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x05)
ALUA_STATE_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x06)
CAPACITY_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2A, 0x09)
CLEARED_BY_ANOTHER_INITIATOR: Final = Sense(SenseKey.UNIT_ATTENTION, 0x2F)
THIN_SOFT_THRESHOLD_REACHED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x38, 0x07)
INQUIRY_DATA_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x3F, 0x03)
REPORTED_LUNS_CHANGED: Final = Sense(SenseKey.UNIT_ATTENTION, 0x3F, 0x0E)

WRITE_PROTECTED: Final = Sense(SenseKey.DATA_PROTECT, 0x00)
# SCST answers 00h here, too; initiators that set SWP expect SPC's code.
SOFTWARE_WRITE_PROTECTED: Final = Sense(SenseKey.DATA_PROTECT, 0x27)
SPACE_ALLOCATION_FAILED: Final = Sense(SenseKey.DATA_PROTECT, 0x27, 0x07)

COPY_SEGMENT_ERROR: Final = Sense(SenseKey.COPY_ABORTED, 0x00)
THIRD_PARTY_DEVICE_FAILURE: Final = Sense(SenseKey.COPY_ABORTED, 0x0D, 0x01)
COPY_DEVICE_NOT_REACHABLE: Final = Sense(SenseKey.COPY_ABORTED, 0x0D, 0x02)

ABORTED: Final = Sense(SenseKey.ABORTED_COMMAND, 0x00)
COMMAND_TIMEOUT: Final = Sense(SenseKey.ABORTED_COMMAND, 0x2E, 0x02)
UNEXPECTED_UNSOLICITED_DATA: Final = Sense(SenseKey.ABORTED_COMMAND, 0x0C, 0x0C)
INCORRECT_AMOUNT_OF_DATA: Final = Sense(SenseKey.ABORTED_COMMAND, 0x0C, 0x0D)
INTERNAL_FAILURE: Final = Sense(SenseKey.ABORTED_COMMAND, 0x44)
PROTOCOL_CRC_ERROR: Final = Sense(SenseKey.ABORTED_COMMAND, 0x47, 0x05)

MISCOMPARE: Final = Sense(SenseKey.MISCOMPARE, 0x1D)


def invalid_field_in_cdb(byte: int, bit: int | None = None) -> CheckCondition:
    """Return INVALID FIELD IN CDB pointing at `byte`, and at `bit` in it if given."""
    return CheckCondition(replace(INVALID_FIELD_IN_CDB, specific=FieldPointer(byte, bit)))


def invalid_field_in_parameter_list(byte: int, bit: int | None = None) -> CheckCondition:
    """Return INVALID FIELD IN PARAMETER LIST pointing at `byte` of the list."""
    pointer = FieldPointer(byte, bit, Origin.PARAMETERS)
    return CheckCondition(replace(INVALID_FIELD_IN_PARAMETER_LIST, specific=pointer))


def copy_aborted(sense: Sense, segment: int, byte: int) -> CheckCondition:
    """Return COPY ABORTED at `byte` of segment descriptor number `segment` (SPC-4 5.17.7.4)."""
    pointer = FieldPointer(byte, None, Origin.SEGMENT)
    return CheckCondition(replace(sense, specific=pointer, segment=segment))


def decode(data: bytes) -> Sense | None:
    """Return the sense in `data` (either format), or None if it is not sense data.

    Fields beyond the end of the data count as zero.
    """
    if not data:
        return None
    code = data[0] & 0x7F
    if code in _FIXED_CODES:
        return _decode_fixed(data.ljust(FIXED_LENGTH, b"\0"))
    if code in _DESCRIPTOR_CODES:
        return _decode_descriptor(data.ljust(8, b"\0"))
    return None


def received(data: bytes) -> Received | None:
    """Return a device's sense data, or None if `data` is not sense data."""
    found = decode(data)
    if found is None:
        return None
    return Received(found.key, found.asc, found.ascq, data=data)


def _decode_fixed(data: bytes) -> Sense:
    key = SenseKey(data[2] & 0x0F)
    return Sense(
        key,
        data[12],
        data[13],
        int.from_bytes(data[3:7], "big") if data[0] & _VALID else None,
        _decode_specific(key, data[15:18]),
        int.from_bytes(data[10:12], "big") if key is SenseKey.COPY_ABORTED else None,
    )


def _decode_descriptor(data: bytes) -> Sense:
    key = SenseKey(data[1] & 0x0F)
    information, specific, segment = None, None, None
    rest = data[8 : 8 + data[7]]
    while len(rest) >= 2:
        kind, body = rest[0], rest[2 : 2 + rest[1]]
        if kind == 0x00 and len(body) == 10 and body[0] & _VALID:
            information = int.from_bytes(body[2:], "big")
        elif kind == 0x01 and len(body) == 10 and key is SenseKey.COPY_ABORTED:
            segment = int.from_bytes(body[4:6], "big")
        elif kind == 0x02 and len(body) == 6:
            specific = _decode_specific(key, body[2:5])
        rest = rest[2 + rest[1] :]
    return Sense(key, data[2], data[3], information, specific, segment)


def _decode_specific(key: SenseKey, data: bytes) -> FieldPointer | Progress | None:
    if not data[0] & _SKSV:
        return None
    value = int.from_bytes(data[1:3], "big")
    bit = data[0] & 7 if data[0] & _BPV else None
    if key is SenseKey.ILLEGAL_REQUEST:
        return FieldPointer(value, bit, Origin.CDB if data[0] & _CD else Origin.PARAMETERS)
    if key is SenseKey.COPY_ABORTED:
        return FieldPointer(value, bit, Origin.SEGMENT if data[0] & _SD else Origin.PARAMETERS)
    if key in (SenseKey.NO_SENSE, SenseKey.NOT_READY):
        return Progress(value)
    return None
