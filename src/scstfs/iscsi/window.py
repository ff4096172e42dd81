"""The command window of a session and the order of its requests (RFC 7143 4.2.2.1).

A request is handled when its CmdSN is due.  One that comes before its turn waits here, with the
data that comes for it.  A request that is refused by a Reject does not count as received: its CmdSN
is still due (RFC 7143 7.3). Therefore the handler of a request calls ``accept`` when it has found
no fault.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from scstfs.iscsi.codes import FINAL, RESERVED_TAG, PduOpcode
from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.requests import EarlyData, Rejected, Request
from scstfs.iscsi.serial import MASK, add, less, within

#: Immediate requests of a kind (commands, task management) under way beyond QueuedCommands; more
#: are rejected. They are counted separately, so that neither kind shuts out the other (RFC 7143
#: 4.2.2.1).
_MOST_IMMEDIATE: Final = 8


class Window:
    """The CmdSNs that may come, the one that is due, and requests that came early."""

    __slots__ = (
        "_early_data",
        "_first_burst",
        "_functions",
        "_held",
        "_skipped",
        "_tasks",
        "credit",
        "exp_cmd_sn",
        "is_plain",
        "max_cmd_sn",
        "queue_depth",
    )

    def __init__(
        self,
        tasks: Collection[int],
        functions: Collection[int],
        *,
        cmd_sn: int,
        max_cmd_sn: int | None,
        queue_depth: int,
        first_burst: int,
    ) -> None:
        """``tasks`` and ``functions`` are the task tags of the requests that are not answered.

        ``cmd_sn`` is the next one due, and ``max_cmd_sn`` the last that the peer was told it may
        use.  ``first_burst`` (FirstBurstLength) is the limit of unsolicited data per command.
        """
        self._tasks = tasks
        self._functions = functions
        self._first_burst = first_burst
        #: Requests that came before their turn, by CmdSN, and the data that came for them, by ITT.
        self._held: dict[int, Request] = {}
        self._early_data: dict[int, EarlyData] = {}
        #: CmdSNs that count as received although no command came with them.
        self._skipped: set[int] = set()
        self.exp_cmd_sn = cmd_sn
        #: The peer may send commands up to and including this CmdSN; it never goes back.
        self.max_cmd_sn = add(cmd_sn, -1) if max_cmd_sn is None else max_cmd_sn
        #: Requests that may be under way (``QueuedCommands``); ``open`` makes a change count.
        self.queue_depth = queue_depth
        #: Number of commands that may come, less one.
        self.credit = 0
        #: A command with the CmdSN due needs no further checks: the window is open and as wide as
        #: the credit, and nothing waits for its turn.
        self.is_plain = False
        self.open()

    def open(self) -> None:
        """Recompute MaxCmdSN: QueuedCommands less what is under way."""
        functions = self._functions
        room = self.queue_depth - len(self._tasks) - len(functions)
        self.credit = credit = max(room, 0) - 1
        maximum = (self.exp_cmd_sn + credit) & MASK
        if less(self.max_cmd_sn, maximum):
            self.max_cmd_sn = maximum
        is_in_order = not (self._held or self._skipped or functions)
        self.is_plain = is_in_order and credit >= 0 and maximum == self.max_cmd_sn

    @property
    def under_way(self) -> int:
        """Requests that have not been answered."""
        return len(self._tasks) + len(self._functions)

    @property
    def is_waiting(self) -> bool:
        """Return whether a request waits for commands that have not arrived."""
        return bool(self._held or self._functions)

    def check_tag(self, itt: int, kind: Collection[int], *, is_immediate: bool) -> None:
        """Refuse a new request whose tag is in use, or an immediate one above the limit.

        ``kind`` are the tags of unanswered requests of its kind. Raises Rejected.
        """
        if itt == RESERVED_TAG:
            raise Rejected(RejectReason.INVALID_PDU_FIELD, "the reserved task tag")
        if itt in self._tasks or itt in self._functions:
            raise Rejected(RejectReason.TASK_IN_PROGRESS, f"task tag {itt:08x} is in use")
        if is_immediate and len(kind) >= self.queue_depth + _MOST_IMMEDIATE:
            raise Rejected(RejectReason.IMMEDIATE_COMMAND_REJECT, "too many immediate requests")

    # Requests that came in order

    def admit(self, request: Request) -> bool:
        """Take a request with its own CmdSN; return True if it is due.

        An early one is kept. Requests outside the window and duplicates are ignored.
        """
        cmd_sn = request.cmd_sn
        if cmd_sn == self.exp_cmd_sn and cmd_sn != add(self.max_cmd_sn):
            return True
        is_new = cmd_sn not in self._held and cmd_sn not in self._skipped
        if is_new and within(cmd_sn, self.exp_cmd_sn, self.max_cmd_sn):
            self._held[cmd_sn] = held = request.copy()
            if held.header[0] == PduOpcode.SCSI_COMMAND and not held.header[1] & FINAL:
                self._early_data[held.itt] = EarlyData(self._first_burst)
            self.is_plain = False
        return False

    def accept(self, *, is_immediate: bool) -> None:
        """The present request has no fault and counts as received."""
        if not is_immediate:
            self._advance()
        self.open()

    def advance(self, cmd_sn: int, credit: int) -> None:
        """All commands before ``cmd_sn`` came in order, while the window was plain.

        Those that have not been answered took their part of the ``credit``.
        """
        self.exp_cmd_sn = cmd_sn
        self.credit = credit
        self.max_cmd_sn = (cmd_sn + credit) & MASK
        self.is_plain = credit >= 0

    def _advance(self) -> None:
        self.exp_cmd_sn = (self.exp_cmd_sn + 1) & MASK
        self._pass_skipped()

    def _pass_skipped(self) -> None:
        while self.exp_cmd_sn in self._skipped:
            self._skipped.discard(self.exp_cmd_sn)
            self.exp_cmd_sn = add(self.exp_cmd_sn)

    # Requests that came before their turn

    def take_due(self) -> Request | None:
        """The waiting request that is due now, or None."""
        return self._held.pop(self.exp_cmd_sn, None)

    def keep_data(self, request: Request) -> None:
        """Keep data of a command that waits for its turn.

        Other data belongs to a task that has been aborted or answered meanwhile; it is dropped.
        """
        early = self._early_data.get(request.itt)
        if early is not None:
            early.add(request)

    def take_data(self, itt: int) -> list[Request]:
        """The data that arrived for a command before its turn."""
        early = self._early_data.pop(itt, None)
        return [] if early is None else early.parts

    # Requests that will not be handled

    def skip(self, cmd_sn: int) -> None:
        """A command in the window counts as received and will be ignored: it was aborted."""
        self._forget_held(cmd_sn)
        if cmd_sn == self.exp_cmd_sn:
            self._advance()
        else:
            self._skipped.add(cmd_sn)
        self.open()

    def plug(self, cmd_sn: int) -> list[int]:
        """All commands before ``cmd_sn`` count as received and will be ignored; return their
        CmdSNs.
        """
        if not within(cmd_sn, self.exp_cmd_sn, add(self.max_cmd_sn)):
            return []
        for early in [number for number in self._held if less(number, cmd_sn)]:
            self._forget_held(early)
        self._skipped = {number for number in self._skipped if not less(number, cmd_sn)}
        missing = []
        while self.exp_cmd_sn != cmd_sn:
            missing.append(self.exp_cmd_sn)
            self.exp_cmd_sn = add(self.exp_cmd_sn)
        self._pass_skipped()
        self.open()
        return missing

    def clear(self) -> None:
        """Drop all that waits: the connection is gone."""
        self._held.clear()
        self._early_data.clear()
        self._skipped.clear()

    def _forget_held(self, cmd_sn: int) -> None:
        held = self._held.pop(cmd_sn, None)
        if held is not None:
            self._early_data.pop(held.itt, None)
