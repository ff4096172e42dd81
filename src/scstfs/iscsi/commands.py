"""SCSI commands of a connection and the write data that comes for them (RFC 7143 11.3, 11.7).

This is the part between the answers (``scstfs.iscsi.answers``) and the connection, which puts
requests in order.
"""

from __future__ import annotations

import logging
from typing import Final

from scstfs.iscsi import ahs as additional
from scstfs.iscsi import codes, pdu
from scstfs.iscsi.answers import Answers
from scstfs.iscsi.codes import FINAL, IMMEDIATE, RESERVED_TAG, Opcode, TaskAttribute
from scstfs.iscsi.credit import Credit
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.host import Host
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.requests import Rejected, Request
from scstfs.iscsi.serial import add
from scstfs.iscsi.task import Task
from scstfs.iscsi.transfer import DataFault, TaskFault, Transfer
from scstfs.iscsi.transmit import Transmitter

log = logging.getLogger(__name__)

#: Immediate requests of a kind (commands, task management) under way beyond QueuedCommands; more
#: are rejected.  They are counted apart so that neither kind is ever shut out by the other
#: (RFC 7143 4.2.2.1).
_MOST_IMMEDIATE: Final = 8


class Commands(Answers):
    """SCSI commands and their data."""

    def __init__(
        self,
        host: Host,
        parameters: SessionParameters,
        tx: Transmitter,
        *,
        cmd_sn: int,
        stat_sn: int,
        queue_depth: int,
        max_cmd_sn: int | None = None,
    ) -> None:
        """See Answers."""
        super().__init__(
            parameters,
            tx,
            cmd_sn=cmd_sn,
            stat_sn=stat_sn,
            queue_depth=queue_depth,
            max_cmd_sn=max_cmd_sn,
        )
        self.host = host
        #: Bytes of write data that have come in Data-Out PDUs.
        self.data_received = 0
        self._next_ttt = 0
        self._filling: Transfer | None = None
        self._writing = Credit(_solicited_limit(parameters, queue_depth))

    # For the connection

    def _accept(self) -> None:
        """The request being handled is a good one, and counts as received."""
        raise NotImplementedError

    def _is_tag_in_use(self, itt: int) -> bool:
        return itt in self.tasks

    def _keep_data(self, request: Request) -> None:
        """Data has come for no task that is known."""

    def set_queue_depth(self, depth: int) -> None:
        """See Answers."""
        self._writing.limit = _solicited_limit(self.parameters, depth)
        super().set_queue_depth(depth)

    # Commands

    def command(self, request: Request) -> None:
        """Begin a SCSI command (RFC 7143 11.3)."""
        header, at, ahs, data, _ = request
        opcode, flags, _, lun, itt, expected, cmd_sn, _, cdb = pdu.SCSI_COMMAND.unpack_from(
            header, at
        )
        self._check_format(flags, data)
        self.check_tag(itt, len(self.tasks), is_immediate=bool(opcode & IMMEDIATE))
        attribute = flags & codes.COMMAND_ATTRIBUTE_MASK
        if attribute > TaskAttribute.ACA:
            raise Rejected(RejectReason.PROTOCOL_ERROR, f"task attribute {attribute}")
        if ahs:
            cdb += _extended_cdb(ahs)
        writes = bool(flags & codes.COMMAND_WRITE)
        task = Task(
            self,
            itt=itt,
            lun=lun,
            cdb=cdb,
            attribute=attribute,
            reads=bool(flags & codes.COMMAND_READ),
            writes=writes,
            expected=expected,
            cmd_sn=cmd_sn,
            immediate=bool(opcode & IMMEDIATE),
        )
        self.tasks[itt] = task
        self.unanswered.begins(task)
        if writes:
            task.transfer = Transfer(
                first_burst=min(self.parameters.first_burst_length, expected),
                unsolicited=not flags & FINAL,
                in_order=bool(self.parameters.data_pdu_in_order),
            )
        self._accept()
        fault = self._fault_of(request, flags, expected)
        if fault is None:
            self._begin(task, data)
        else:
            self.host.refuse(task, fault)

    def _check_format(self, flags: int, data: memoryview) -> None:
        """Format errors end the connection (RFC 7143 7.7)."""
        if len(data) > self.parameters.first_burst_length:
            raise ProtocolError("more immediate data than FirstBurstLength allows")
        if not flags & (FINAL | codes.COMMAND_WRITE):
            raise ProtocolError("unsolicited data is announced for a command that writes nothing")

    def check_tag(self, itt: int, under_way: int, *, is_immediate: bool) -> None:
        """Refuse a new task whose tag is in use, or one more immediate one than is bearable.

        ``under_way`` is how many of its kind have not been answered.
        """
        if itt == RESERVED_TAG:
            raise Rejected(RejectReason.INVALID_PDU_FIELD, "the reserved task tag")
        if self._is_tag_in_use(itt):
            raise Rejected(RejectReason.TASK_IN_PROGRESS, f"task tag {itt:08x} is in use")
        if is_immediate and under_way >= self.queue_depth + _MOST_IMMEDIATE:
            raise Rejected(RejectReason.IMMEDIATE_COMMAND_REJECT, "too many immediate requests")

    def _fault_of(self, request: Request, flags: int, expected: int) -> TaskFault | None:
        """What is wrong with the data that came with a command, or is announced."""
        parameters, data = self.parameters, request.data
        announced = parameters.initial_r2t and not flags & FINAL
        if announced or (data and not (parameters.immediate_data and flags & codes.COMMAND_WRITE)):
            return TaskFault.UNEXPECTED_UNSOLICITED_DATA
        if len(data) > expected:
            return TaskFault.INCORRECT_AMOUNT_OF_DATA
        if not request.intact:
            # The command itself is good.  Ending it lets the initiator repeat it at once; dropping
            # it as RFC 7143 7.8 has it would leave a gap that only a timeout closes.
            self.reject(RejectReason.DATA_DIGEST_ERROR, request.header, request.at)
            return TaskFault.PROTOCOL_SERVICE_CRC_ERROR
        return None

    def _begin(self, task: Task, data: memoryview) -> None:
        needed = min(self.host.command(task), task.expected)
        transfer = task.transfer
        if not self._is_open(task):
            return
        if transfer is None:
            task.is_executing = True
            self.host.data_complete(task)
            return
        if needed:
            try:
                memory, release = self.host.allocate(needed)
            except MemoryError:
                self.host.refuse(task, TaskFault.NO_MEMORY)
                return
            transfer.open(memory, release)
        transfer.put_immediate(data)
        self._go_on(task, transfer)

    def solicit(self, task: Task, transfer: Transfer, data: memoryview) -> None:
        """Go on with a WRITE that the host began by itself; ``data`` came with the command.

        ``transfer`` has its memory, and needs more data than that.
        """
        task.transfer = transfer
        self.tasks[task.itt] = task
        self.exp_cmd_sn = add(task.cmd_sn)
        self.open_window()
        transfer.put_immediate(data)
        self._go_on(task, transfer)

    def _is_open(self, task: Task) -> bool:
        """The task has not been ended."""
        return self.tasks.get(task.itt) is task and task.postponed is None

    # Write data

    def _go_on(self, task: Task, transfer: Transfer) -> None:
        """Ask for more data, or give the command to the host when there is all."""
        if transfer.is_complete:
            task.is_executing = True
            self.host.data_complete(task)
        elif transfer.can_solicit and self._writing.grant(
            task, transfer.total - self.parameters.first_burst_length
        ):
            limit = self.parameters.max_outstanding_r2t
            while transfer.can_solicit and transfer.outstanding < limit:
                self._request_data(task, transfer)

    def _request_data(self, task: Task, transfer: Transfer) -> None:
        ttt = self.take_ttt()
        r2t_sn = transfer.next_r2t_sn
        sequence = transfer.solicit(ttt, self.parameters.max_burst_length)
        self.send_r2t(task, ttt, r2t_sn, sequence.offset, sequence.length)

    def _needs_no_data(self, task: Task) -> None:
        super()._needs_no_data(task)
        self._writing.give_back(task)
        if not self.closing:
            for other in self._writing.waiting:
                if other.transfer is not None:
                    self._go_on(other, other.transfer)

    def place(self, header: bytearray, at: int, length: int) -> memoryview | None:
        """Where the data segment that begins to arrive belongs; the receiver asks."""
        if header[at] & codes.OPCODE_MASK != Opcode.DATA_OUT:
            return None
        request = pdu.unpack_data_out(header, at)
        task = self.tasks.get(request.itt)
        if task is None or task.transfer is None:
            return None
        memory = task.transfer.place(request.ttt, request.buffer_offset, length)
        self._filling = task.transfer if memory is not None else None
        return memory

    def data_out(self, request: Request) -> None:
        """Take a Data-Out PDU (RFC 7143 11.7)."""
        header, at, _, data, intact = request
        self.data_received += len(data)
        filling = self.stop_filling()
        received = pdu.unpack_data_out(header, at)
        task = self.tasks.get(received.itt)
        if task is None:
            self._keep_data(request)
            return
        transfer = task.transfer
        if transfer is None or task.is_executing:
            # It is too late to end the command with a fault: it may be at work in a thread.
            raise Rejected(RejectReason.PROTOCOL_ERROR, "data for a command that needs none")
        if received.ttt != RESERVED_TAG and received.lun != task.lun:
            raise Rejected(RejectReason.INVALID_PDU_FIELD, "data for another LUN")
        final = bool(received.flags & FINAL)
        try:
            if intact:
                transfer.put(
                    received.ttt,
                    received.data_sn,
                    received.buffer_offset,
                    data,
                    final=final,
                    stored=filling is transfer,
                )
            else:
                self.reject(RejectReason.DATA_DIGEST_ERROR, header, at)
                transfer.skip(received.ttt, final=final)
                self.host.refuse(task, TaskFault.PROTOCOL_SERVICE_CRC_ERROR)
        except DataFault as fault:
            log.debug("task %08x: %s", task.itt, fault)
            self.host.refuse(task, fault.fault)
        except ProtocolError as fault:
            raise Rejected(fault.reason, fault.why) from fault
        if final:
            self._sequence_ended(task, transfer)

    def _sequence_ended(self, task: Task, transfer: Transfer) -> None:
        if task.postponed is not None:
            if not transfer.awaits_data:
                self._send_postponed(task)
        elif self._is_open(task):
            self._go_on(task, transfer)

    def stop_filling(self) -> Transfer | None:
        """Nothing is received directly any more; returns the transfer that it was done for."""
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.placed()
        return filling

    def resume(self, task: Task) -> None:
        """Ask for data again: the command is not aborted after all."""
        if task.transfer is not None:
            task.transfer.resume()
            if self._is_open(task):
                self._go_on(task, task.transfer)

    def take_ttt(self) -> int:
        """A Target Transfer Tag that is not in use."""
        ttt = self._next_ttt
        self._next_ttt = (ttt + 1) % RESERVED_TAG
        return ttt


def _solicited_limit(parameters: SessionParameters, depth: int) -> int:
    """Bytes of solicited data of which, with the first bursts, there is not too much in memory.

    That is ``depth`` bursts for everything; but first bursts that are as long as others must not
    be all that there is.
    """
    whole = depth * parameters.max_burst_length
    return max(whole - depth * parameters.first_burst_length, whole // 2)


def _extended_cdb(ahs: bytes) -> bytes:
    try:
        return additional.decode(ahs).extended_cdb
    except ProtocolError as fault:
        raise Rejected(fault.reason, fault.why) from fault
