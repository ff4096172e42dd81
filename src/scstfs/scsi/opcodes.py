"""A row of the table of commands: `CommandRow` and the types of its columns.

The rows are in `commands` and `foreign_commands`; `cdb` looks them up and decodes with them.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.sense import CheckCondition, invalid_field_in_cdb


class DeviceType(enum.IntEnum):
    """Peripheral device types (SPC-4 6.6.2)."""

    DISK = 0x00
    TAPE = 0x01
    PRINTER = 0x02
    PROCESSOR = 0x03
    WRITE_ONCE = 0x04
    CD_ROM = 0x05
    SCANNER = 0x06
    OPTICAL = 0x07
    CHANGER = 0x08
    COMMUNICATIONS = 0x09
    RAID = 0x0C
    ENCLOSURE = 0x0D
    SIMPLIFIED_DISK = 0x0E
    OPTICAL_CARD = 0x0F


_TYPES: Final = 0x20
# The letters of T10's list of operation codes (S and C: scanner and communications, obsolete).
_TYPE_LETTERS: Final = {
    "D": DeviceType.DISK,
    "T": DeviceType.TAPE,
    "L": DeviceType.PRINTER,
    "P": DeviceType.PROCESSOR,
    "W": DeviceType.WRITE_ONCE,
    "R": DeviceType.CD_ROM,
    "S": DeviceType.SCANNER,
    "O": DeviceType.OPTICAL,
    "M": DeviceType.CHANGER,
    "C": DeviceType.COMMUNICATIONS,
    "A": DeviceType.RAID,
    "E": DeviceType.ENCLOSURE,
    "B": DeviceType.SIMPLIFIED_DISK,
    "K": DeviceType.OPTICAL_CARD,
}


def device_types(letters: str) -> frozenset[int]:
    """Return the device types `letters` stands for; "*" stands for all types."""
    if letters == "*":
        return frozenset(range(_TYPES))
    return frozenset(_TYPE_LETTERS[letter] for letter in letters)


def type_letters(types: Collection[int]) -> str:
    """Return the letters that `device_types` takes for `types`."""
    if len(types) == _TYPES:
        return "*"
    return "".join(letter for letter, device_type in _TYPE_LETTERS.items() if device_type in types)


class Direction(enum.Enum):
    """Where data goes, as the initiator sees it."""

    NONE = "none"
    IN = "in"
    OUT = "out"
    BIDIRECTIONAL = "bidirectional"

    # By identity: members are looked up in dictionaries for every command.
    __hash__ = object.__hash__


class Unit(enum.Enum):
    """What a length in a CDB counts."""

    BYTES = "bytes"
    BLOCKS = "blocks"


class Shape(enum.Enum):
    """How to interpret the length fields of a CDB."""

    PLAIN = "what they say is transferred"
    SIX = "21 bits of LBA, and a length of 0 means 256 blocks"
    NO_DATA = "they say what is touched; nothing is transferred"
    VERIFY = "data is sent only if BYTCHK is not 0, one block of it if BYTCHK is 3"
    WRITE_SAME = "one block is sent, none with NDOB"
    COMPARE = "twice the blocks are sent"
    FORMAT = "a parameter list of unknown length is sent if FMTDATA"
    EXPECTED = "as long as the transport expects"
    UNKNOWN = "what the transport expects goes where it expects it"
    ATA = "ATA PASS-THROUGH (SAT-3 12.2.2)"


class Flag(enum.IntFlag):
    """Properties of a command that decide what happens before it is executed."""

    # Reservations: may be executed for an initiator that does not hold them.
    RESERVE_OK = enum.auto()
    WRITE_EXCLUSIVE_OK = enum.auto()
    EXCLUSIVE_ACCESS_OK = enum.auto()
    # Refused by a read-only logical unit.
    WRITES_MEDIUM = enum.auto()
    # Does not report a pending unit attention condition.
    SKIP_UA = enum.auto()
    # Executed by the core, not by the device handler; FULLY: the handler does not even see it.
    LOCAL = enum.auto()
    FULLY_LOCAL = enum.auto()
    # Ordering.
    IMPLICIT_HEAD_OF_QUEUE = enum.auto()
    SERIALIZED = enum.auto()
    STRICTLY_SERIALIZED = enum.auto()
    ATOMIC = enum.auto()
    # Works through other logical units; carries descriptors to be decoded before anything else.
    THIRD_PARTY = enum.auto()
    DESCRIPTORS = enum.auto()
    # May be executed while ...
    STANDBY_OK = enum.auto()
    UNAVAILABLE_OK = enum.auto()
    TRANSITIONING_OK = enum.auto()
    INACTIVE_OK = enum.auto()  # the backing of the device is closed
    NO_MEDIUM_OK = enum.auto()  # the drive is empty
    FORMATTING_OK = enum.auto()
    SANITIZING_OK = enum.auto()
    # Class of timeout for a pass-through device; without either, the regular one.
    SMALL_TIMEOUT = enum.auto()
    LONG_TIMEOUT = enum.auto()

    # Every gate masks the flags of every command, and needs only to know whether any is left:
    # making a Flag of the result takes five times as long.
    __and__ = int.__and__  # type: ignore[assignment]
    __rand__ = int.__rand__  # type: ignore[assignment]


NO_FLAGS: Final = Flag(0)


class Feature(enum.Flag):
    """What a device must have for some commands to be there."""

    NONE = 0
    THIN = enum.auto()
    EXPLICIT_ALUA = enum.auto()
    PROTECTION_TYPE_2 = enum.auto()
    TOKEN_COPY = enum.auto()


@dataclass(frozen=True, slots=True)
class Field:
    """An unsigned big-endian number in a CDB."""

    offset: int
    size: int

    @property
    def last(self) -> int:
        """The last byte."""
        return self.offset + self.size - 1

    def get(self, cdb: bytes) -> int:
        """Return the number."""
        return int.from_bytes(cdb[self.offset : self.offset + self.size], "big")


@dataclass(frozen=True, slots=True)
class CdbLayout:
    """Where in the CDB the LBA and the length are, and what the length counts."""

    lba: Field | None = None
    length: Field | None = None
    unit: Unit = Unit.BYTES


def blocks_at(lba: tuple[int, int] | None, length: tuple[int, int] | None) -> CdbLayout:
    """Return the layout with these (offset, size) fields and a length in blocks."""
    return CdbLayout(Field(*lba) if lba else None, Field(*length) if length else None, Unit.BLOCKS)


def bytes_at(offset: int, size: int, lba: tuple[int, int] | None = None) -> CdbLayout:
    """Return the layout with a length in bytes at `offset`, and perhaps an LBA."""
    return CdbLayout(Field(*lba) if lba else None, Field(offset, size))


_NO_FIELDS: Final = CdbLayout()


@dataclass(frozen=True, slots=True)
class Check:
    """Bits of a CDB that must be zero, unless the bits `unless` of the same byte are set.

    The sense data points at `bit` (or at no bit) of the byte, or of byte `points_at`.
    """

    byte: int
    mask: int
    bit: int | None = None
    unless: int = 0
    points_at: int | None = None

    def failure(self, cdb: bytes) -> CheckCondition | None:
        """Return the error of `cdb`, or None."""
        value = cdb[self.byte]
        if not value & self.mask or value & self.unless:
            return None
        return invalid_field_in_cdb(
            self.byte if self.points_at is None else self.points_at, self.bit
        )


@dataclass(frozen=True, slots=True)
class When:
    """Flags a command has only if `cdb[byte] & mask == value`."""

    byte: int
    mask: int
    value: int
    flags: Flag


# By the three high bits of the operation code (SPC-4 4.2.5.1); 0: no standard length.
CDB_LENGTHS: Final = (6, 10, 10, 32, 16, 12, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """One command: all that is known about it without a device.

    `service_action` None stands for every service action that has no row of its own.  `execute`
    names the function above that executes the command.  `usage` is the CDB usage data of REPORT
    SUPPORTED OPERATION CODES, None where the command is not listed there, `timeout` the time
    recommended there, in seconds.  `extension` marks commands that SCST 3.10 refuses.
    """

    code: int
    service_action: int | None
    name: str
    types: frozenset[int]
    direction: Direction
    lba: Field | None
    length: Field | None
    unit: Unit
    shape: Shape
    fixed_length: int
    least_length: int
    flags: Flag
    flags_when: When | None
    checks: tuple[Check, ...]
    protect: int | None
    execute: str
    usage: bytes | None
    timeout: int
    requires: Feature
    extension: bool

    @property
    def cdb_length(self) -> int:
        """Length of the CDB in bytes."""
        if self.usage is not None:
            return len(self.usage)
        return CDB_LENGTHS[self.code >> 5]


def opcode(
    code: int,
    name: str,
    types: str,
    direction: Direction = Direction.NONE,
    *,
    sa: int | None = None,
    at: CdbLayout | None = None,
    shape: Shape = Shape.PLAIN,
    fixed: int = 0,
    least: int = 0,
    flags: Flag = NO_FLAGS,
    when: When | None = None,
    checks: Iterable[Check] = (),
    protect: int | None = None,
    execute: str = "invalid_opcode",
    usage: str | None = None,
    timeout: int = 0,
    requires: Feature = Feature.NONE,
    extension: bool = False,
) -> CommandRow:
    """Return a row; `at` locates its fields, and `least` is its smallest length."""
    where = at or _NO_FIELDS
    return CommandRow(
        code=code,
        service_action=sa,
        name=name,
        types=device_types(types),
        direction=direction,
        lba=where.lba,
        length=where.length,
        unit=where.unit,
        shape=shape,
        fixed_length=fixed,
        least_length=least,
        flags=flags,
        flags_when=when,
        checks=tuple(checks),
        protect=protect,
        execute=execute,
        usage=None if usage is None else bytes.fromhex(usage),
        timeout=timeout,
        requires=requires,
        extension=extension,
    )
