"""The SCSI tasks of a connection, from the command to the end (RFC 7143 11.3, 11.4, 11.7)."""

from __future__ import annotations

from collections.abc import Callable

from scstfs.iscsi import ahs as additional
from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import FINAL, IMMEDIATE, IscsiTaskAttribute, PduOpcode
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.host import Host
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.replies import Replies
from scstfs.iscsi.requests import Rejected, Request
from scstfs.iscsi.task import IscsiTask, Reply
from scstfs.iscsi.transfer import TaskFault, Transfer
from scstfs.iscsi.unanswered import Unanswered
from scstfs.iscsi.window import Window
from scstfs.iscsi.write_data import WriteData


class TaskTable:
    """The tasks that have not ended: their beginning, write data and end."""

    __slots__ = ("_host", "_window", "_write_data", "by_tag", "parameters", "replies", "unanswered")

    def __init__(
        self,
        by_tag: dict[int, IscsiTask],
        host: Host,
        parameters: SessionParameters,
        window: Window,
        replies: Replies,
        write_data: WriteData,
    ) -> None:
        """``by_tag`` is where the tasks are kept, by Initiator Task Tag."""
        self.by_tag = by_tag
        self.unanswered = Unanswered()
        self.parameters = parameters
        self.replies = replies
        self._host = host
        self._window = window
        self._write_data = write_data

    # Their beginning

    def command(self, request: Request) -> None:
        """Begin a SCSI command (RFC 7143 11.3); raises Rejected and ProtocolError."""
        header, at, ahs, data, _ = request
        opcode, flags, _, lun, itt, expected, cmd_sn, _, cdb = pdu.SCSI_COMMAND.unpack_from(
            header, at
        )
        parameters = self.parameters
        _check_format(flags, len(data), parameters.first_burst_length)
        is_immediate = bool(opcode & IMMEDIATE)
        self._window.check_tag(itt, self.by_tag, is_immediate=is_immediate)
        attribute = flags & codes.COMMAND_ATTRIBUTE_MASK
        if attribute > IscsiTaskAttribute.ACA:
            raise Rejected(RejectReason.PROTOCOL_ERROR, f"task attribute {attribute}")
        if ahs:
            cdb += _extended_cdb(ahs)
        writes = bool(flags & codes.COMMAND_WRITE)
        task = IscsiTask(
            self,
            itt=itt,
            lun=lun,
            cdb=cdb,
            attribute=attribute,
            reads=bool(flags & codes.COMMAND_READ),
            writes=writes,
            expected=expected,
            cmd_sn=cmd_sn,
            immediate=is_immediate,
        )
        self.by_tag[itt] = task
        self.unanswered.begins(task)
        if writes:
            task.transfer = Transfer(
                first_burst=min(parameters.first_burst_length, expected),
                unsolicited=not flags & FINAL,
                in_order=bool(parameters.data_pdu_in_order),
            )
        self._window.accept(is_immediate=is_immediate)
        fault = self._fault_of(request, flags, expected)
        if fault is None:
            self._begin(task, data)
        else:
            self._host.refuse(task, fault)

    def _fault_of(self, request: Request, flags: int, expected: int) -> TaskFault | None:
        """The fault of the data that came with a command or is announced; None if there is none."""
        parameters, data = self.parameters, request.data
        announced = parameters.initial_r2t and not flags & FINAL
        if announced or (data and not (parameters.immediate_data and flags & codes.COMMAND_WRITE)):
            return TaskFault.UNEXPECTED_UNSOLICITED_DATA
        if len(data) > expected:
            return TaskFault.INCORRECT_AMOUNT_OF_DATA
        if not request.intact:
            # The command itself is good.  If it ends, the initiator can repeat it at once; dropping
            # it as in RFC 7143 7.8 would leave a gap that only a timeout closes.
            self.replies.reject(RejectReason.DATA_DIGEST_ERROR, request.header, request.at)
            return TaskFault.PROTOCOL_SERVICE_CRC_ERROR
        return None

    def _begin(self, task: IscsiTask, data: memoryview) -> None:
        host = self._host
        needed = min(host.command(task), task.expected)
        transfer = task.transfer
        if not self._is_open(task):
            return
        if transfer is None:
            task.is_executing = True
            host.data_complete(task)
            return
        if needed:
            try:
                memory, release = host.allocate(needed)
            except MemoryError:
                host.refuse(task, TaskFault.NO_MEMORY)
                return
            transfer.open(memory, release)
        transfer.put_immediate(data)
        self._write_data.go_on(task, transfer)

    def solicit(self, task: IscsiTask, transfer: Transfer, data: memoryview) -> None:
        """Continue a WRITE that the host began on the fast path; ``data`` came with the command.

        ``transfer`` has its memory, and needs more data than that.
        """
        task.transfer = transfer
        self.by_tag[task.itt] = task
        self._window.accept(is_immediate=False)
        transfer.put_immediate(data)
        self._write_data.go_on(task, transfer)

    def _is_open(self, task: IscsiTask) -> bool:
        """Return whether the task has not been ended."""
        return self.by_tag.get(task.itt) is task and task.postponed is None

    # Their write data

    def place(self, header: bytearray, at: int, length: int) -> memoryview | None:
        """The final memory of a data segment that begins to arrive; called by the receiver."""
        if header[at] & codes.OPCODE_MASK != PduOpcode.DATA_OUT:
            return None
        data = pdu.unpack_data_out(header, at)
        task = self.by_tag.get(data.itt)
        if task is None or task.transfer is None:
            return None
        return self._write_data.place(task.transfer, data, length)

    def data_out(self, request: Request) -> None:
        """Take a Data-Out PDU (RFC 7143 11.7); raises Rejected."""
        write_data = self._write_data
        write_data.received_total += len(request.data)
        filled = write_data.placed()
        received = pdu.unpack_data_out(request.header, request.at)
        task = self.by_tag.get(received.itt)
        if task is None:
            self._window.keep_data(request)
            return
        write_data.receive(task, received, request, filled)
        if received.flags & FINAL:
            self._go_on(task)

    def _go_on(self, task: IscsiTask) -> None:
        """A sequence of data has ended."""
        transfer = task.transfer
        if task.postponed is not None:
            if not task.awaits_data:
                self._send_postponed(task, task.postponed)
        elif transfer is not None and self._is_open(task):
            self._write_data.go_on(task, transfer)

    def resume(self, task: IscsiTask) -> None:
        """Ask for data again: the command is not aborted after all."""
        if task.transfer is not None:
            task.transfer.resume()
            if self._is_open(task):
                self._write_data.go_on(task, task.transfer)

    # Their end

    def answer(
        self,
        task: IscsiTask,
        status: int,
        *,
        sense: bytes = b"",
        data: memoryview | None = None,
        release: Callable[[], None] | None = None,
        residual: int = 0,
    ) -> None:
        """End ``task``; the arguments are those of ``scstfs.iscsi.task.Reply``."""
        reply = Reply(status, sense, data, release, residual)
        if self.replies.closing:
            reply.drop()
            self.forget(task)
        elif task.awaits_data:
            # The reply follows the last data (RFC 7143 11.4.2), whatever its contents.
            task.postponed = reply
            self._write_data.release(task)
        else:
            self.forget(task)
            self.replies.send(task, reply)

    def end_silently(self, task: IscsiTask) -> None:
        """End ``task`` without any reply: it was aborted."""
        before = self._window.max_cmd_sn
        self.unanswered.add(task)
        self.forget(task)
        if self._window.max_cmd_sn != before:
            self.replies.announce_window()

    def forget(self, task: IscsiTask) -> None:
        """Release the resources of a task that is over."""
        if self.by_tag.get(task.itt) is task:
            del self.by_tag[task.itt]
            self._window.open()
        self._write_data.release(task)
        postponed, task.postponed = task.postponed, None
        if postponed is not None:
            postponed.drop()

    def _send_postponed(self, task: IscsiTask, reply: Reply) -> None:
        """Send the reply to ``task``, whose data has arrived."""
        task.postponed = None
        self.forget(task)
        self.replies.send(task, reply)

    def drop(self) -> None:
        """The connection is gone.

        The host ends its tasks; their memory is released then, because it may be in use until then.
        """
        self._write_data.placed()
        for task in list(self.by_tag.values()):
            if task.postponed is not None:
                self.forget(task)


def _check_format(flags: int, length: int, first_burst: int) -> None:
    """Format errors of a command with ``length`` bytes of data end the connection (7.7)."""
    if length > first_burst:
        raise ProtocolError("more immediate data than FirstBurstLength allows")
    if not flags & (FINAL | codes.COMMAND_WRITE):
        raise ProtocolError("unsolicited data is announced for a command that writes nothing")


def _extended_cdb(ahs: bytes) -> bytes:
    try:
        return additional.decode(ahs).extended_cdb
    except ProtocolError as fault:
        raise Rejected(fault.reason, fault.why) from fault
