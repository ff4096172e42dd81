"""Commands of a session that ended without an answer, for who asks for them (RFC 7143 11.6.1).

An initiator that gives up waiting aborts the command.  "Task does not exist" is what it hears of a
command whose answer is on its way; of one that will never be answered it is a failure to abort it.
"""

from __future__ import annotations

from typing import Final

from scstfs.iscsi.serial import add, within
from scstfs.iscsi.task import IscsiTask

#: How many commands ago one may have been sent that is still remembered.
REMEMBERED: Final = 2048


class Unanswered:
    """The latest such commands."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        #: (CmdSN, tag), oldest first.  An immediate command has no CmdSN of its own, and one that
        #: did not come in time has no tag.
        self._records: dict[tuple[int | None, int | None], None] = {}

    def add(self, task: IscsiTask) -> None:
        """``task`` has ended, and the initiator has not been told."""
        self._add(None if task.immediate else task.cmd_sn, task.itt)

    def add_missing(self, cmd_sn: int) -> None:
        """What comes with ``cmd_sn``, if anything does, will be ignored."""
        self._add(cmd_sn, None)

    def _add(self, cmd_sn: int | None, itt: int | None) -> None:
        self._records[cmd_sn, itt] = None
        if len(self._records) > REMEMBERED:
            del self._records[next(iter(self._records))]

    def begins(self, task: IscsiTask) -> None:
        """The tag of ``task`` means another command from now on; most have a CmdSN besides."""
        if task.immediate:
            self._records.pop((None, task.itt), None)

    def has(self, itt: int, cmd_sn: int, exp_cmd_sn: int) -> bool:
        """The command with this tag and CmdSN is one; ``exp_cmd_sn`` is the CmdSN due now."""
        if not within(cmd_sn, add(exp_cmd_sn, -REMEMBERED), add(exp_cmd_sn, -1)):
            return False
        return (cmd_sn, itt) in self._records or (cmd_sn, None) in self._records

    def has_immediate(self, itt: int) -> bool:
        """The immediate command with this tag is one."""
        return (None, itt) in self._records
