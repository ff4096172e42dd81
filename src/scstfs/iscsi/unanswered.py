"""Commands of a session that ended without an answer (RFC 7143 11.6.1).

An initiator that gives up waiting aborts the command. The response "task does not exist" means that
the command's answer is on its way. For a command that will never be answered, the initiator would
take it as a failure to abort.
"""

from __future__ import annotations

from typing import Final

from scstfs.iscsi.serial import add, within
from scstfs.iscsi.task import IscsiTask

#: How many commands back they are remembered.
REMEMBERED: Final = 2048


class Unanswered:
    """The latest such commands."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        #: (CmdSN, tag), oldest first.  An immediate command has no CmdSN of its own, and one that
        #: did not come in time has no tag.
        self._records: dict[tuple[int | None, int | None], None] = {}

    def add(self, task: IscsiTask) -> None:
        """Remember ``task``, which ended without an answer."""
        self._add(None if task.immediate else task.cmd_sn, task.itt)

    def add_missing(self, cmd_sn: int) -> None:
        """Remember ``cmd_sn``: a command that arrives with it is ignored."""
        self._add(cmd_sn, None)

    def _add(self, cmd_sn: int | None, itt: int | None) -> None:
        self._records[cmd_sn, itt] = None
        if len(self._records) > REMEMBERED:
            del self._records[next(iter(self._records))]

    def begins(self, task: IscsiTask) -> None:
        """Forget the tag of an earlier command: ``task`` uses it now."""
        if task.immediate:
            self._records.pop((None, task.itt), None)

    def has(self, itt: int, cmd_sn: int, exp_cmd_sn: int) -> bool:
        """Return whether the command with this tag and CmdSN is one; ``exp_cmd_sn`` is the CmdSN
        due.
        """
        if not within(cmd_sn, add(exp_cmd_sn, -REMEMBERED), add(exp_cmd_sn, -1)):
            return False
        return (cmd_sn, itt) in self._records or (cmd_sn, None) in self._records

    def has_immediate(self, itt: int) -> bool:
        """Return whether the immediate command with this tag is one."""
        return (None, itt) in self._records
