"""The fast path: READs and WRITEs that need nothing but their blocks, a whole run of them at once.

One loop takes the commands that stand at the front of what a connection has received, moves their
blocks and lays out their answers.  Which commands those are, and whether they may, is the core's
business (``core.quick``); here is how they look as PDUs.  The loop stops before the first command
that is anything else, or whose blocks are not in memory: that one goes the general way, for which
nothing has happened to it yet.

What is looked up for every command is bound to local names, and layouts are packed and unpacked in
place: at this rate calling a method costs more than what most of them do.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fastcrc import crc32

from scstfs.core.command import TaskAttribute
from scstfs.core.quick import Loan, Move, Quick, decoded, recognise
from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import RESERVED_TAG, Opcode
from scstfs.iscsi.transmit import HIGH_WATER, FilePart, Referred
from scstfs.scsi.cdb import RW, padded

if TYPE_CHECKING:
    from scstfs.core.session import Session, TgtDev
    from scstfs.iscsi.connection import Connection
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
_DATA_IN_GOOD: Final = codes.FINAL | codes.DATA_STATUS
# Plain integers, which are compared and packed faster than members of an enumeration.
_SCSI_COMMAND: Final = int(Opcode.SCSI_COMMAND)
_SCSI_RESPONSE: Final = int(Opcode.SCSI_RESPONSE)
_DATA_IN: Final = int(Opcode.DATA_IN)


Allocate: TypeAlias = Callable[[int], tuple[memoryview, Callable[[], None]]]
"""``length -> (memory, what gives it back)``; raises MemoryError."""

Source: TypeAlias = tuple[Referred, Callable[[], None]]
"""Where data is sent from, and what to call when it has been sent."""

Begin: TypeAlias = "Callable[[TgtDev, Decoded, int, bytes, int, memoryview], bool]"
"""``(nexus, command, ITT, LUN, flags, data) -> begun``: a WRITE of which only ``data`` has come."""


class _Long(NamedTuple):
    """A command that could be taken but for its length; it is what comes next."""

    tgt_dev: TgtDev
    quick: Quick
    entry: ReadWrite
    offset: int
    length: int
    flags: int
    lun: bytes
    itt: int
    #: Of the PDU's data segment (bytes).
    segment: int
    #: The data of a READ, where it can be sent from a file.
    loan: Loan | None = None


def answer(
    connection: Connection,
    session: Session,
    segment: int,
    immediate: int,
    begin: Begin | None = None,
    allocate: Allocate | None = None,
) -> None:
    """Answer the fast commands at the front of ``connection.rx``, as many as there are.

    The numbers of ``connection`` must be plain.  ``segment`` is how many bytes a Data-In PDU may
    have, ``immediate`` how many may come with a command; ``begin`` takes WRITEs that need more,
    ``allocate`` gives memory for READs that do.
    """
    while connection.is_plain:
        command = _answer_short(connection, session, segment, immediate)
        if command is None:
            return
        if command.entry.writes:
            taken = begin is not None and _begin(connection, command, immediate, begin)
        else:
            taken = _read_long(connection, session, command, allocate)
        if not taken:
            return


def _answer_short(
    connection: Connection, session: Session, segment: int, immediate: int
) -> _Long | None:
    """Answer the commands whose data goes with one PDU; returns the long one behind them."""
    rx, tx = connection.rx, connection.tx
    received, view, start, end = rx.window()
    digests, data_digests = rx.header_digest, rx.data_digest
    head = pdu.BHS_LENGTH + (pdu.DIGEST_LENGTH if digests else 0)
    tail = pdu.DIGEST_LENGTH if data_digests else 0
    # Told at a glance: it may not be worth beginning at all.
    if (
        end - start < head
        or received[start] != _SCSI_COMMAND
        or received[start + _CDB_AT] not in RW
    ):
        return None
    chunk, room, at, limit = tx.window(head)
    # Where the answers have to stop, so that what waits to be sent stays bounded.
    stop = at + HIGH_WATER - tx.pending
    due, stat_sn, credit = connection.exp_cmd_sn, connection.stat_sn, connection.credit
    crc, digest_of = crc32.iscsi, _DIGEST.unpack_from
    reads, writes, tasks = session.counters.read, session.counters.write, connection.tasks
    # The LUN that was looked up last.  Nothing but this loop runs meanwhile: no gate closes.
    known = b""
    pack_data_in, pack_response = pdu.DATA_IN.pack_into, pdu.SCSI_RESPONSE.pack_into
    long = None
    while at < stop and end - start >= head:
        opcode, flags, lengths, lun, itt, expected, cmd_sn = _COMMAND(received, start)
        if opcode != _SCSI_COMMAND or cmd_sn != due or itt in tasks:
            break
        if lun != known:
            nexus = session.find(lun)
            if nexus is None:
                break
            known, tgt_dev, quick = lun, nexus, nexus.available
            _, entries, shift, size, _, read, write, lend = quick
        found = recognise(entries, shift, size, received, start + _CDB_AT)
        if found is None:
            break
        entry, offset, length = found
        if length != expected or itt == RESERVED_TAG:
            break
        if digests:
            digest_at = start + pdu.BHS_LENGTH
            if digest_of(received, digest_at)[0] != crc(view[start:digest_at]):
                break
        following = (cmd_sn + 1) & _MASK
        loan = None
        if entry.writes:
            # All of the data has come with the command, and nothing else has (no AHS).
            data_at = start + head
            behind = data_at + length + tail
            if write is None or flags not in _WRITES:
                break
            if lengths != length:
                long = _Long(tgt_dev, quick, *found, flags, lun, itt, lengths)
                break
            if length > immediate or behind > end:
                break
            data = view[data_at : behind - tail]
            if data_digests and digest_of(received, behind - tail)[0] != crc(data):
                break
            if at + head > limit:
                tx.lay_out(at)
                chunk, room, at, limit = tx.window(head)
                stop = at + HIGH_WATER - tx.pending
            if not write(offset, data):
                break
            pack_response(
                chunk, at, _SCSI_RESPONSE, codes.FINAL, 0, 0, 0, itt, 0,
                stat_sn, following, (following + credit) & _MASK, 0, 0, 0,
            )  # fmt: skip
            answered = at + head
            start = behind
            writes.count(length, offset)
        else:
            if read is None or flags not in _READS or lengths:
                break
            loan = lend(offset, length) if length >= _LONG and not data_digests else None
            if length > segment:
                long = _Long(tgt_dev, quick, *found, flags, lun, itt, lengths, loan)
                break
            more = head if loan is not None else head + length + tail
            if at + more > limit:
                tx.lay_out(at)
                chunk, room, at, limit = tx.window(more)
                stop = at + HIGH_WATER - tx.pending
            answered = at + more
            if loan is None:
                data = room[at + head : answered - tail]
                if not read(offset, data):
                    break
                if data_digests:
                    _DIGEST.pack_into(chunk, answered - tail, crc(data))
            pack_data_in(
                chunk, at, _DATA_IN, _DATA_IN_GOOD, 0, length, pdu.NO_LUN, itt, RESERVED_TAG,
                stat_sn, following, (following + credit) & _MASK, 0, 0, 0,
            )  # fmt: skip
            start += head
            reads.count(length, offset)
        if digests:
            _DIGEST.pack_into(chunk, at + pdu.BHS_LENGTH, crc(room[at : at + pdu.BHS_LENGTH]))
        if loan is not None:
            tx.lay_out_with(answered, FilePart(loan.fd, loan.offset, length), loan.give_back)
            stop -= length
        at = answered
        stat_sn = (stat_sn + 1) & _MASK
        due = following
    rx.consume(start)
    tx.lay_out(at)
    connection.stat_sn = stat_sn
    if due != connection.exp_cmd_sn:
        connection.received_until(due)
    return long


def _begin(connection: Connection, command: _Long, immediate: int, begin: Begin) -> bool:
    """Begin a WRITE for whose data has to be asked."""
    rx, segment = connection.rx, command.segment
    if rx.data_digest or not segment < command.length or segment > immediate:
        return False
    received, view, start, end = rx.window()
    data_at = start + pdu.BHS_LENGTH + (pdu.DIGEST_LENGTH if rx.header_digest else 0)
    behind = data_at + segment + (-segment & 3)
    if behind > end:
        return False
    cdb = padded(received[start + _CDB_AT : start + pdu.BHS_LENGTH])
    taken = begin(
        command.tgt_dev,
        decoded(command.entry, command.offset, command.length, command.quick.shift, cdb),
        command.itt,
        command.lun,
        command.flags,
        view[data_at : data_at + segment],
    )
    if taken:
        rx.consume(behind)
    return taken


def _read_long(
    connection: Connection, session: Session, command: _Long, allocate: Allocate | None
) -> bool:
    """Answer a READ whose data takes several PDUs."""
    rx, loan, offset, length = connection.rx, command.loan, command.offset, command.length
    if loan is not None:
        source: Source | None = FilePart(loan.fd, loan.offset, length), loan.give_back
    else:
        source = _copy(command.quick.read, allocate, offset, length)
    if source is None:
        return False
    _, _, start, _ = rx.window()
    rx.consume(start + pdu.BHS_LENGTH + (pdu.DIGEST_LENGTH if rx.header_digest else 0))
    connection.received_until((connection.exp_cmd_sn + 1) & _MASK)
    connection.answer_read(command.itt, *source)
    session.counters.read.count(length, offset)
    return True


def _copy(read: Move | None, allocate: Allocate | None, offset: int, length: int) -> Source | None:
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
