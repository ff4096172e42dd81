"""What a target sends in full-feature phase: StatSN, status and data (RFC 7143 11)."""

from __future__ import annotations

from collections.abc import Callable

from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import FINAL, RESERVED_TAG, AsyncEvent, LogoutCode, TaskResponse
from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.serial import MASK
from scstfs.iscsi.task import NO_INFORMATION, IscsiTask, Reply
from scstfs.iscsi.transmit import CHUNK_DATA, HIGH_WATER, Referred, Transmitter
from scstfs.iscsi.window import Window


class Replies:
    """Builds the PDUs of a target."""

    __slots__ = (
        "_next_ttt",
        "_window",
        "closing",
        "is_batch",
        "less_is_read",
        "parameters",
        "reading",
        "stat_sn",
        "tx",
        "window_news",
    )

    def __init__(
        self, parameters: SessionParameters, tx: Transmitter, window: Window, *, stat_sn: int
    ) -> None:
        """``stat_sn`` is the next one due; every PDU carries the numbers of ``window``."""
        self.parameters = parameters
        self.tx = tx
        self.stat_sn = stat_sn
        #: Set when the connection will be closed after the queued PDUs: nothing more is queued
        #: then.
        self.closing = False
        #: Bytes of data-in that commands have in memory now: those under way, and those whose
        #: data has not been sent.  A command that finds ``reading_limit`` reached waits.
        self.reading = 0
        #: Called when ``reading`` was reduced, if a command waits for that.
        self.less_is_read: Callable[[], None] | None = None
        #: A batch is under way: a later PDU will carry the window.
        self.is_batch = False
        self._window = window
        #: The window has opened, and no PDU has carried it yet.
        self.window_news = False
        self._next_ttt = 0

    def has_room(self) -> bool:
        """Return whether so little waits to be sent that more requests may be processed."""
        return self.tx.pending < HIGH_WATER

    @property
    def reading_limit(self) -> int:
        """The limit for bytes of data-in in memory."""
        return self._window.queue_depth * self.parameters.max_burst_length

    def has_read(self, length: int) -> None:
        """Data-in of ``length`` bytes is not in memory any more."""
        self.reading -= length
        if self.less_is_read is not None:
            self.less_is_read()

    # Numbers

    def take_stat_sn(self) -> int:
        """The StatSN for a PDU that carries status."""
        stat_sn = self.stat_sn
        self.stat_sn = (stat_sn + 1) & MASK
        return stat_sn

    def take_ttt(self) -> int:
        """A Target Transfer Tag that is not in use."""
        ttt = self._next_ttt
        self._next_ttt = (ttt + 1) % RESERVED_TAG
        return ttt

    # The command window

    def announce_window(self) -> None:
        """The window has opened: tell the peer, after the present batch if there is one."""
        self.window_news = True
        if not self.is_batch:
            self.tell_window()

    def tell_window(self) -> None:
        """Send a NOP-In if no other PDU will carry the window (RFC 7143 11.4.11)."""
        news, self.window_news = self.window_news, False
        if news and not self.tx.pending:
            self.nop_in(RESERVED_TAG, RESERVED_TAG, pdu.NO_LUN)

    # Commands

    def send(self, task: IscsiTask, reply: Reply) -> None:
        """Send the end of ``task``, which is over."""
        flags, sense, residual = 0, reply.sense, abs(reply.residual)
        if reply.residual:
            underflow = reply.residual > 0
            flags = codes.RESIDUAL_UNDERFLOW if underflow else codes.RESIDUAL_OVERFLOW
        if reply.data:
            # Good status travels with the last data.
            collapsed = reply.status == 0 and not sense
            task.data_sn += self._send_data(
                task.itt,
                task.data_sn,
                reply.data,
                reply.release,
                flags if collapsed else None,
                residual,
            )
            if collapsed:
                return
        elif reply.release is not None:
            reply.release()
        body = len(sense).to_bytes(2, "big") + sense if sense else b""
        window = self._window
        self.tx.put(
            pdu.pack_scsi_response(
                itt=task.itt,
                status=reply.status,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
                flags=flags,
                exp_data_sn=task.data_sn,
                residual=residual,
                data_length=len(body),
            ),
            body,
        )

    def answer_read(self, itt: int, data: Referred, release: Callable[[], None]) -> None:
        """End a read that never became a task: all its data and good status."""
        self._send_data(itt, 0, data, release, 0, 0)

    def _send_data(
        self,
        itt: int,
        data_sn: int,
        data: Referred,
        release: Callable[[], None] | None,
        status_flags: int | None,
        residual: int,
    ) -> int:
        """Data-In PDUs of at most the peer's size, F at the end of each burst; how many.

        With ``status_flags`` the last one carries good status and these residual flags.
        """
        first, window, tx = data_sn, self._window, self.tx
        exp_cmd_sn, max_cmd_sn = window.exp_cmd_sn, window.max_cmd_sn
        # Whole words, except for the last of a burst (RFC 7143 11.7.7).
        segment = min(self.parameters.max_xmit_data_segment_length, CHUNK_DATA) & ~3
        burst = self.parameters.max_burst_length
        total = len(data)
        offset = 0
        while offset < total:
            length = min(segment, burst - offset % burst, total - offset)
            end = offset + length
            last = end == total
            flags = FINAL if last or end % burst == 0 else 0
            stat_sn = 0
            if last and status_flags is not None:
                flags |= codes.DATA_STATUS | status_flags
                stat_sn = self.take_stat_sn()
            header = pdu.pack_data_in(
                itt=itt,
                exp_cmd_sn=exp_cmd_sn,
                max_cmd_sn=max_cmd_sn,
                data_sn=data_sn,
                buffer_offset=offset,
                data_length=length,
                flags=flags,
                stat_sn=stat_sn,
                residual=residual if flags & codes.DATA_STATUS else 0,
            )
            tx.put_reference(header, data[offset:end], release if last else None)
            data_sn += 1
            offset = end
        return data_sn - first

    def ready_to_transfer(
        self, task: IscsiTask, ttt: int, r2t_sn: int, offset: int, length: int
    ) -> None:
        """Ask for ``length`` bytes of write data from ``offset``."""
        window = self._window
        self.tx.put(
            pdu.pack_ready_to_transfer(
                lun=task.lun,
                itt=task.itt,
                ttt=ttt,
                stat_sn=self.stat_sn,
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
                r2t_sn=r2t_sn,
                buffer_offset=offset,
                desired_length=length,
            )
        )

    def task_management_response(
        self, itt: int, response: TaskResponse, information: bytes = NO_INFORMATION
    ) -> None:
        """Answer a task management request; ``information`` is RFC 7144's (6.4.1)."""
        window = self._window
        self.tx.put(
            pdu.pack_task_management_response(
                itt=itt,
                response=response,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
                information=information,
            )
        )

    # Everything else

    def nop_in(self, itt: int, ttt: int, lun: bytes, data: memoryview | bytes = b"") -> None:
        """Send a NOP-In: our own (``itt`` reserved) or the answer to the peer's ping."""
        if self.closing:
            return
        data = data[: self.parameters.max_xmit_data_segment_length]
        window = self._window
        self.tx.put(
            pdu.pack_nop_in(
                itt=itt,
                ttt=ttt,
                stat_sn=self.stat_sn if itt == RESERVED_TAG else self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
                lun=lun,
                data_length=len(data),
            ),
            data,
        )

    def reject(self, reason: RejectReason, header: bytes | bytearray, at: int) -> None:
        """Refuse the request whose header is at ``at``."""
        refused = bytes(header[at : at + pdu.BHS_LENGTH])
        window = self._window
        self.tx.put(
            pdu.pack_reject(
                reason=reason,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
            ),
            refused,
        )

    def async_message(
        self,
        event: AsyncEvent,
        *,
        lun: bytes = pdu.NO_LUN,
        sense: bytes = b"",
        parameters: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Send an Asynchronous Message (RFC 7143 11.9)."""
        if self.closing:
            return
        body = len(sense).to_bytes(2, "big") + sense if sense else b""
        window = self._window
        self.tx.put(
            pdu.pack_async_message(
                event=event,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
                lun=lun,
                parameters=parameters,
                data_length=len(body),
            ),
            body,
        )

    def text_response(self, itt: int, ttt: int, flags: int, data: bytes) -> None:
        """Answer a Text Request, in full or in part; ``flags`` are F and C."""
        window = self._window
        self.tx.put(
            pdu.pack_text_response(
                itt=itt,
                ttt=ttt,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
                flags=flags,
                data_length=len(data),
            ),
            data,
        )

    def logout_response(self, itt: int, response: LogoutCode = LogoutCode.CLOSED) -> None:
        """Answer a Logout Request."""
        window = self._window
        self.tx.put(
            pdu.pack_logout_response(
                itt=itt,
                response=response,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=window.exp_cmd_sn,
                max_cmd_sn=window.max_cmd_sn,
            )
        )
