"""A normal session: a core session on one side, an iSCSI connection on the other (RFC 7143 4.3).

It is the connection's host (``scstfs.iscsi.host.Host``) and the core session's transport.  A
session has one connection at a time; it can get another one by connection reinstatement, and its
place can be taken by another session (session reinstatement).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core import execute, sessions, tasks
from scstfs.core.buffers import Buffer
from scstfs.core.ending import finish
from scstfs.core.session import SessionState
from scstfs.drivers.iscsi import fast, management
from scstfs.drivers.iscsi.command import IscsiCommand
from scstfs.drivers.iscsi.views import LiveConnection, shown
from scstfs.iscsi import codes
from scstfs.iscsi.codes import AsyncEvent
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.discovery import answer_text
from scstfs.iscsi.negotiate import Negotiation, SessionParameters
from scstfs.iscsi.task import ManagementFunction, Task
from scstfs.iscsi.transfer import TaskFault, Transfer
from scstfs.iscsi.transmit import CHUNK_DATA
from scstfs.iscsi.watchdog import Limits
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition, Sense, SenseKey
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from scstfs.core.session import TgtDev
    from scstfs.drivers.iscsi.config import ConnectionView, IscsiTarget
    from scstfs.drivers.iscsi.server import Server
    from scstfs.drivers.iscsi.wire import Wire
    from scstfs.iscsi.admission import LoginResult
    from scstfs.iscsi.replies import Replies
    from scstfs.scsi.cdb import Decoded

log = logging.getLogger(__name__)

#: Bytes of a parameter list, or of data of any other kind, that a command may bring.
_LONGEST_DATA_OUT: Final = 64 << 20

_FAULTS: Final = {
    fault: Sense(SenseKey(fault.value[0]), *fault.value[1:]) for fault in TaskFault if fault.value
}


class Nexus:
    """One session of one initiator with one target."""

    def __init__(
        self, server: Server, login: LoginResult[IscsiTarget], tsih: int, wire: Wire
    ) -> None:
        """``login`` is one that found a target."""
        assert login.target is not None
        self.server = server
        self.target = target = login.target
        self.initiator = login.initiator
        self.isid = login.isid
        self.tsih = tsih
        self.connection: Connection | None = None
        self._exp_cmd_sn = login.exp_cmd_sn
        #: The connection as the tree shows it, while there is one.
        self._view: LiveConnection | None = None
        #: The session that takes this one's place as soon as this one has ended, and the one
        #: whose place this one takes.
        self._successor: Nexus | None = None
        self._predecessor: Nexus | None = None
        self.adopt(login, wire)
        name = server.access_name(target, login.initiator, wire)
        port = TransportId.iscsi(login.initiator, login.isid)
        self.core = sessions.open_session(target, name, self, port, is_ready=False)
        self.core.transport_level = login.parameters.protocol_level

    def __str__(self) -> str:
        """What the log says of it."""
        return str(self.core)

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return self.core.log_fields

    def _trace(self, event: str, *details: object) -> None:
        """Trace what happens to the connection."""
        self.target.iscsi_driver.trace.event("conn", f"%s {event}", self, *details)

    # Life

    def adopt(self, login: LoginResult[IscsiTarget], wire: Wire) -> None:
        """Take over what a login agreed on and the wire it came by."""
        self.wire = wire
        self.cid = login.cid
        #: Who has authenticated, if anybody had to.
        self.user = login.user
        self._set_parameters(login.parameters)

    def _set_parameters(self, parameters: SessionParameters) -> None:
        self.parameters = parameters
        #: Data that fits into one Data-In PDU and is worth copying into the send buffer (bytes).
        self._segment = min(
            parameters.max_xmit_data_segment_length, parameters.max_burst_length, CHUNK_DATA
        )
        #: Data that may come with a command (bytes).
        immediate = min(parameters.first_burst_length, parameters.max_recv_data_segment_length)
        self._immediate = immediate if parameters.immediate_data else 0

    @property
    def is_open(self) -> bool:
        """The session has not begun to end."""
        return self.core.is_open

    @property
    def sid(self) -> int:
        """The session identifier: ISID and TSIH as one number."""
        return int.from_bytes(self.isid + self.tsih.to_bytes(2, "little"), "little")

    @property
    def thread_ids(self) -> str:
        """The thread that serves the connection: the event loop's, as for all."""
        return str(threading.get_native_id())

    @property
    def connections(self) -> Mapping[str, ConnectionView]:
        """The connection under the initiator's address, unless it is gone."""
        if self._view is None:
            return {}
        return {shown(self.wire.peer.address): self._view}

    @property
    def queue_depth(self) -> int:
        """The command window (``QueuedCommands``)."""
        return self.target.parameters["QueuedCommands"]

    @property
    def limits(self) -> Limits:
        """What the initiator is given time for."""
        parameters = self.target.parameters
        return Limits(
            nop_in_interval=parameters["NopInInterval"],
            nop_in_timeout=parameters["NopInTimeout"],
            rsp_timeout=parameters["RspTimeout"],
        )

    @property
    def exp_cmd_sn(self) -> int:
        """The CmdSN that is due."""
        return self._exp_cmd_sn if self.connection is None else self.connection.window.exp_cmd_sn

    def start(self, connection: Connection) -> None:
        """Full-feature phase begins."""
        self.connection = connection
        self._view = LiveConnection(self)
        self._trace("has connection %d from %s", self.cid, self.wire.peer)
        self.core.state = SessionState.READY

    def connection_ended(self, wire: Wire) -> None:
        """The connection over ``wire`` is gone, and with it the session if it has no other."""
        if self.wire is wire:
            self.end()

    def end(self) -> None:
        """End the session: abort what it has under way, then give everything back."""
        if not self.is_open:
            return
        self._drop_connection("the session ends")
        sessions.close_session(self.core, self._ended)

    def _ended(self) -> None:
        self.core.transport = _NOBODY
        self.server.forget(self)
        successor, self._successor = self._successor, None
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is not None:
            # This session has never begun; whoever follows waits for the one before it.
            predecessor._successor = successor
        if successor is not None:
            successor._predecessor = predecessor
            if predecessor is None:
                successor.go_on()

    def replace_with(self, successor: Nexus) -> None:
        """Session reinstatement (RFC 7143 6.3.5): end, and let ``successor`` begin after that."""
        successor.core.reinstating = True
        for tgt_dev in successor.core.tgt_devs.values():
            tgt_dev.unit_attentions.discard(sense.RESET)
            tgt_dev.queue_unit_attention(sense.NEXUS_LOSS, at_head=True)
        self._successor = successor
        successor._predecessor = self
        self.end()

    def reconnect(self, login: LoginResult[IscsiTarget], wire: Wire) -> None:
        """Connection reinstatement (RFC 7143 6.3.4): the old connection's tasks are aborted."""
        self._drop_connection("connection reinstatement")
        for tgt_dev in self.core.tgt_devs.values():
            if tgt_dev.commands:
                tgt_dev.queue_unit_attention(sense.CLEARED_BY_TRANSPORT)
        was_reinstating, self.core.reinstating = self.core.reinstating, True
        self.adopt(login, wire)
        tasks.nexus_loss(self.core, self._nothing if was_reinstating else self.go_on)

    @staticmethod
    def _nothing() -> None:
        """The session that this one follows decides when it goes on."""

    def go_on(self) -> None:
        """Everything that had to end before this session could begin has ended."""
        self._predecessor = None
        self.core.reinstating = False
        postponed, self.core.postponed = self.core.postponed, []
        for cmd in postponed:
            execute.run(cmd)

    def _drop_connection(self, why: str) -> None:
        self.wire.close(why)
        if self.connection is not None:
            self._trace("loses connection %d: %s", self.cid, self.wire.reason or why)
            self._exp_cmd_sn = self.connection.window.exp_cmd_sn
            self.connection.drop()
            self.connection = self._view = None

    def disconnect(self, why: str) -> None:
        """Close the connection from this side, without a word as SCST does."""
        self.wire.close(why)

    def announce(self, event: AsyncEvent, seconds: int = 0) -> None:
        """Tell the initiator of the end that is near (RFC 7143 11.9.1).

        ``seconds`` is Parameter3: how long it has for logging out.
        """
        if self.connection is not None:
            self.connection.replies.async_message(event, parameters=(0, 0, seconds))
            self.mark()

    def mark(self) -> None:
        """Something is to be sent."""
        self.wire.flusher.mark(self.wire)

    # Transport of the core session

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """Send an asynchronous event (RFC 7143 11.9.1, event 0)."""
        connection = self.connection
        if connection is None or connection.closing:
            return False
        connection.replies.async_message(AsyncEvent.SCSI, lun=lun, sense=sense_data)
        self.mark()
        return True

    def close(self) -> None:
        """``force_close``."""
        self.disconnect("force_close")

    # Commands

    def fast(self, connection: Connection) -> None:
        """READ and WRITE that no gate has to look at and that need not wait."""
        fast.answer(
            connection, self.core, self._segment, self._immediate, self._begin_write, self.allocate
        )

    def _begin_write(
        self, tgt_dev: TgtDev, decoded: Decoded, itt: int, lun: bytes, flags: int, data: memoryview
    ) -> bool:
        """Begin a WRITE of which only ``data`` has come, and ask for the rest."""
        connection, length = self.connection, decoded.length
        if connection is None:
            return False
        task = Task(
            connection.tasks,
            itt=itt,
            lun=lun,
            cdb=decoded.cdb,
            attribute=flags & codes.COMMAND_ATTRIBUTE_MASK,
            reads=False,
            writes=True,
            expected=length,
            cmd_sn=connection.window.exp_cmd_sn,
            immediate=False,
        )
        try:
            memory, release = self.allocate(length)
        except MemoryError:
            return False
        task.owner = cmd = IscsiCommand(self, task)
        execute.prepare_decoded(cmd, tgt_dev, decoded)
        transfer = Transfer(
            first_burst=min(self.parameters.first_burst_length, length),
            unsolicited=False,
            in_order=bool(self.parameters.data_pdu_in_order),
        )
        transfer.open(memory, release)
        connection.tasks.solicit(task, transfer, data)
        return True

    def command(self, task: Task) -> int:
        """Begin a command; returns how many bytes of write data it needs."""
        cmd = IscsiCommand(self, task)
        task.owner = cmd
        execute.prepare(cmd)
        if cmd.data_out_length > _LONGEST_DATA_OUT:
            finish(cmd, Status.CHECK_CONDITION, CheckCondition(sense.INVALID_FIELD_IN_CDB))
        return cmd.data_out_length

    def data_complete(self, task: Task) -> None:
        """Execute a command whose write data is there."""
        cmd = self._command_of(task)
        if task.transfer is not None:
            cmd.data = task.transfer.buffer
        execute.run(cmd)

    def refuse(self, task: Task, fault: TaskFault) -> None:
        """End a command whose write data is not what it should be."""
        if task.owner is None:
            self.command(task)
        condition = _FAULTS.get(fault)
        if condition is None:
            finish(self._command_of(task), Status.BUSY)
        else:
            finish(self._command_of(task), Status.CHECK_CONDITION, CheckCondition(condition))

    @staticmethod
    def _command_of(task: Task) -> IscsiCommand:
        assert isinstance(task.owner, IscsiCommand)
        return task.owner

    def allocate(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        """Pooled memory for write data; raises MemoryError."""
        try:
            buffer = self.server.scst.env.buffers.get(size)
        except OSError as error:
            raise MemoryError from error
        return buffer.view, buffer.release

    def take_buffer(self, replies: Replies, size: int) -> Buffer:
        """Pooled memory for read data, counted until it has been sent."""
        replies.reading += size
        return self.server.scst.env.buffers.get(size)

    # Task management

    def task_management(self, function: ManagementFunction) -> None:
        """Perform a task management function; it is answered when its effect is complete."""
        if self.connection is not None:
            management.perform(self, self.connection.functions, function)

    # Everything else

    def negotiate(self) -> _TextNegotiation:
        """SendTargets and negotiation in full-feature phase."""
        return _TextNegotiation(self)

    def agree(self, parameters: SessionParameters) -> None:
        """Parameters were negotiated in full-feature phase."""
        self._set_parameters(parameters)
        if self.connection is not None:
            self.connection.agree(parameters)

    def logout(self) -> None:
        """The connection is closed when the answer has been sent, and the session with it."""


class _Nobody:
    """The transport of a session that has ended: without a cycle its memory is free at once."""

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """See ``scstfs.core.session.Transport``."""
        return False

    def close(self) -> None:
        """See ``scstfs.core.session.Transport``."""


_NOBODY: Final = _Nobody()


class _TextNegotiation:
    """See ``scstfs.iscsi.host.TextNegotiation``."""

    def __init__(self, nexus: Nexus) -> None:
        self._nexus = nexus
        self._negotiation = Negotiation(nexus.target.parameters, agreed=nexus.parameters)

    def answer(self, text: bytes) -> bytes:
        """See TextNegotiation."""
        nexus = self._nexus
        discover = partial(nexus.server.discover, nexus.wire, nexus.initiator)
        return answer_text(text, self._negotiation, nexus.target.name, discover)

    def conclude(self) -> None:
        """See TextNegotiation."""
        self._nexus.agree(self._negotiation.result())
