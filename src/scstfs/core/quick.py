"""The quick way of READ and WRITE: recognised at a glance, their blocks moved past the gates.

``recognise`` knows a READ or WRITE that needs nothing but its blocks, all of which exist.  All
callers with a CDB use it, for any transport: the loop that works off a batch, WRITEs that wait for
their data, and the general way, which decodes fully what is not recognised.

Whether such a command may pass the gates is decided for each nexus in advance, for as long as
nothing changes of what the decision looks at (``core.gated``): ``TgtDev.quick``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias

from scstfs.aio import DiskRequest
from scstfs.core.buffers import MAX_POOLED
from scstfs.scsi.cdb import Decoded, OpcodeTable, ReadWrite, opcode_table, padded


class Loan(NamedTuple):
    """Bytes of a file that is kept open until ``give_back`` is called, which must be once."""

    fd: int
    offset: int
    give_back: Callable[[], None]


Submit: TypeAlias = Callable[[DiskRequest], None]
"""Has a disk begin with a request."""

TryRead: TypeAlias = Callable[[int, memoryview], bool]
"""``(offset, memory) -> done``: reads bytes without waiting, or declines."""


class TryWrite(Protocol):
    """Writes bytes without waiting for long, or declines."""

    def __call__(
        self, offset: int, data: memoryview, *, stays: bool = False, deadline: int = 0
    ) -> bool:
        """Whether it is done.

        A write that is declined may have happened in part, and go on: the command has to be begun
        in another way.  ``data`` that ``stays`` is as it is until the end of that; ``deadline`` is
        that of a request.
        """


def _lend_nothing(_offset: int, _length: int) -> None:
    """Nothing is in a file."""


class Quick(NamedTuple):
    """What holds for READ and WRITE of one nexus until anything else has run.

    ``read`` and ``write`` are None if a gate would look at the command, or the blocks cannot be
    moved without waiting. Callers update the counters (``core.counters``). What they decline, or
    cannot do at all, is begun by ``submit_read`` and ``submit_write`` (``execute.begin``) if no
    gate would look.
    """

    #: What the device understands, and of that READ and WRITE.
    table: OpcodeTable
    entries: Mapping[int, ReadWrite]
    #: log2 of the size of a block; size of the device (bytes).
    shift: int
    size: int
    #: Commands that the nexus may have under way.
    limit: int
    read: TryRead | None = None
    write: TryWrite | None = None
    #: ``(offset, length)``: bytes that can be sent straight from a file, where there are any.
    lend: Callable[[int, int], Loan | None] = _lend_nothing
    submit_read: Submit | None = None
    submit_write: Submit | None = None
    #: What is written has to be durable.
    durable: bool = False


#: Peripheral device type of a logical unit that does not exist.
_NO_DEVICE: Final = 0x1F
_NOTHING: Final = opcode_table(_NO_DEVICE)

CLOSED: Final = Quick(_NOTHING, _NOTHING.read_write, 0, 0, 0)
"""Nothing is recognised."""


def recognise(
    entries: Mapping[int, ReadWrite], shift: int, size: int, cdb: bytes | bytearray, at: int = 0
) -> tuple[ReadWrite, int, int] | None:
    """A READ or WRITE that needs nothing but its blocks: its entry, its first byte, its length.

    The CDB begins at ``at`` of ``cdb`` and is followed by anything; ``size`` is that of the device.
    Offset and length are in bytes.  None is for all that needs a closer look: another command,
    protection information, FUA of a WRITE, a control byte, no blocks or very many, blocks that do
    not exist.
    """
    entry = entries.get(cdb[at])
    if entry is None:
        return None
    _, unpack, _, lba_mask, zero_blocks, odd_mask = entry
    byte1, lba, blocks, control = unpack(cdb, at)
    if byte1 & odd_mask or control:
        return None
    if zero_blocks:
        lba |= (byte1 & lba_mask) << 16
        blocks = blocks or zero_blocks
    offset, length = lba << shift, blocks << shift
    if not length or length > MAX_POOLED or offset + length > size:
        return None
    return entry, offset, length


def decode(quick: Quick, cdb: bytes) -> Decoded:
    """Decode a CDB of any length; raises CheckCondition.

    Only for what is recognised it is known that all blocks exist.
    """
    complete = padded(cdb)
    found = recognise(quick.entries, quick.shift, quick.size, complete)
    if found is None:
        return quick.table.decode(complete, quick.shift)
    return decoded(*found, quick.shift, complete)


def decoded(entry: ReadWrite, offset: int, length: int, shift: int, cdb: bytes) -> Decoded:
    """What has been recognised in ``cdb``, as the general way has it."""
    op = entry.op
    return Decoded(op, offset >> shift, length, length, op.direction, op.flags, 0, False, cdb)
