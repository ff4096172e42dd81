"""Looking commands up and decoding their CDBs: the one table, seen from one device.

`opcode_table` gives the commands of a device type; `OpcodeTable.decode` turns a CDB into a
`Decoded`, or raises the error that SCST's parser returns.  `RW` is the same for READ and WRITE
only, cut down for the path on which every microsecond counts.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from scstfs.scsi.commands import COMMANDS, EXTENSIONS
from scstfs.scsi.foreign_commands import FOREIGN_COMMANDS
from scstfs.scsi.opcodes import (
    CDB_LENGTHS,
    CommandRow,
    DeviceType,
    Direction,
    Feature,
    Flag,
    Shape,
    Unit,
    opcode,
)
from scstfs.scsi.sense import (
    INVALID_MESSAGE,
    INVALID_OPCODE,
    LBA_OUT_OF_RANGE,
    CheckCondition,
    invalid_field_in_cdb,
)

# SCST reads as many bytes as the longest CDB it knows has; missing ones count as zero.
_LONGEST_CDB: Final = 32
_VARIABLE_LENGTH: Final = 0x7F
_ADDITIONAL_LENGTH_32: Final = 0x18
_UNKNOWN_LENGTH_LIMIT: Final = 15 * 1024 * 1024
_FORMAT_GUESS: Final = 4096
_TEST_UNIT_READY: Final = 0x00
_LINK: Final = 0x01
_NACA: Final = 0x04


@dataclass(slots=True)
class Decoded:
    """A decoded CDB; do not change it (freezing it would triple the time to make one).

    `lba` is None where the command has none.  `length` is the number of bytes that cross the
    transport in `direction`; `data_length` the bytes of medium touched from `lba` on, which is the
    same for most commands.  `expected_length` marks commands whose length only the transport knows:
    `settle` fills it in. `cdb` is the CDB padded with as many zeros as any command may read; the
    functions of this package that take a CDB need it so.
    """

    op: CommandRow
    lba: int | None
    length: int
    data_length: int
    direction: Direction
    flags: Flag
    control: int
    expected_length: bool = False
    cdb: bytes = b""

    def settle(self, expected: Direction, expected_length: int) -> Decoded:
        """Compare with the length that the transport announced; the last checks of a CDB.

        Call it after the LBA was found to be in range, if the handler checks that so early.
        `expected_length` is in bytes.  Raises CheckCondition: linked commands are not supported,
        and data must go the way the CDB says.
        """
        length, data_length = self.length, self.data_length
        if self.expected_length:
            length = data_length = min(expected_length, _UNKNOWN_LENGTH_LIMIT)
            if self.op.shape is Shape.UNKNOWN:
                return self._as_expected(expected, length)
        if self.control & _LINK:
            raise invalid_field_in_cdb(self.op.cdb_length - 1, 0)
        if self.op.execute == "read" and expected in (Direction.OUT, Direction.NONE):
            # There is no room for the data, which residuals can express. SCST refuses it.
            length = 0
        elif self.direction is not expected and not self._may_differ(expected, length):
            raise CheckCondition(INVALID_MESSAGE)
        direction = self.direction if length else Direction.NONE
        if (direction, length) == (self.direction, self.length):
            return self
        return replace(self, length=length, data_length=data_length, direction=direction)

    def _as_expected(self, expected: Direction, length: int) -> Decoded:
        if expected is Direction.BIDIRECTIONAL:
            raise CheckCondition(INVALID_MESSAGE)
        direction = expected if length else Direction.NONE
        return replace(self, length=length, data_length=length, direction=direction)

    def _may_differ(self, expected: Direction, length: int) -> bool:
        if expected is Direction.NONE:
            return length == 0 or self.op.code == _TEST_UNIT_READY
        # Some initiators send TEST UNIT READY as if it returned data.
        return expected is Direction.IN and self.op.code == _TEST_UNIT_READY


def padded(cdb: bytes | bytearray | memoryview) -> bytes:
    """Return `cdb` padded with as many zeros as any command may read."""
    return bytes(cdb).ljust(_LONGEST_CDB, b"\0")


def naca(cdb: bytes) -> bool:
    """Return whether the initiator asks for an ACA condition in case of CHECK CONDITION.

    The command may be unknown (SAM-5 5.2); vendor specific ones have no such bit.
    """
    length = CDB_LENGTHS[cdb[0] >> 5] if cdb else 0
    return length > 0 and bool(_control(cdb.ljust(length, b"\0"), length) & _NACA)


def _control(cdb: bytes, length: int) -> int:
    return cdb[1] if cdb[0] == _VARIABLE_LENGTH else cdb[length - 1]


class _Extent(NamedTuple):
    """LBA, transferred length and touched length, in the unit of the row."""

    lba: int | None
    length: int
    data_length: int
    direction: Direction
    unknown: bool = False


class OpcodeTable:
    """The commands of one device type with one set of features."""

    def __init__(
        self,
        device_type: int,
        features: Feature = Feature.NONE,
        protection: int = 0,
        extensions: bool = True,
    ) -> None:
        """Index the rows; `protection` is the protection information type, 0 to 3.

        `read_write` is the part of `RW` for this device type.
        """
        self.device_type = device_type
        self.features = features
        self.protection = protection
        self._rows = _rows_for(device_type, features, extensions)
        self._index: dict[int, dict[int | None, CommandRow]] = {}
        for row in self._rows:
            self._index.setdefault(row.code, {}).setdefault(row.service_action, row)
        self.read_write: Final[Mapping[int, ReadWrite]] = {
            opcode: entry
            for opcode, entry in RW.items()
            if device_type in _BLOCK_DEVICES and device_type in entry.op.types
        }

    def find(self, cdb: bytes) -> CommandRow | None:
        """Return the row for `cdb` (at least 10 bytes), or None for an unknown command."""
        actions = self._index.get(cdb[0])
        if actions is None:
            return None
        action = _service_action(cdb)
        return actions.get(action) or actions.get(None)

    def commands(self) -> list[CommandRow]:
        """Return every row that `find` can give."""
        return [row for actions in self._index.values() for row in actions.values()]

    def reported(self) -> list[CommandRow]:
        """Return the rows REPORT SUPPORTED OPERATION CODES lists, in its order."""
        return [
            row
            for row in self._rows
            if row.usage is not None and row.requires & self.features == row.requires
        ]

    def decode(self, cdb: bytes, block_shift: int = 9) -> Decoded:
        """Decode `cdb` (1 or more bytes) for blocks of 2**`block_shift` bytes.

        Raises CheckCondition with the sense of SCST's parser. Only the device knows whether the LBA
        is in range; here it is refused only if byte addresses overflow.
        """
        if len(cdb) < _LONGEST_CDB:
            cdb = padded(cdb)
        op = self.find(cdb)
        if op is None:
            raise CheckCondition(INVALID_OPCODE)
        if op.code == _VARIABLE_LENGTH and cdb[7] != _ADDITIONAL_LENGTH_32:
            raise invalid_field_in_cdb(7)
        for check in op.checks:
            failure = check.failure(cdb)
            if failure is not None:
                raise failure
        if op.protect is not None:
            self._check_protection(op.protect, cdb)
        return self._decode_extent(op, cdb, block_shift)

    def knows(self, cdb: bytes) -> bool:
        """Return whether there is a row for `cdb` (1 or more bytes)."""
        return self.find(padded(cdb)) is not None

    def _check_protection(self, byte: int, cdb: bytes) -> None:
        """Check RDPROTECT, WRPROTECT or VRPROTECT (SBC-3 5.8, 5.29, 5.32)."""
        value = cdb[byte] >> 5
        if cdb[0] == _VARIABLE_LENGTH:
            # 32-byte CDBs are for protection type 2, and type 2 has no others.
            wrong_size = self.protection != 2
        else:
            wrong_size = self.protection == 2 and value != 0
        if wrong_size:
            raise CheckCondition(INVALID_OPCODE)
        if value > (5 if self.protection else 0):
            raise invalid_field_in_cdb(byte, 5)

    def _decode_extent(self, op: CommandRow, cdb: bytes, block_shift: int) -> Decoded:
        extent = _EXTENTS[op.shape](op, cdb)
        shift = self._shift(cdb, block_shift)
        length, data_length = extent.length, extent.data_length
        if op.shape is Shape.ATA:
            length = data_length = _ata_length(cdb, length, 1 << block_shift)
        elif op.unit is Unit.BLOCKS and shift:
            length, data_length = length << shift, data_length << shift
            # SCST keeps these two and the LBA in signed integers of 32 and 64 bits.
            if length >= 1 << 31 or data_length >= 1 << 63:
                raise CheckCondition(LBA_OUT_OF_RANGE)
        if shift and extent.lba is not None and extent.lba << shift >= 1 << 63:
            raise CheckCondition(LBA_OUT_OF_RANGE)
        flags = op.flags
        when = op.flags_when
        if when is not None and cdb[when.byte] & when.mask == when.value:
            flags |= when.flags
        control = _control(cdb, op.cdb_length)
        return Decoded(
            op,
            extent.lba,
            length,
            data_length,
            extent.direction,
            flags,
            control,
            extent.unknown,
            cdb,
        )

    def _shift(self, cdb: bytes, block_shift: int) -> int:
        """Return the shift from the unit of a transfer length to bytes."""
        if self.device_type == DeviceType.TAPE:
            return block_shift if cdb[1] & 1 else 0  # FIXED
        return block_shift if self.device_type in _BLOCK_DEVICES else 0


_BLOCK_DEVICES: Final = (DeviceType.DISK, DeviceType.CD_ROM, DeviceType.OPTICAL)


def decode_unknown(cdb: bytes) -> Decoded:
    """Decode a `cdb` (1 or more bytes) that no table has, so that only its device knows its effect.

    It is treated as one that writes the medium, so that reservations and write protection hold.
    """
    cdb = padded(cdb)
    op = _unknown_opcode(cdb[0])
    return Decoded(op, None, 0, 0, Direction.NONE, op.flags, 0, True, cdb)


@functools.lru_cache(maxsize=256)
def _unknown_opcode(code: int) -> CommandRow:
    return opcode(code, f"{code:02X}h", "*", shape=Shape.UNKNOWN, flags=Flag.WRITES_MEDIUM)


@functools.lru_cache(maxsize=64)
def opcode_table(
    device_type: int,
    features: Feature = Feature.NONE,
    protection: int = 0,
    extensions: bool = True,
) -> OpcodeTable:
    """Return the table for a device; equal arguments share one table."""
    return OpcodeTable(device_type, features, protection, extensions)


def _rows_for(device_type: int, features: Feature, extensions: bool) -> list[CommandRow]:
    """Return the rows in the order of REPORT SUPPORTED OPERATION CODES; replacements in place."""
    rows = [row for row in (*COMMANDS, *FOREIGN_COMMANDS) if device_type in row.types]
    if not extensions:
        return rows
    added = {
        (row.code, row.service_action): row
        for row in EXTENSIONS
        if device_type in row.types and row.requires & features == row.requires
    }
    replaced = []
    for row in rows:
        # A listed row has its place in the list; a row that was not listed goes to the end.
        if row.usage is not None:
            replaced.append(added.pop((row.code, row.service_action), row))
        elif (row.code, row.service_action) not in added:
            replaced.append(row)
    return [*replaced, *added.values()]


def _service_action(cdb: bytes) -> int:
    if cdb[0] == _VARIABLE_LENGTH:
        return cdb[8] << 8 | cdb[9]
    return cdb[1] & 0x1F


def _plain(op: CommandRow, cdb: bytes) -> _Extent:
    length = op.length.get(cdb) if op.length else op.fixed_length
    length = max(length, op.least_length)
    return _Extent(_lba(op, cdb), length, length, op.direction)


def _six(op: CommandRow, cdb: bytes) -> _Extent:
    blocks = cdb[4] or 256
    return _Extent((cdb[1] & 0x1F) << 16 | cdb[2] << 8 | cdb[3], blocks, blocks, op.direction)


def _no_data(op: CommandRow, cdb: bytes) -> _Extent:
    return _Extent(_lba(op, cdb), 0, _blocks(op, cdb), Direction.NONE)


def _verify(op: CommandRow, cdb: bytes) -> _Extent:
    blocks = _blocks(op, cdb)
    bytchk = cdb[1 if op.code != _VARIABLE_LENGTH else 10] >> 1 & 3
    if not bytchk:
        return _Extent(_lba(op, cdb), 0, blocks, Direction.NONE)
    sent = min(blocks, 1) if bytchk == 3 else blocks
    return _Extent(_lba(op, cdb), sent, blocks, Direction.OUT)


def _write_same(op: CommandRow, cdb: bytes) -> _Extent:
    wide = op.code == _VARIABLE_LENGTH
    # WRITE SAME(10) has no NDOB bit.
    ndob = cdb[10 if wide else 1] & 1 and op.cdb_length > 10
    direction = Direction.NONE if ndob else Direction.OUT
    return _Extent(_lba(op, cdb), 0 if ndob else 1, _blocks(op, cdb), direction)


def _compare(op: CommandRow, cdb: bytes) -> _Extent:
    blocks = _blocks(op, cdb)
    return _Extent(_lba(op, cdb), 2 * blocks, blocks, op.direction)


def _format(op: CommandRow, cdb: bytes) -> _Extent:
    if cdb[1] & 0x10:  # FMTDATA
        return _Extent(None, _FORMAT_GUESS, _FORMAT_GUESS, Direction.OUT, unknown=True)
    return _Extent(None, 0, 0, Direction.NONE)


def _expected(op: CommandRow, cdb: bytes) -> _Extent:
    return _Extent(None, 0, 0, op.direction, unknown=True)


def _ata(op: CommandRow, cdb: bytes) -> _Extent:
    protocol, t_length = cdb[1] >> 1 & 0x0F, cdb[2] & 3
    if protocol == 0x0F:  # return response information: everything else is ignored
        return _Extent(0, 0, 0, Direction.NONE)
    count = 0
    if t_length in (1, 2):
        if op.code == 0xA1:
            count = cdb[2 + t_length]
        else:
            low = 2 * t_length + 2
            count = cdb[low] if not cdb[1] & 1 else cdb[low - 1] << 8 | cdb[low]
    direction = Direction.IN if cdb[2] & 0x08 else Direction.OUT
    return _Extent(0, count, count, direction if t_length else Direction.NONE)


def _ata_length(cdb: bytes, count: int, block_size: int) -> int:
    """Return the bytes ATA PASS-THROUGH moves: BYTE_BLOCK, T_TYPE and MULTIPLE_COUNT applied."""
    if cdb[1] >> 1 & 0x0F == 0x0F:
        return 0
    if cdb[2] & 3 and cdb[2] & 0x04:
        count *= block_size if cdb[2] & 0x10 else 512
    return count << (cdb[1] >> 5)


_EXTENTS: Final[Mapping[Shape, Callable[[CommandRow, bytes], _Extent]]] = {
    Shape.PLAIN: _plain,
    Shape.SIX: _six,
    Shape.NO_DATA: _no_data,
    Shape.VERIFY: _verify,
    Shape.WRITE_SAME: _write_same,
    Shape.COMPARE: _compare,
    Shape.FORMAT: _format,
    Shape.EXPECTED: _expected,
    Shape.UNKNOWN: _expected,
    Shape.ATA: _ata,
}


def _lba(op: CommandRow, cdb: bytes) -> int | None:
    return op.lba.get(cdb) if op.lba else None


def _blocks(op: CommandRow, cdb: bytes) -> int:
    return op.length.get(cdb) if op.length else 0


class ReadWrite(NamedTuple):
    """How to decode a READ or WRITE of one CDB size without looking at its row.

    `unpack(buffer, at)` gives (byte 1, LBA, transfer length in blocks, control byte) of the CDB
    that begins at `at` and has at least the right length.  The LBA is `(byte1 & lba_mask) << 16 |
    lba`, the transfer length `blocks or zero_blocks`.  `byte1 & odd_mask` is not zero where the
    command needs more than its blocks: protection information, FUA of a WRITE.
    """

    op: CommandRow
    unpack: Callable[..., tuple[int, int, int, int]]
    writes: bool
    lba_mask: int
    zero_blocks: int
    odd_mask: int


_PROTECT: Final = 0xE0
_FUA: Final = 0x08

_RW_FORMATS: Final = {
    6: struct.Struct(">xBHBB"),
    10: struct.Struct(">xBIxHB"),
    12: struct.Struct(">xBIIxB"),
    16: struct.Struct(">xBQIxB"),
}


def _read_write(rows: Iterable[CommandRow]) -> dict[int, ReadWrite]:
    entries = {}
    for row in rows:
        if row.execute not in ("read", "write") or row.code == _VARIABLE_LENGTH:
            continue
        six = row.shape is Shape.SIX
        writes = row.execute == "write"
        entries[row.code] = ReadWrite(
            op=row,
            unpack=_RW_FORMATS[row.cdb_length].unpack_from,
            writes=writes,
            lba_mask=0x1F if six else 0,
            zero_blocks=256 if six else 0,
            odd_mask=(0 if six else _PROTECT) | (_FUA if writes and not six else 0),
        )
    return entries


RW: Final[Mapping[int, ReadWrite]] = _read_write(COMMANDS)
"""READ and WRITE of 6, 10, 12 and 16 bytes, by operation code."""
