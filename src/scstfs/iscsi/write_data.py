"""Write data of a connection: R2Ts and Data-Out PDUs (RFC 7143 11.7, 11.8).

``scstfs.iscsi.credit`` limits the bytes in memory; ``scstfs.iscsi.transfer.Transfer`` has what one
command has received and still needs.
"""

from __future__ import annotations

import logging

from scstfs.iscsi.codes import FINAL, RESERVED_TAG
from scstfs.iscsi.credit import Credit
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.host import Host
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.pdu import DataOut
from scstfs.iscsi.replies import Replies
from scstfs.iscsi.requests import Rejected, Request
from scstfs.iscsi.task import IscsiTask
from scstfs.iscsi.transfer import DataFault, TaskFault, Transfer

log = logging.getLogger(__name__)


class WriteData:
    """Sends R2Ts and takes Data-Out PDUs."""

    __slots__ = ("_credit", "_filling", "_host", "_replies", "parameters", "received_total")

    def __init__(
        self, host: Host, parameters: SessionParameters, replies: Replies, *, queue_depth: int
    ) -> None:
        self._host = host
        self._replies = replies
        self.parameters = parameters
        #: Bytes of write data received in Data-Out PDUs.
        self.received_total = 0
        self._filling: Transfer | None = None
        self._credit = Credit(_solicited_limit(parameters, queue_depth))

    def set_queue_depth(self, depth: int) -> None:
        """``QueuedCommands`` changed."""
        self._credit.limit = _solicited_limit(self.parameters, depth)

    def go_on(self, task: IscsiTask, transfer: Transfer) -> None:
        """Request more data, or give the command to the host, once, when all has arrived."""
        if task.is_executing:
            return
        if transfer.is_complete:
            task.is_executing = True
            self._host.data_complete(task)
        elif transfer.can_solicit and self._credit.grant(
            task, transfer.total - self.parameters.first_burst_length
        ):
            limit = self.parameters.max_outstanding_r2t
            while transfer.can_solicit and transfer.outstanding < limit:
                self._ask(task, transfer)

    def _ask(self, task: IscsiTask, transfer: Transfer) -> None:
        replies, r2t_sn = self._replies, transfer.next_r2t_sn
        ttt = replies.take_ttt()
        sequence = transfer.solicit(ttt, self.parameters.max_burst_length)
        replies.ready_to_transfer(task, ttt, r2t_sn, sequence.offset, sequence.length)

    def release(self, task: IscsiTask) -> None:
        """``task`` needs no more data: release its credit."""
        if task.transfer is not None:
            task.transfer.discard()
        self._credit.give_back(task)
        if not self._replies.closing:
            for other in self._credit.waiting:
                if other.transfer is not None:
                    self.go_on(other, other.transfer)

    # Arrival

    def place(self, transfer: Transfer, data: DataOut, length: int) -> memoryview | None:
        """The final memory of the data segment of ``data``, which begins to arrive; or None."""
        memory = transfer.place(data.ttt, data.buffer_offset, length)
        self._filling = transfer if memory is not None else None
        return memory

    def placed(self) -> Transfer | None:
        """End direct reception; return the transfer that it was for."""
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.placed()
        return filling

    def receive(
        self, task: IscsiTask, received: DataOut, request: Request, filled: Transfer | None
    ) -> None:
        """Take a Data-Out PDU for ``task``; ``filled`` is what ``placed`` returned for it.

        Data that does not fit ends the task.  Raises Rejected.
        """
        transfer = task.transfer
        if transfer is None or task.is_executing:
            # It is too late to end the command with a fault: a thread may execute it already.
            raise Rejected(RejectReason.PROTOCOL_ERROR, "data for a command that needs none")
        if received.ttt != RESERVED_TAG and received.lun != task.lun:
            raise Rejected(RejectReason.INVALID_PDU_FIELD, "data for another LUN")
        final = bool(received.flags & FINAL)
        try:
            if request.intact:
                transfer.put(
                    received.ttt,
                    received.data_sn,
                    received.buffer_offset,
                    request.data,
                    final=final,
                    stored=filled is transfer,
                )
            else:
                self._replies.reject(RejectReason.DATA_DIGEST_ERROR, request.header, request.at)
                transfer.skip(received.ttt, final=final)
                self._host.refuse(task, TaskFault.PROTOCOL_SERVICE_CRC_ERROR)
        except DataFault as fault:
            log.debug("task %08x: %s", task.itt, fault)
            self._host.refuse(task, fault.fault)
        except ProtocolError as fault:
            raise Rejected(fault.reason, fault.why) from fault


def _solicited_limit(parameters: SessionParameters, depth: int) -> int:
    """The limit for bytes of solicited data in memory, besides first bursts.

    It is ``depth`` bursts in all; but if first bursts are as long as others, some room must be left
    for solicited data.
    """
    whole = depth * parameters.max_burst_length
    return max(whole - depth * parameters.first_burst_length, whole // 2)
