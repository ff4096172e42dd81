"""What a target sends in full-feature phase: numbering, windows and the PDUs themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scstfs.iscsi import codes, pdu
from scstfs.iscsi.codes import FINAL, RESERVED_TAG, AsyncEvent, LogoutCode, TaskResponse
from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.serial import add, less
from scstfs.iscsi.task import Answer, Task
from scstfs.iscsi.transmit import CHUNK_DATA, Referred, Transmitter
from scstfs.iscsi.unanswered import Unanswered

_MASK: Final = 0xFFFFFFFF
_NO_INFORMATION: Final = bytes(3)


class Answers:
    """The target's half of a connection."""

    def __init__(
        self,
        parameters: SessionParameters,
        tx: Transmitter,
        *,
        cmd_sn: int,
        stat_sn: int,
        queue_depth: int,
        max_cmd_sn: int | None = None,
    ) -> None:
        """``cmd_sn`` and ``stat_sn`` are the next ones due, ``max_cmd_sn`` was told before."""
        self.parameters = parameters
        self.tx = tx
        self.exp_cmd_sn = cmd_sn
        self.stat_sn = stat_sn
        self.tasks: dict[int, Task] = {}
        self.unanswered = Unanswered()
        self.queue_depth = queue_depth
        #: Set once the connection is to be closed after what is queued has been sent: from then
        #: on nothing more is queued.
        self.closing = False
        #: Bytes of data-in that commands have in memory now.
        self.reading = 0
        #: The peer may send commands up to and including this CmdSN; it never goes back.
        self.max_cmd_sn = add(cmd_sn, -1) if max_cmd_sn is None else max_cmd_sn
        #: Commands that may come, less one.
        self.credit = 0
        #: A command with the CmdSN due needs no further look at numbers: the window is open, and
        #: as wide as the credit; nothing waits for its turn.
        self.is_plain = False
        #: The window has opened, and no PDU has told the peer.
        self._window_news = False
        self.open_window()

    @property
    def reading_limit(self) -> int:
        """How many bytes of data-in in memory are enough."""
        return self.queue_depth * self.parameters.max_burst_length

    # The command window

    def open_window(self) -> None:
        """Recompute MaxCmdSN: QueuedCommands less what is under way (RFC 7143 4.2.2.1)."""
        self.credit = credit = max(self.queue_depth - self.under_way(), 0) - 1
        maximum = add(self.exp_cmd_sn, credit)
        if less(self.max_cmd_sn, maximum):
            self.max_cmd_sn = maximum
        self.is_plain = credit >= 0 and maximum == self.max_cmd_sn and not self._is_out_of_order()

    def received_until(self, cmd_sn: int) -> None:
        """All commands before ``cmd_sn`` came in order and have been answered."""
        self.exp_cmd_sn = cmd_sn
        self.max_cmd_sn = (cmd_sn + self.credit) & _MASK

    def under_way(self) -> int:
        """Requests that have not been answered."""
        return len(self.tasks)

    def _is_out_of_order(self) -> bool:
        """Something waits for commands that have not come yet."""
        return False

    def set_queue_depth(self, depth: int) -> None:
        """``QueuedCommands`` changed; a smaller window takes effect as commands end."""
        before = self.max_cmd_sn
        self.queue_depth = depth
        self.open_window()
        self._window_news = self.max_cmd_sn != before
        self.tell_window()

    def tell_window(self) -> None:
        """Send a NOP-In if nothing else will tell the peer of the window (RFC 7143 11.4.11)."""
        news, self._window_news = self._window_news, False
        if news and not self.tx.pending:
            self.nop_in(RESERVED_TAG, RESERVED_TAG, pdu.NO_LUN)

    def take_stat_sn(self) -> int:
        """The StatSN for a PDU that carries status."""
        stat_sn = self.stat_sn
        self.stat_sn = (stat_sn + 1) & _MASK
        return stat_sn

    # Commands

    def answer(
        self,
        task: Task,
        status: int,
        *,
        sense: bytes = b"",
        data: memoryview | None = None,
        release: Callable[[], None] | None = None,
        residual: int = 0,
    ) -> None:
        """End ``task``; the arguments are those of ``scstfs.iscsi.task.Answer``."""
        answer = Answer(status, sense, data, release, residual)
        if self.closing:
            answer.drop()
            self.forget(task)
        elif task.awaits_data:
            # The answer comes after the last of it (RFC 7143 11.4.2), whatever is in it.
            task.postponed = answer
            self._needs_no_data(task)
        else:
            self.forget(task)
            self._send_answer(task, answer)

    def end_silently(self, task: Task) -> None:
        """End ``task`` without any answer: it was aborted."""
        before = self.max_cmd_sn
        self.unanswered.add(task)
        self.forget(task)
        self._window_news |= self.max_cmd_sn != before
        if not self._in_batch():
            self.tell_window()

    def _in_batch(self) -> bool:
        """More will be sent presently, so that the window need not be told by itself."""
        return False

    def forget(self, task: Task) -> None:
        """The task is over; what it occupied is free for others."""
        if self.tasks.get(task.itt) is task:
            del self.tasks[task.itt]
            self.open_window()
        self._needs_no_data(task)
        postponed, task.postponed = task.postponed, None
        if postponed is not None:
            postponed.drop()

    def _needs_no_data(self, task: Task) -> None:
        if task.transfer is not None:
            task.transfer.discard()

    def _send_postponed(self, task: Task) -> None:
        """The data that the answer to ``task`` waited for has come."""
        answer, task.postponed = task.postponed, None
        self.forget(task)
        if answer is not None:
            self._send_answer(task, answer)

    def _send_answer(self, task: Task, answer: Answer) -> None:
        flags, sense, residual = 0, answer.sense, abs(answer.residual)
        if answer.residual:
            underflow = answer.residual > 0
            flags = codes.RESIDUAL_UNDERFLOW if underflow else codes.RESIDUAL_OVERFLOW
        if answer.data:
            # Good status travels with the last data.
            collapsed = answer.status == 0 and not sense
            task.data_sn += self._send_data(
                task.itt,
                task.data_sn,
                answer.data,
                answer.release,
                flags if collapsed else None,
                residual,
            )
            if collapsed:
                return
        elif answer.release is not None:
            answer.release()
        body = len(sense).to_bytes(2, "big") + sense if sense else b""
        self.tx.put(
            pdu.pack_scsi_response(
                itt=task.itt,
                status=answer.status,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
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
        first = data_sn
        # Whole words, but for the last of a burst (RFC 7143 11.7.7).
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
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                data_sn=data_sn,
                buffer_offset=offset,
                data_length=length,
                flags=flags,
                stat_sn=stat_sn,
                residual=residual if flags & codes.DATA_STATUS else 0,
            )
            self.tx.put_reference(header, data[offset:end], release if last else None)
            data_sn += 1
            offset = end
        return data_sn - first

    def send_r2t(self, task: Task, ttt: int, r2t_sn: int, offset: int, length: int) -> None:
        """Ask for ``length`` bytes of write data from ``offset``."""
        self.tx.put(
            pdu.pack_ready_to_transfer(
                lun=task.lun,
                itt=task.itt,
                ttt=ttt,
                stat_sn=self.stat_sn,
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                r2t_sn=r2t_sn,
                buffer_offset=offset,
                desired_length=length,
            )
        )

    def send_task_management_response(
        self, itt: int, response: TaskResponse, information: bytes = _NO_INFORMATION
    ) -> None:
        """Answer a task management request; ``information`` is RFC 7144's (6.4.1)."""
        self.tx.put(
            pdu.pack_task_management_response(
                itt=itt,
                response=response,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                information=information,
            )
        )

    # Everything else

    def nop_in(self, itt: int, ttt: int, lun: bytes, data: memoryview | bytes = b"") -> None:
        """A message of ours (``itt`` reserved) or the answer to a ping of the peer's."""
        if self.closing:
            return
        data = data[: self.parameters.max_xmit_data_segment_length]
        self.tx.put(
            pdu.pack_nop_in(
                itt=itt,
                ttt=ttt,
                stat_sn=self.stat_sn if itt == RESERVED_TAG else self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                lun=lun,
                data_length=len(data),
            ),
            data,
        )

    def reject(self, reason: RejectReason, header: bytes | bytearray, at: int) -> None:
        """Refuse the request whose header is at ``at``."""
        refused = bytes(header[at : at + pdu.BHS_LENGTH])
        self.tx.put(
            pdu.pack_reject(
                reason=reason,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
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
        """Tell the peer of something that it did not ask for (RFC 7143 11.9)."""
        if self.closing:
            return
        body = len(sense).to_bytes(2, "big") + sense if sense else b""
        self.tx.put(
            pdu.pack_async_message(
                event=event,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                lun=lun,
                parameters=parameters,
                data_length=len(body),
            ),
            body,
        )

    def text_answer(self, itt: int, ttt: int, flags: int, data: bytes) -> None:
        """Answer a Text Request, in full or in part; ``flags`` are F and C."""
        self.tx.put(
            pdu.pack_text_response(
                itt=itt,
                ttt=ttt,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                flags=flags,
                data_length=len(data),
            ),
            data,
        )

    def logout_answer(self, itt: int, response: LogoutCode = LogoutCode.CLOSED) -> None:
        """Answer a Logout Request."""
        self.tx.put(
            pdu.pack_logout_response(
                itt=itt,
                response=response,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
            )
        )
