"""The fast path: READs and WRITEs that need nothing but their blocks, a whole run of them at once.

One loop takes the commands that stand at the front of what a connection has received, moves their
blocks and lays out their answers.  The core (``core.quick``) decides which commands those are, and
whether they may; this module knows their PDUs.  The loop stops before the first command that is
anything else, or whose blocks are not in memory: that one goes the general way, for which nothing
has happened to it yet.

What is looked up for every command is bound to local names, and layouts are packed and unpacked in
place: at this rate calling a method costs more than what most of them do.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fastcrc import crc32

from scstfs.core.quick import Loan, Quick, TryRead, decoded, recognise
from scstfs.core.taskset import TaskAttribute
from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import RESERVED_TAG, PduOpcode
from scstfs.iscsi.transmit import HIGH_WATER, FilePart, Referred, Transmitter
from scstfs.scsi.cdb import RW, padded

if TYPE_CHECKING:
    from scstfs.core.nexus_times import Batches
    from scstfs.core.session import Session, TgtDev
    from scstfs.iscsi.connection import Connection
    from scstfs.iscsi.receive import Receiver
    from scstfs.scsi.cdb import Decoded, ReadWrite

#: A SCSI Command up to its CDB (RFC 7143 11.3): opcode, flags, lengths, LUN, ITT, expected length,
#: CmdSN.
_COMMAND: Final = Struct(">BBxxI8sIII").unpack_from
_CDB_AT: Final = 32
_DIGEST: Final = Struct("<I")
_MASK: Final = 0xFFFFFFFF

#: From this size on (bytes) it is worth sending from the page cache what is in it.
_LONG: Final = 128 * 1024

#: F, R, W and the task attribute of a command that is taken.
_UNORDERED: Final = tuple(attribute for attribute in TaskAttribute if attribute.is_unordered)
_READS: Final = frozenset(codes.FINAL | codes.COMMAND_READ | value for value in _UNORDERED)
_WRITES: Final = frozenset(codes.FINAL | codes.COMMAND_WRITE | value for value in _UNORDERED)
# Plain integers, which are compared and packed faster than members of an enumeration.
_SCSI_COMMAND: Final = int(PduOpcode.SCSI_COMMAND)
#: Opcode and flags of what answers a READ and a WRITE.
_READ: Final = PduOpcode.DATA_IN << 8 | codes.FINAL | codes.DATA_STATUS
_WRITTEN: Final = PduOpcode.SCSI_RESPONSE << 8 | codes.FINAL


Arrived: TypeAlias = tuple[bytearray, memoryview, int, int]
"""What has been received: a buffer, a view of it, start and end."""

Allocate: TypeAlias = Callable[[int], tuple[memoryview, Callable[[], None]]]
"""``length -> (memory, what gives it back)``; raises MemoryError."""

Source: TypeAlias = tuple[Referred, Callable[[], None]]
"""Where data is sent from, and what to call when it has been sent."""

Begin: TypeAlias = "Callable[[TgtDev, Decoded, int, bytes, int, memoryview], bool]"
"""``(nexus, command, ITT, LUN, flags, data) -> begun``: a WRITE of which only ``data`` has come."""

BeginDisk: TypeAlias = (
    "Callable[[TgtDev, Quick, tuple[ReadWrite, int, int], memoryview | None, "
    "tuple[int, bytes, int, int], bytes], bool]"
)
"""``(nexus, quick, found, data, (ITT, LUN, flags, CmdSN), CDB) -> begun``: a command that a disk
does meanwhile."""


_Ways: TypeAlias = "tuple[int, int, Batches, BeginDisk]"
"""Bytes that a Data-In PDU may have, and that may come with a command; where answers are counted;
what begins commands that a disk does."""


class _Long(NamedTuple):
    """A command that could be taken but for its length; it is what comes next."""

    tgt_dev: TgtDev
    quick: Quick
    #: What was recognised: entry, offset and length.
    found: tuple[ReadWrite, int, int]
    flags: int
    lun: bytes
    itt: int
    #: Of the PDU's data segment (bytes).
    segment: int
    #: The data of a READ, where it can be sent from a file.
    loan: Loan | None = None


def _begin_nothing(*_command: object) -> bool:
    """Whatever a disk would have to do goes the general way."""
    return False


def answer(
    connection: Connection,
    session: Session,
    batches: Batches,
    segment: int,
    immediate: int,
    begin: Begin | None = None,
    allocate: Allocate | None = None,
    begin_disk: BeginDisk = _begin_nothing,
) -> None:
    """Answer the fast commands at the front of ``connection.rx``, as many as there are.

    The numbers of ``connection`` must be plain.  ``segment`` is how many bytes a Data-In PDU may
    have, ``immediate`` how many may come with a command; ``begin`` takes WRITEs that need more,
    ``allocate`` gives memory for READs that do, and ``begin_disk`` takes what is not in memory.
    ``batches`` gets what is answered.
    """
    rx, window, ways = connection.rx, connection.window, (segment, immediate, batches, begin_disk)
    while window.is_plain:
        arrived = received, _, start, end = rx.window()
        # Told at a glance: it may not be worth beginning at all.
        if (
            end - start < pdu.BHS_LENGTH
            or received[start] != _SCSI_COMMAND
            or received[start + _CDB_AT] not in RW
        ):
            return
        command = _answer_short(connection, session, arrived, ways)
        if command is None:
            return
        if command.found[0].writes:
            taken = begin is not None and _begin_write(connection, command, immediate, begin)
        else:
            taken = _read_long(connection, session, batches, command, allocate, begin_disk)
        if not taken:
            return


def _answer_short(
    connection: Connection, session: Session, arrived: Arrived, ways: _Ways
) -> _Long | None:
    """Answer the commands whose data goes with one PDU; returns the long one behind them."""
    rx, tx, window = connection.rx, connection.replies.tx, connection.window
    received, view, start, end = arrived
    segment, immediate, batches, begin_disk, head, tail = *ways, *_around(rx)
    chunk, room, at, limit, stop = _room(tx, head)
    due, credit, stat_sn = window.exp_cmd_sn, window.credit, connection.replies.stat_sn
    reads, writes, tasks = session.counters.read, session.counters.write, connection.tasks.by_tag
    has_digest, long, pack = rx.header_digest, None, pdu.GOOD_STATUS.pack_into
    # The LUN that was looked up last.  Nothing but this loop runs meanwhile: no gate closes.
    known, times, read_0, written_0 = b"", None, reads.cmds, writes.cmds
    while at < stop and end - start >= head and credit >= 0:
        opcode, flags, lengths, lun, itt, expected, cmd_sn = _COMMAND(received, start)
        if opcode != _SCSI_COMMAND or cmd_sn != due or itt in tasks or itt == RESERVED_TAG:
            break
        if lun != known:
            nexus = session.find(lun)
            if nexus is None:
                break
            if times is not None:
                read_0, written_0 = batches.add(times, reads, writes, read_0, written_0)
            known, tgt_dev, times, quick = lun, nexus, nexus.times, nexus.available
            _, entries, shift, size, _, read, write, lend, *_ = quick
        found = recognise(entries, shift, size, received, start + _CDB_AT)
        if found is None or (has_digest and _is_spoilt(received, start, pdu.BHS_LENGTH)):
            break
        entry, offset, length = found
        behind, loan, data, is_write = start + head, None, None, entry.writes
        usual = _WRITES if is_write else _READS
        if length != expected or flags not in usual or (lengths and not is_write):
            break
        if is_write:
            is_long, more = lengths != length, head
        else:
            if read is not None and length >= _LONG and not tail:
                loan = lend(offset, length)
            is_long, more = length > segment, head + length + tail if loan is None else head
        if is_long:
            long = _Long(tgt_dev, quick, found, flags, lun, itt, lengths, loan)
            break
        if at + more > limit:
            chunk, room, at, limit, stop = _other_room(tx, at, more)
        if is_write:
            # All of the data has come with the command, and nothing else has (no AHS).
            data = view[behind : behind + length]
            is_part = length > immediate or behind + length + tail > end
            if is_part or (tail and _is_spoilt(received, behind, length)):
                break
            behind += length + tail
            is_done = write is not None and write(offset, data)
        else:
            place = room[at + head : at + more - tail]
            is_done = loan is not None or (read is not None and read(offset, place))
        following = (cmd_sn + 1) & _MASK
        if not is_done:
            numbers, cdb = (itt, lun, flags, cmd_sn), _cdb_of(received, start)
            if not begin_disk(tgt_dev, quick, found, data, numbers, cdb):
                break
            start, due, credit, known = behind, following, credit - 1, b""
            continue  # there may be no room for another one
        max_cmd_sn = (following + credit) & _MASK
        if is_write:
            pack(chunk, at, _WRITTEN, 0, itt, 0, stat_sn, following, max_cmd_sn)
        else:
            if loan is None and tail:
                _digest(chunk, at + head, length)
            pack(chunk, at, _READ, length, itt, RESERVED_TAG, stat_sn, following, max_cmd_sn)
        (writes if is_write else reads).count(length, offset)
        if has_digest:
            _digest(chunk, at, pdu.BHS_LENGTH)
        if loan is not None:
            tx.lay_out_with(at + more, FilePart(loan.fd, loan.offset, length), loan.give_back)
            stop -= length
        start, at, due, stat_sn = behind, at + more, following, (stat_sn + 1) & _MASK
    if times is not None:
        batches.add(times, reads, writes, read_0, written_0)
    _take(connection, start, at, (due, credit, stat_sn))
    return long


def _take(connection: Connection, start: int, at: int, numbers: tuple[int, int, int]) -> None:
    """What came before ``start`` has been done, and what is before ``at`` are the answers."""
    due, credit, stat_sn = numbers
    connection.rx.consume(start)
    connection.replies.tx.lay_out(at)
    connection.replies.stat_sn = stat_sn
    connection.window.advance(due, credit)


def _around(rx: Receiver) -> tuple[int, int]:
    """How much there is of a PDU before its data, and behind (bytes)."""
    digest = pdu.DIGEST_LENGTH
    head = pdu.BHS_LENGTH + (digest if rx.header_digest else 0)
    return head, digest if rx.data_digest else 0


def _room(tx: Transmitter, least: int) -> tuple[bytearray, memoryview, int, int, int]:
    """``tx.window``, and where answers have to stop so that what waits to be sent is bounded."""
    chunk, room, at, limit = tx.window(least)
    return chunk, room, at, limit, at + HIGH_WATER - tx.pending


def _other_room(
    tx: Transmitter, at: int, least: int
) -> tuple[bytearray, memoryview, int, int, int]:
    """``_room`` behind what has been laid out up to ``at``."""
    tx.lay_out(at)
    return _room(tx, least)


def _is_spoilt(received: bytearray, start: int, length: int) -> bool:
    """The digest behind these bytes is not theirs."""
    end = start + length
    return bool(
        _DIGEST.unpack_from(received, end)[0] != crc32.iscsi(memoryview(received)[start:end])
    )


def _digest(chunk: bytearray, start: int, length: int) -> None:
    """Lay out the digest of these bytes behind them."""
    end = start + length
    _DIGEST.pack_into(chunk, end, crc32.iscsi(memoryview(chunk)[start:end]))


def _begin_write(connection: Connection, command: _Long, immediate: int, begin: Begin) -> bool:
    """Begin a WRITE for whose data has to be asked."""
    rx, segment, length = connection.rx, command.segment, command.found[2]
    if rx.data_digest or not segment < length or segment > immediate:
        return False
    _, view, start, end = rx.window()
    data_at = start + pdu.BHS_LENGTH + (pdu.DIGEST_LENGTH if rx.header_digest else 0)
    behind = data_at + segment + (-segment & 3)
    if behind > end:
        return False
    taken = begin(
        command.tgt_dev,
        decoded(*command.found, command.quick.shift, padded(_cdb(rx))),
        command.itt,
        command.lun,
        command.flags,
        view[data_at : data_at + segment],
    )
    if taken:
        rx.consume(behind)
    return taken


def _cdb(rx: Receiver) -> bytes:
    """The CDB of the command that comes next."""
    received, _, start, _ = rx.window()
    return _cdb_of(received, start)


def _cdb_of(received: bytearray, start: int) -> bytes:
    return bytes(received[start + _CDB_AT : start + pdu.BHS_LENGTH])


def _read_long(
    connection: Connection,
    session: Session,
    batches: Batches,
    command: _Long,
    allocate: Allocate | None,
    begin_disk: BeginDisk,
) -> bool:
    """Answer a READ whose data takes several PDUs, or begin it."""
    rx, window, loan = connection.rx, connection.window, command.loan
    _, offset, length = command.found
    if loan is not None:
        source: Source | None = FilePart(loan.fd, loan.offset, length), loan.give_back
    else:
        source = _copy(command.quick.read, allocate, offset, length)
    credit, cmd_sn = window.credit, window.exp_cmd_sn
    if source is None:
        numbers = command.itt, command.lun, command.flags, cmd_sn
        if not begin_disk(command.tgt_dev, command.quick, command.found, None, numbers, _cdb(rx)):
            return False
        credit -= 1
    _, _, start, _ = rx.window()
    rx.consume(start + pdu.BHS_LENGTH + (pdu.DIGEST_LENGTH if rx.header_digest else 0))
    window.advance((cmd_sn + 1) & _MASK, credit)
    if source is not None:
        connection.replies.answer_read(command.itt, *source)
        session.counters.read.count(length, offset)
        batches.waiting.append((command.tgt_dev.times, batches.received, 1, 0))
    return True


def _copy(
    read: TryRead | None, allocate: Allocate | None, offset: int, length: int
) -> Source | None:
    """Read into memory of its own, if that needs no waiting."""
    if read is None or allocate is None:
        return None
    try:
        memory, release = allocate(length)
    except MemoryError:
        return None
    if read(offset, memory):
        return memory, release
    release()
    return None
