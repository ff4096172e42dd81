"""READs and WRITEs of the fast path that a disk does: tasks without the general way.

They are recognised, nothing is in their way, and their blocks are not in memory.  What begins here
is a task like any other from then on, and can be aborted.  Those that end together, as most do, are
answered together.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.aio import DiskRequest, RequestKind
from scstfs.core import execute
from scstfs.core.command import Phase
from scstfs.core.histogram import NANO
from scstfs.core.quick import decoded
from scstfs.drivers.iscsi.iscsi_command import IscsiCommand, give_back
from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import RESERVED_TAG, PduOpcode
from scstfs.iscsi.serial import MASK
from scstfs.iscsi.task import IscsiTask
from scstfs.scsi.cdb import padded

if TYPE_CHECKING:
    from scstfs.core.buffers import Buffer
    from scstfs.core.quick import Quick
    from scstfs.core.session import TgtDev
    from scstfs.drivers.iscsi.nexus import Nexus
    from scstfs.iscsi.connection import Connection
    from scstfs.iscsi.replies import Replies
    from scstfs.scsi.cdb import ReadWrite

# Plain integers, which are passed and packed faster than members of an enumeration.
_READ: Final = int(RequestKind.READ)
_WRITE: Final = int(RequestKind.WRITE)
#: Opcode and flags of what answers a READ and a WRITE.
_DATA_IN: Final = PduOpcode.DATA_IN << 8 | codes.FINAL | codes.DATA_STATUS
_RESPONSE: Final = PduOpcode.SCSI_RESPONSE << 8 | codes.FINAL


class DiskCommand(IscsiCommand):
    """A READ or WRITE of ``length`` bytes from byte ``offset`` on."""

    __slots__ = ("length", "offset")

    def __init__(self, nexus: Nexus, task: IscsiTask, offset: int, length: int) -> None:
        super().__init__(nexus, task)
        self.offset = offset
        self.length = length

    def moved(self, error: int) -> None:
        """The disk has done it, or failed; answer it with others that end now."""
        if error:
            self.end(error)
        else:
            self.nexus.host.end_soon(self)

    def end(self, error: int = 0) -> None:
        """Answer it in the general way."""
        execute.moved(self, self.buffer.view if self.task.reads else b"", error)


def begin(
    nexus: Nexus,
    tgt_dev: TgtDev,
    quick: Quick,
    found: tuple[ReadWrite, int, int],
    data: memoryview | None,
    numbers: tuple[int, bytes, int, int],
    cdb: bytes,
) -> bool:
    """Begin a READ, or a WRITE with all its ``data``; False where it has to go the general way.

    ``found`` is what was recognised in ``cdb``, ``numbers`` are ITT, LUN, flags and CmdSN.  The
    command window is the caller's business.
    """
    entry, offset, length = found
    itt, lun, flags, cmd_sn = numbers
    connection = nexus.connection
    submit = quick.submit_read if data is None else quick.submit_write
    if connection is None or submit is None:
        return False
    tasks = connection.tasks
    if data is None and tasks.replies.reading >= tasks.replies.reading_limit:
        return False
    try:
        buffer = nexus.host.buffers.get(length)
    except OSError:
        return False
    attribute, reads = flags & codes.COMMAND_ATTRIBUTE_MASK, data is None
    task = IscsiTask(tasks, itt, lun, cdb, attribute, reads, not reads, length, cmd_sn, False)
    task.is_executing = True
    task.owner = cmd = DiskCommand(nexus, task, offset, length)
    tasks.by_tag[itt] = task
    execute.prepare_decoded(cmd, tgt_dev, decoded(entry, offset, length, quick.shift, padded(cdb)))
    memory = buffer.view
    if data is None:
        request = DiskRequest(_READ, offset, memory, cmd.moved, buffer.address)
    else:
        memory[:] = data
        request = DiskRequest(_WRITE, offset, memory, cmd.moved, buffer.address, quick.durable)
    cmd.hold(buffer, is_answer=data is None)
    execute.begin(cmd, submit, request)
    return True


def end(nexus: Nexus, ended: list[DiskCommand]) -> None:
    """Answer the commands of one session that have ended well, in their order."""
    connection, plain = nexus.connection, []
    segment = nexus.host.segment
    for cmd in ended:
        # Nothing has happened to it, or to its nexus, while the disk was at it.
        is_plain = cmd.abort is None and not cmd.ended_calls and cmd.tgt_dev.aca.faulted is None
        if is_plain and (cmd.length <= segment or not cmd.task.reads):
            plain.append(cmd)
            continue
        _end_plain(nexus, connection, plain)
        plain = []
        cmd.end()
    _end_plain(nexus, connection, plain)


def _end_plain(nexus: Nexus, connection: Connection | None, ended: list[DiskCommand]) -> None:
    if not ended:
        return
    if connection is None or connection is not nexus.connection or not connection.takes_frames:
        for cmd in ended:
            cmd.end()
        return
    _answer(connection, ended)
    nexus.mark()
    for cmd in ended:
        cmd.device.tasks.finished(cmd)


def _answer(connection: Connection, ended: list[DiskCommand]) -> None:
    """Lay out good status and data of commands that are over with this."""
    by_tag, window, replies = connection.tasks.by_tag, connection.window, connection.replies
    for cmd in ended:
        del by_tag[cmd.tag]
        del cmd.tgt_dev.commands[cmd]
        cmd.phase = Phase.DONE
        cmd.request = None
    session = ended[0].session
    session.command_count -= len(ended)
    before = window.max_cmd_sn
    window.open()
    due, max_cmd_sn, stat_sn = window.exp_cmd_sn, window.max_cmd_sn, replies.stat_sn
    # Each answer opens the window by one, as if there were no others behind it.
    left, grown = len(ended), (max_cmd_sn - before) & MASK
    reads, writes = session.counters.read, session.counters.write
    pack, tx = pdu.GOOD_STATUS.pack_into, replies.tx
    buffers: list[Buffer] = []
    now = time.monotonic()
    for cmd in ended:
        cmd.tgt_dev.times.from_disk(round((now - cmd.began) * NANO), is_read=cmd.task.reads)
        buffer, length = cmd.take_buffer(), cmd.length
        left -= 1
        told = (max_cmd_sn - min(left, grown)) & MASK
        if cmd.task.reads:
            frame = buffer.frame(pdu.BHS_LENGTH)
            pack(frame, 0, _DATA_IN, length, cmd.tag, RESERVED_TAG, stat_sn, due, told)
            tx.put_frame(frame)
            buffers.append(buffer)
            reads.count(length, cmd.offset)
        else:
            chunk, _, at, _ = tx.window(pdu.BHS_LENGTH)
            pack(chunk, at, _RESPONSE, 0, cmd.tag, 0, stat_sn, due, told)
            tx.lay_out(at + pdu.BHS_LENGTH)
            buffer.release()
            writes.count(length, cmd.offset)
        stat_sn = (stat_sn + 1) & MASK
    replies.stat_sn = stat_sn
    if buffers:
        tx.release_later(partial(_give_all_back, replies, buffers))


def _give_all_back(replies: Replies, buffers: list[Buffer]) -> None:
    for buffer in buffers:
        give_back(replies, buffer)
