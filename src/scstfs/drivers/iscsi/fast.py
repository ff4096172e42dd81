"""The fast path: READs and WRITEs that need nothing but their blocks, a whole run of them at once.

One loop takes the commands that stand at the front of what a connection has received, moves their
blocks and lays out their answers.  It stops before the first command that anybody else would have
to look at: one that is not a READ or WRITE in the ordinary form, one that a gate would look at
(``TgtDev.quick`` says so), one whose blocks are not in memory.  That one goes the general
way, for which nothing has happened to it yet.

What is looked up for every command is bound to local names, and layouts are packed and unpacked in
place: at this rate calling a method costs more than what most of them do.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

from fastcrc import crc32

from scstfs.core.buffers import MAX_POOLED
from scstfs.core.command import Command, TaskAttribute
from scstfs.core.counters import ALIGNMENT
from scstfs.core.ending import finish
from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import RESERVED_TAG, Opcode
from scstfs.iscsi.transmit import HIGH_WATER, FilePart, Referred
from scstfs.scsi.cdb import RW
from scstfs.scsi.status import Status

if TYPE_CHECKING:
    from scstfs.core.session import Session, TgtDev
    from scstfs.iscsi.connection import Connection

#: A SCSI Command up to its CDB (RFC 7143 11.3): opcode, flags, lengths, LUN, ITT, expected length,
#: CmdSN.
_COMMAND: Final = Struct(">BBxxI8sIII").unpack_from
_CDB_AT: Final = 32
_DIGEST: Final = Struct("<I")
_MASK: Final = 0xFFFFFFFF
_UNALIGNED: Final = ALIGNMENT - 1

#: From this size on (bytes) it is worth sending from the page cache what is in it.
_LONG: Final = 128 * 1024

#: F, R, W and the task attribute of a command that is taken: SIMPLE or untagged.
_READS: Final = frozenset(codes.FINAL | codes.COMMAND_READ | attribute for attribute in (0, 1))
_WRITES: Final = frozenset(codes.FINAL | codes.COMMAND_WRITE | attribute for attribute in (0, 1))
_DATA_IN_GOOD: Final = codes.FINAL | codes.DATA_STATUS
# Plain integers, which are compared and packed faster than members of an enumeration.
_SCSI_COMMAND: Final = int(Opcode.SCSI_COMMAND)
_SCSI_RESPONSE: Final = int(Opcode.SCSI_RESPONSE)
_DATA_IN: Final = int(Opcode.DATA_IN)


Allocate: TypeAlias = Callable[[int], tuple[memoryview, Callable[[], None]]]
"""``length -> (memory, what gives it back)``; raises MemoryError."""

Source: TypeAlias = tuple[Referred, Callable[[], None]]
"""Where data is sent from, and what to call when it has been sent."""

Begin: TypeAlias = "Callable[[TgtDev, int, bytes, bytes, int, memoryview], bool]"
"""``(nexus, ITT, LUN, CDB, flags, data) -> begun``: a WRITE of which only ``data`` has come."""


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
    rx, tx = connection.rx, connection.tx
    received, view, start, end = rx.window()
    digests, data_digests = rx.header_digest, rx.data_digest
    head = pdu.BHS_LENGTH + (pdu.DIGEST_LENGTH if digests else 0)
    tail = pdu.DIGEST_LENGTH if data_digests else 0
    if end - start < head or not _may_be_fast(received, start):
        return
    chunk, room, at, limit = tx.window(head)
    # Where the answers have to stop, so that what waits to be sent stays bounded.
    stop = at + HIGH_WATER - tx.pending
    due, stat_sn, credit = connection.exp_cmd_sn, connection.stat_sn, connection.credit
    crc, digest_of = crc32.iscsi, _DIGEST.unpack_from
    reads, writes = session.counters.read, session.counters.write
    tasks = connection.tasks
    # The LUN that was looked up last.  Nothing but this loop runs meanwhile: no gate closes.
    known = b""
    pack_data_in, pack_response = pdu.DATA_IN.pack_into, pdu.SCSI_RESPONSE.pack_into
    while at < stop and end - start >= head:
        opcode, flags, lengths, lun, itt, expected, cmd_sn = _COMMAND(received, start)
        entry = RW.get(received[start + _CDB_AT])
        if opcode != _SCSI_COMMAND or entry is None or cmd_sn != due or itt in tasks:
            break
        if lun != known:
            found = session.find(lun)
            if found is None or not found.has_room:
                break
            tgt_dev = found
            (read, write), device = tgt_dev.quick, tgt_dev.device
            lend, shift, known = device.lend, device.block_shift, lun
        byte1, lba, blocks, control = entry.unpack(received, start + _CDB_AT)
        if byte1 & entry.protect_mask or control:
            break
        if entry.zero_blocks:
            lba |= (byte1 & entry.lba_mask) << 16
            blocks = blocks or entry.zero_blocks
        length = blocks << shift
        if length != expected or not length or itt == RESERVED_TAG:
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
            if write is None or byte1 & entry.fua_mask or flags not in _WRITES:
                break
            if lengths < length and begin is not None and not data_digests:
                # There is more, which has to be asked for.
                behind = data_at + lengths + (-lengths & 3)
                if behind > end or lengths > immediate:
                    break
                tx.lay_out(at)
                connection.stat_sn = stat_sn
                connection.received_until(due)
                cdb = bytes(received[start + _CDB_AT : start + pdu.BHS_LENGTH])
                if not begin(tgt_dev, itt, lun, cdb, flags, view[data_at : data_at + lengths]):
                    break
                start, due, stat_sn = behind, following, connection.stat_sn
                chunk, room, at, limit = tx.window(head)
                stop = at + HIGH_WATER - tx.pending
                if not connection.is_plain:
                    break
                # It counts towards what the LUN takes.
                known = b""
                credit = connection.credit
                continue
            if lengths != length or length > immediate or behind > end:
                break
            data = view[data_at : behind - tail]
            if data_digests and digest_of(received, behind - tail)[0] != crc(data):
                break
            if at + head > limit:
                tx.lay_out(at)
                chunk, room, at, limit = tx.window(head)
                stop = at + HIGH_WATER - tx.pending
            if not write(lba, blocks, data):
                break
            pack_response(
                chunk, at, _SCSI_RESPONSE, codes.FINAL, 0, 0, 0, itt, 0,
                stat_sn, following, (following + credit) & _MASK, 0, 0, 0,
            )  # fmt: skip
            answered = at + head
            start = behind
            counter = writes
        else:
            # What is longer keeps everybody waiting, and may be more than the device takes.
            if read is None or flags not in _READS or lengths or length > MAX_POOLED:
                break
            loan = lend(lba, blocks) if length >= _LONG and not data_digests else None
            if length > segment:
                # More than one PDU.
                if loan is not None:
                    source: Source | None = FilePart(loan.fd, loan.offset, length), loan.give_back
                else:
                    source = _copy(read, allocate, lba, blocks, length)
                if source is None:
                    break
                tx.lay_out(at)
                connection.stat_sn = stat_sn
                connection.received_until(following)
                connection.answer_read(itt, *source)
                reads.count(length, lba << shift)
                start += head
                stat_sn, due = connection.stat_sn, following
                chunk, room, at, limit = tx.window(head)
                stop = at + HIGH_WATER - tx.pending
                continue
            size = head if loan is not None else head + length + tail
            if at + size > limit:
                tx.lay_out(at)
                chunk, room, at, limit = tx.window(size)
                stop = at + HIGH_WATER - tx.pending
            if loan is None:
                data = room[at + head : at + head + length]
                if not read(lba, blocks, data):
                    break
                if data_digests:
                    _DIGEST.pack_into(chunk, at + size - tail, crc(data))
            pack_data_in(
                chunk, at, _DATA_IN, _DATA_IN_GOOD, 0, length, pdu.NO_LUN, itt, RESERVED_TAG,
                stat_sn, following, (following + credit) & _MASK, 0, 0, 0,
            )  # fmt: skip
            answered = at + size
            start += head
            counter = reads
        if digests:
            _DIGEST.pack_into(chunk, at + pdu.BHS_LENGTH, crc(room[at : at + pdu.BHS_LENGTH]))
        if (lba << shift | length) & _UNALIGNED:
            counter.unaligned += 1
        counter.cmds += 1
        counter.io_bytes += length
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


def _copy(
    read: Callable[[int, int, memoryview], bool],
    allocate: Allocate | None,
    lba: int,
    blocks: int,
    length: int,
) -> Source | None:
    """Read what takes several PDUs into memory of its own, if that needs no waiting."""
    if allocate is None:
        return None
    try:
        memory, release = allocate(length)
    except MemoryError:
        return None
    if read(lba, blocks, memory):
        return memory, release
    release()
    return None


def _may_be_fast(received: bytearray, start: int) -> bool:
    """Tell at a glance whether it is worth beginning a run at all."""
    return received[start] == _SCSI_COMMAND and received[start + _CDB_AT] in RW


def complete(cmd: Command) -> bool:
    """End a WRITE whose data has come in pieces, if no gate would look at it; else do nothing.

    ``cmd`` is prepared and has its data.
    """
    decoded = cmd.decoded
    if decoded is None or cmd.is_over or cmd.attribute is not TaskAttribute.SIMPLE:
        return False
    entry, write = RW.get(cmd.cdb[0]), cmd.tgt_dev.quick.write
    if write is None or entry is None or not entry.writes or cmd.cdb[1] & entry.fua_mask:
        return False
    length, lba = decoded.length, decoded.lba
    if lba is None or not length or length != decoded.data_length or length != len(cmd.data):
        return False
    if not write(lba, length >> cmd.device.block_shift, memoryview(cmd.data)):
        return False
    finish(cmd, Status.GOOD)
    return True
