"""A connection in full-feature phase, without its socket (RFC 7143 4 and 11).

Bytes go into ``rx`` and come out of ``tx``; ``process`` works off the requests in between.  What
the requests mean is the *host*'s business: it is asked for memory and told of commands, task
management functions and text.  A session has one connection, so that command numbering is here,
too.  Commands and their answers are in ``scstfs.iscsi.commands``, which this builds on.

A request that is refused by a Reject does not count as received: its CmdSN is still due (RFC 7143
7.3).  That is why handlers ``_accept`` a request when they have found nothing wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import (
    FINAL,
    IMMEDIATE,
    RESERVED_TAG,
    LogoutCode,
    LogoutReason,
    Opcode,
    TaskResponse,
)
from scstfs.iscsi.commands import Commands
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.functions import Functions
from scstfs.iscsi.host import Host
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.requests import EarlyData, Rejected, Request
from scstfs.iscsi.serial import add, less, within
from scstfs.iscsi.text_exchange import TextExchange
from scstfs.iscsi.traced import Told, TracedReceiver, TracedTransmitter
from scstfs.iscsi.transmit import HIGH_WATER, Transmitter

log = logging.getLogger(__name__)


class Connection(Commands):
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

        ``max_cmd_sn`` is what the last answer of the login told.
        """
        self.functions = Functions(self)
        #: Requests that came before their turn, by CmdSN, and the data that came for them, by ITT.
        self._held: dict[int, Request] = {}
        self._held_data: dict[int, EarlyData] = {}
        #: CmdSNs that count as received although nothing came with them.
        self._skipped: set[int] = set()
        super().__init__(
            host,
            parameters,
            tx,
            cmd_sn=cmd_sn,
            stat_sn=stat_sn,
            queue_depth=queue_depth,
            max_cmd_sn=max_cmd_sn,
        )
        self.rx = rx
        rx.place = self.place
        #: Target Transfer Tag of a NOP-In that waits for its answer.
        self.ping: int | None = None
        self._cid = cid
        self._text = TextExchange(host)
        self._fast: Callable[[Connection], None] = host.fast
        self._requests = _DISCOVERY_REQUESTS if discovery else _REQUESTS
        self._is_batch = False
        #: The request that is being handled has a CmdSN, which it has not used up yet.
        self._is_numbered = False

    def trace(self, told: Told | None) -> None:
        """Have ``told`` called with the header of each PDU from now on; None for nobody.

        Nothing is answered on the fast path meanwhile: nobody sees a PDU there.
        """
        self._fast = self.host.fast
        if isinstance(self.rx, TracedReceiver):
            self.rx = self.rx.untraced
        if isinstance(self.tx, TracedTransmitter):
            self.tx = self.tx.untraced
        if told is not None:
            self.rx, self.tx = TracedReceiver(self.rx, told), TracedTransmitter(self.tx, told)
            self._fast = _not_fast

    # Requests

    def process(self) -> bool:
        """Work off complete requests; False if it stopped because much is waiting to be sent.

        Raises ProtocolError when the connection has to be dropped.
        """
        rx, tx = self.rx, self.tx
        self._is_batch = True
        try:
            while tx.pending < HIGH_WATER and self.reading < self.reading_limit:
                if self.closing:
                    return True
                if self.is_plain:
                    self._fast(self)
                    if tx.pending >= HIGH_WATER:
                        return False
                at = rx.next()
                if at < 0:
                    return True
                self._request(Request(rx.header, at, rx.ahs, rx.data, rx.data_intact))
            return self.closing
        finally:
            self._is_batch = False
            if self._window_news:
                self.tell_window()

    def has_room(self) -> bool:
        """Little enough waits to be sent, so that ``process`` would go on."""
        return self.tx.pending < HIGH_WATER and self.reading < self.reading_limit

    def _request(self, request: Request) -> None:
        header, at, ahs, data, _ = request
        row = self._requests.get(header[at] & codes.OPCODE_MASK)
        if row is None:
            self.reject(RejectReason.COMMAND_NOT_SUPPORTED, header, at)
            return
        if (data and not row.takes_data) or (ahs and not row.takes_ahs):
            raise ProtocolError(f"opcode {header[at]:02x} with a segment that it never has")
        is_numbered = row.is_numbered and not header[at] & IMMEDIATE
        if is_numbered and not self._is_due(request):
            return
        self._handle(row, request, is_numbered=is_numbered)
        if self._held or self.functions:
            self._settle()

    def _handle(self, row: _Row, request: Request, *, is_numbered: bool) -> None:
        self._is_numbered = is_numbered
        try:
            if not request.intact and not row.judges_digest:
                raise Rejected(RejectReason.DATA_DIGEST_ERROR, "data digest does not match")
            row.handler(self, request)
        except Rejected as rejected:
            log.debug("request rejected: %s", rejected)
            self.reject(rejected.reason, request.header, request.at)

    # Their order

    def _accept(self) -> None:
        if self._is_numbered:
            self._is_numbered = False
            self._advance()
        self.open_window()

    def _advance(self) -> None:
        self.exp_cmd_sn = add(self.exp_cmd_sn)
        while self.exp_cmd_sn in self._skipped:
            self._skipped.discard(self.exp_cmd_sn)
            self.exp_cmd_sn = add(self.exp_cmd_sn)

    def under_way(self) -> int:
        """See Answers."""
        return len(self.tasks) + len(self.functions)

    def _is_out_of_order(self) -> bool:
        return bool(self._held or self._skipped or self.functions)

    def _in_batch(self) -> bool:
        return self._is_batch

    def _is_tag_in_use(self, itt: int) -> bool:
        return itt in self.tasks or itt in self.functions

    def _is_due(self, request: Request) -> bool:
        """Check the CmdSN of a numbered request; an early one is kept for later."""
        cmd_sn = request.cmd_sn
        if cmd_sn == self.exp_cmd_sn and cmd_sn != add(self.max_cmd_sn):
            return True
        # What is outside the window is ignored, and so are duplicates (RFC 7143 4.2.2.1).
        is_new = cmd_sn not in self._held and cmd_sn not in self._skipped
        if is_new and within(cmd_sn, self.exp_cmd_sn, self.max_cmd_sn):
            self._held[cmd_sn] = held = request.copy()
            if held.header[0] == Opcode.SCSI_COMMAND and not held.header[1] & FINAL:
                self._held_data[held.itt] = EarlyData(self.parameters.first_burst_length)
            self.is_plain = False
        return False

    def _keep_data(self, request: Request) -> None:
        """Keep data of a command that waits for its turn.

        Any other is that of a task that has been aborted or answered meanwhile.
        """
        kept = self._held_data.get(request.itt)
        if kept is not None:
            kept.add(request)

    def _settle(self) -> None:
        """Go on with what has waited for the request that was just handled."""
        while not self.closing:
            self.functions.go_on()
            due = self.exp_cmd_sn
            request = self._held.pop(due, None)
            if request is None:
                break
            row = self._requests[request.header[0] & codes.OPCODE_MASK]
            self._handle(row, request, is_numbered=True)
            early = self._held_data.pop(request.itt, None)
            for data in () if early is None else early.parts:
                self._handle(_REQUESTS[Opcode.DATA_OUT], data, is_numbered=False)
            if self.exp_cmd_sn == due:
                # It was rejected, and has to be sent again.
                break
        self.open_window()

    def skip(self, cmd_sn: int) -> None:
        """A command in the window counts as received and will be ignored: it was aborted."""
        self._forget_held(cmd_sn)
        self.unanswered.add_missing(cmd_sn)
        if cmd_sn == self.exp_cmd_sn:
            self._advance()
        else:
            self._skipped.add(cmd_sn)
        self.open_window()

    def plug(self, cmd_sn: int) -> None:
        """All commands before ``cmd_sn`` count as received and will be ignored."""
        if not within(cmd_sn, self.exp_cmd_sn, add(self.max_cmd_sn)):
            return
        for early in [number for number in self._held if less(number, cmd_sn)]:
            self._forget_held(early)
        self._skipped = {number for number in self._skipped if not less(number, cmd_sn)}
        while self.exp_cmd_sn != cmd_sn:
            self.unanswered.add_missing(self.exp_cmd_sn)
            self.exp_cmd_sn = add(self.exp_cmd_sn)
        while self.exp_cmd_sn in self._skipped:
            self._skipped.discard(self.exp_cmd_sn)
            self.exp_cmd_sn = add(self.exp_cmd_sn)
        self.open_window()

    def _forget_held(self, cmd_sn: int) -> None:
        held = self._held.pop(cmd_sn, None)
        if held is not None:
            self._held_data.pop(held.itt, None)

    # Everything that is no SCSI command

    def _task_management(self, request: Request) -> None:
        received = pdu.unpack_task_management_request(request.header, request.at)
        is_immediate = bool(received.opcode & IMMEDIATE)
        self.check_tag(received.itt, len(self.functions), is_immediate=is_immediate)
        self.functions.add(received)
        self._accept()
        self.functions.start(received)

    def task_management_answer(
        self, itt: int, response: TaskResponse, information: bytes = bytes(3)
    ) -> None:
        """The host has performed a task management function."""
        self.functions.answer(itt, response, information)

    def forget_function(self, itt: int) -> None:
        """The host will not answer a task management request."""
        self.functions.forget(itt)
        self.open_window()

    def _nop_out(self, request: Request) -> None:
        received = pdu.unpack_nop_out(request.header, request.at)
        if received.itt == RESERVED_TAG and not received.opcode & IMMEDIATE:
            raise ProtocolError("a NOP-Out that neither asks nor is immediate")
        self._accept()
        if received.ttt == self.ping:
            self.ping = None
        if received.itt != RESERVED_TAG:
            self.nop_in(received.itt, RESERVED_TAG, pdu.NO_LUN, request.data)

    def _text_request(self, request: Request) -> None:
        received = pdu.unpack_text_request(request.header, request.at)
        limit = self.parameters.max_xmit_data_segment_length
        try:
            ttt, flags, data = self._text.receive(received, request.data, limit)
        except ProtocolError as fault:
            raise Rejected(fault.reason, fault.why) from fault
        self._accept()
        self.text_answer(received.itt, ttt, flags, data)

    def _logout(self, request: Request) -> None:
        received = pdu.unpack_logout_request(request.header, request.at)
        reason = received.flags & codes.LOGOUT_REASON_MASK
        if reason > LogoutReason.REMOVE_FOR_RECOVERY:
            raise Rejected(RejectReason.PROTOCOL_ERROR, f"logout for reason {reason}")
        self._accept()
        if reason == LogoutReason.REMOVE_FOR_RECOVERY:
            self.logout_answer(received.itt, LogoutCode.RECOVERY_NOT_SUPPORTED)
        elif reason == LogoutReason.CLOSE_CONNECTION and received.cid != self._cid:
            self.logout_answer(received.itt, LogoutCode.CID_NOT_FOUND)
        else:
            self.host.logout()
            self.logout_answer(received.itt)
            self.closing = True

    def _discovery_logout(self, request: Request) -> None:
        received = pdu.unpack_logout_request(request.header, request.at)
        if received.flags & codes.LOGOUT_REASON_MASK != LogoutReason.CLOSE_SESSION:
            raise Rejected(RejectReason.PROTOCOL_ERROR, "discovery sessions are closed as a whole")
        self._logout(request)

    def _snack(self, request: Request) -> None:
        raise Rejected(RejectReason.COMMAND_NOT_SUPPORTED, "ErrorRecoveryLevel is 0")

    def _login_again(self, request: Request) -> None:
        self.reject(RejectReason.PROTOCOL_ERROR, request.header, request.at)
        self.closing = True

    # Signs of life, and the end

    def send_ping(self) -> None:
        """Ask the peer for a sign of life; ``ping`` is None again when it came."""
        self.ping = self.take_ttt()
        self.nop_in(RESERVED_TAG, self.ping, pdu.NO_LUN)

    def drop(self) -> None:
        """The connection is gone.

        The host ends the tasks that it has; what they occupy is given back then, because their
        data may be in use until then.
        """
        self.closing = True
        self._held.clear()
        self._held_data.clear()
        self._skipped.clear()
        self._text.reset()
        self.functions.clear()
        self.stop_filling()
        for task in list(self.tasks.values()):
            if task.postponed is not None:
                self.forget(task)
        self.tx.clear()


def _not_fast(_connection: Connection) -> None:
    """Nothing is answered fast."""


_Handler: TypeAlias = Callable[[Connection, Request], None]


class _Row(NamedTuple):
    """A kind of request."""

    handler: _Handler
    is_numbered: bool = True
    """It carries a CmdSN of its own, unless it is immediate."""
    takes_data: bool = False
    takes_ahs: bool = False
    judges_digest: bool = False
    """The handler knows what to do about a wrong data digest; else the request is rejected."""


#: What an initiator may send in full-feature phase.
_REQUESTS: Final[dict[int, _Row]] = {
    Opcode.NOP_OUT: _Row(Connection._nop_out, takes_data=True),
    Opcode.SCSI_COMMAND: _Row(
        Connection.command, takes_data=True, takes_ahs=True, judges_digest=True
    ),
    Opcode.TASK_MANAGEMENT_REQUEST: _Row(Connection._task_management),
    Opcode.LOGIN_REQUEST: _Row(Connection._login_again, is_numbered=False, takes_data=True),
    Opcode.TEXT_REQUEST: _Row(Connection._text_request, takes_data=True),
    Opcode.DATA_OUT: _Row(
        Connection.data_out, is_numbered=False, takes_data=True, judges_digest=True
    ),
    Opcode.LOGOUT_REQUEST: _Row(Connection._logout),
    Opcode.SNACK_REQUEST: _Row(Connection._snack, is_numbered=False),
}

#: A discovery session is for text alone (RFC 7143 4.3).
_DISCOVERY_REQUESTS: Final[dict[int, _Row]] = {
    Opcode.LOGIN_REQUEST: _REQUESTS[Opcode.LOGIN_REQUEST],
    Opcode.TEXT_REQUEST: _REQUESTS[Opcode.TEXT_REQUEST],
    Opcode.LOGOUT_REQUEST: _Row(Connection._discovery_logout),
}
