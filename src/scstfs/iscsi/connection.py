"""A connection in full-feature phase, without its socket (RFC 7143 4 and 11).

Bytes go into ``rx`` and come out of ``tx``; ``process`` works off the requests in between.  The
*host* executes the requests: it provides memory and receives commands, task management functions
and text. A session has one connection, so command numbering is here, too.

A connection consists of parts that do not know it: ``window`` (the command window and the order of
requests), ``replies`` (what is sent), ``write_data`` (R2Ts and Data-Out PDUs), ``tasks`` (SCSI
commands) and ``functions`` (task management).  It gives each request to the part that handles it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import IMMEDIATE, RESERVED_TAG, LogoutCode, LogoutReason, PduOpcode
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.functions import Functions
from scstfs.iscsi.host import Host
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.replies import Replies
from scstfs.iscsi.requests import Rejected, Request
from scstfs.iscsi.task import IscsiTask, ManagementFunction
from scstfs.iscsi.task_table import TaskTable
from scstfs.iscsi.text_exchange import TextExchange
from scstfs.iscsi.traced import Told, TracedReceiver, TracedTransmitter
from scstfs.iscsi.transmit import Transmitter
from scstfs.iscsi.window import Window
from scstfs.iscsi.write_data import WriteData

log = logging.getLogger(__name__)


class Connection:
    """Full-feature phase of one connection; see the module's text."""

    def __init__(
        self,
        host: Host,
        parameters: SessionParameters,
        *,
        cmd_sn: int,
        stat_sn: int,
        queue_depth: int,
        rx: Receiver,
        tx: Transmitter,
        max_cmd_sn: int | None = None,
        cid: int = 0,
        discovery: bool = False,
    ) -> None:
        """``cmd_sn`` and ``stat_sn`` are the next ones due when login ends.

        ``max_cmd_sn`` is the one in the last Login Response.
        """
        tasks: dict[int, IscsiTask] = {}
        functions: dict[int, ManagementFunction] = {}
        self.window = window = Window(
            tasks,
            functions,
            cmd_sn=cmd_sn,
            max_cmd_sn=max_cmd_sn,
            queue_depth=queue_depth,
            first_burst=parameters.first_burst_length,
        )
        self.replies = replies = Replies(parameters, tx, window, stat_sn=stat_sn)
        self.write_data = WriteData(host, parameters, replies, queue_depth=queue_depth)
        self.tasks = TaskTable(tasks, host, parameters, window, replies, self.write_data)
        self.functions = Functions(functions, host, parameters, window, replies, self.tasks)
        self.rx = rx
        rx.place = self.tasks.place
        #: The initiator logs out, and the answer has to wait: nothing else is looked at.
        self.leaving = False
        #: Target Transfer Tag of a NOP-In that waits for its answer.
        self.ping: int | None = None
        self._host = host
        self._cid = cid
        self._text = TextExchange(host)
        self._fast: Callable[[Connection], None] = host.fast
        self._requests = _DISCOVERY_REQUESTS if discovery else _REQUESTS

    @property
    def tx(self) -> Transmitter:
        """The PDUs to send."""
        return self.replies.tx

    @property
    def takes_frames(self) -> bool:
        """PDUs that were laid out elsewhere can be sent: without digests, and nothing looks on."""
        tx = self.replies.tx
        is_plain = not (tx.header_digest or tx.data_digest or self.replies.closing)
        return is_plain and self._fast is not _not_fast

    @property
    def closing(self) -> bool:
        """The connection is closed as soon as the queued PDUs have been sent."""
        return self.replies.closing

    def trace(self, told: Told | None) -> None:
        """Call ``told`` with the header of each PDU from now on; None ends that.

        The fast path is off meanwhile: it lays out no separate PDUs.
        """
        tx = self.tx
        self._fast = self._host.fast
        if isinstance(self.rx, TracedReceiver):
            self.rx = self.rx.untraced
        if isinstance(tx, TracedTransmitter):
            tx = tx.untraced
        if told is not None:
            self.rx, tx = TracedReceiver(self.rx, told), TracedTransmitter(tx, told)
            self._fast = _not_fast
        self.replies.tx = tx

    def agree(self, parameters: SessionParameters) -> None:
        """Parameters were negotiated in full-feature phase."""
        for part in (self.replies, self.write_data, self.tasks):
            part.parameters = parameters

    def set_queue_depth(self, depth: int) -> None:
        """``QueuedCommands`` changed; a smaller window takes effect as commands end."""
        window = self.window
        before = window.max_cmd_sn
        self.write_data.set_queue_depth(depth)
        window.queue_depth = depth
        window.open()
        if window.max_cmd_sn != before:
            self.replies.announce_window()

    # Requests

    def process(self) -> bool:
        """Process complete requests; False if it stopped because much is waiting to be sent.

        Raises ProtocolError if the connection must be dropped.
        """
        rx, window, replies = self.rx, self.window, self.replies
        has_room = replies.has_room
        replies.is_batch = True
        try:
            while has_room():
                if replies.closing:
                    return True
                if window.is_plain and not self.leaving:
                    self._fast(self)
                    if not has_room():
                        return False
                at = rx.next()
                if at < 0:
                    return True
                if self.leaving:
                    continue
                self._request(Request(rx.header, at, rx.ahs, rx.data, rx.data_intact))
            return replies.closing
        finally:
            replies.is_batch = False
            if replies.window_news:
                replies.tell_window()

    def _request(self, request: Request) -> None:
        header, at, ahs, data, _ = request
        row = self._requests.get(header[at] & codes.OPCODE_MASK)
        if row is None:
            self.replies.reject(RejectReason.COMMAND_NOT_SUPPORTED, header, at)
            return
        if (data and not row.takes_data) or (ahs and not row.takes_ahs):
            raise ProtocolError(f"opcode {header[at]:02x} with a segment that it never has")
        if row.is_numbered and not header[at] & IMMEDIATE and not self.window.admit(request):
            return
        self._handle(row, request)
        if self.window.is_waiting:
            self._settle()

    def _handle(self, row: _RequestRow, request: Request) -> None:
        try:
            if not request.intact and not row.judges_digest:
                raise Rejected(RejectReason.DATA_DIGEST_ERROR, "data digest does not match")
            row.handler(self, request)
        except Rejected as rejected:
            log.debug("request rejected: %s", rejected)
            self.replies.reject(rejected.reason, request.header, request.at)

    def _settle(self) -> None:
        """Handle requests that waited for the one that was just handled."""
        window = self.window
        while not self.closing:
            self.functions.go_on()
            due = window.exp_cmd_sn
            request = window.take_due()
            if request is None:
                break
            self._handle(self._requests[request.header[0] & codes.OPCODE_MASK], request)
            for data in window.take_data(request.itt):
                self._handle(_REQUESTS[PduOpcode.DATA_OUT], data)
            if window.exp_cmd_sn == due:
                # It was rejected; the initiator must send it again.
                break
        window.open()

    def _command(self, request: Request) -> None:
        self.tasks.command(request)

    def _data_out(self, request: Request) -> None:
        self.tasks.data_out(request)

    def _task_management(self, request: Request) -> None:
        self.functions.receive(request)

    def _nop_out(self, request: Request) -> None:
        received = pdu.unpack_nop_out(request.header, request.at)
        is_immediate = bool(received.opcode & IMMEDIATE)
        if received.itt == RESERVED_TAG and not is_immediate:
            raise ProtocolError("a NOP-Out that neither asks nor is immediate")
        self.window.accept(is_immediate=is_immediate)
        if received.ttt == self.ping:
            self.ping = None
        if received.itt != RESERVED_TAG:
            self.replies.nop_in(received.itt, RESERVED_TAG, pdu.NO_LUN, request.data)

    def _text_request(self, request: Request) -> None:
        received = pdu.unpack_text_request(request.header, request.at)
        limit = self.replies.parameters.max_xmit_data_segment_length
        try:
            ttt, flags, data = self._text.receive(received, request.data, limit)
        except ProtocolError as fault:
            raise Rejected(fault.reason, fault.why) from fault
        self.window.accept(is_immediate=bool(received.opcode & IMMEDIATE))
        self.replies.text_response(received.itt, ttt, flags, data)

    def _logout(self, request: Request) -> None:
        received = pdu.unpack_logout_request(request.header, request.at)
        reason = received.flags & codes.LOGOUT_REASON_MASK
        if reason > LogoutReason.REMOVE_FOR_RECOVERY:
            raise Rejected(RejectReason.PROTOCOL_ERROR, f"logout for reason {reason}")
        self.window.accept(is_immediate=bool(received.opcode & IMMEDIATE))
        replies = self.replies
        if reason == LogoutReason.REMOVE_FOR_RECOVERY:
            replies.logout_response(received.itt, LogoutCode.RECOVERY_NOT_SUPPORTED)
        elif reason == LogoutReason.CLOSE_CONNECTION and received.cid != self._cid:
            replies.logout_response(received.itt, LogoutCode.CID_NOT_FOUND)
        else:
            self.leaving = True
            self._host.logout(partial(self._has_left, received.itt))

    def _has_left(self, itt: int) -> None:
        if not self.replies.closing:
            self.replies.logout_response(itt)
            self.replies.closing = True

    def _discovery_logout(self, request: Request) -> None:
        received = pdu.unpack_logout_request(request.header, request.at)
        if received.flags & codes.LOGOUT_REASON_MASK != LogoutReason.CLOSE_SESSION:
            raise Rejected(RejectReason.PROTOCOL_ERROR, "discovery sessions are closed as a whole")
        self._logout(request)

    def _snack(self, request: Request) -> None:
        raise Rejected(RejectReason.COMMAND_NOT_SUPPORTED, "ErrorRecoveryLevel is 0")

    def _login_again(self, request: Request) -> None:
        self.replies.reject(RejectReason.PROTOCOL_ERROR, request.header, request.at)
        self.replies.closing = True

    # Signs of life, and the end

    def send_ping(self) -> None:
        """Send a NOP-In ping; ``ping`` is None again when its answer came."""
        self.ping = self.replies.take_ttt()
        self.replies.nop_in(RESERVED_TAG, self.ping, pdu.NO_LUN)

    def drop(self) -> None:
        """The connection is gone; the host ends its tasks."""
        self.replies.closing = True
        self.window.clear()
        self._text.reset()
        self.functions.clear()
        self.tasks.drop()
        self.tx.clear()


def _not_fast(_connection: Connection) -> None:
    """There is no fast path."""


_Handler: TypeAlias = Callable[[Connection, Request], None]


class _RequestRow(NamedTuple):
    """A kind of request."""

    handler: _Handler
    is_numbered: bool = True
    """It carries its own CmdSN, unless it is immediate."""
    takes_data: bool = False
    takes_ahs: bool = False
    judges_digest: bool = False
    """The handler deals with a wrong data digest; otherwise the request is rejected."""


#: What an initiator may send in full-feature phase.
_REQUESTS: Final[dict[int, _RequestRow]] = {
    PduOpcode.NOP_OUT: _RequestRow(Connection._nop_out, takes_data=True),
    PduOpcode.SCSI_COMMAND: _RequestRow(
        Connection._command, takes_data=True, takes_ahs=True, judges_digest=True
    ),
    PduOpcode.TASK_MANAGEMENT_REQUEST: _RequestRow(Connection._task_management),
    PduOpcode.LOGIN_REQUEST: _RequestRow(
        Connection._login_again, is_numbered=False, takes_data=True
    ),
    PduOpcode.TEXT_REQUEST: _RequestRow(Connection._text_request, takes_data=True),
    PduOpcode.DATA_OUT: _RequestRow(
        Connection._data_out, is_numbered=False, takes_data=True, judges_digest=True
    ),
    PduOpcode.LOGOUT_REQUEST: _RequestRow(Connection._logout),
    PduOpcode.SNACK_REQUEST: _RequestRow(Connection._snack, is_numbered=False),
}

#: A discovery session allows only text and logout (RFC 7143 4.3).
_DISCOVERY_REQUESTS: Final[dict[int, _RequestRow]] = {
    PduOpcode.LOGIN_REQUEST: _REQUESTS[PduOpcode.LOGIN_REQUEST],
    PduOpcode.TEXT_REQUEST: _REQUESTS[PduOpcode.TEXT_REQUEST],
    PduOpcode.LOGOUT_REQUEST: _RequestRow(Connection._discovery_logout),
}
