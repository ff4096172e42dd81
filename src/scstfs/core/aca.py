"""Auto contingent allegiance (SAM-5 5.9): one initiator recovers, all others wait.

A CHECK CONDITION for a command with the NACA bit establishes the condition.  Until the nexus that
got it (the *faulted* one) clears it, commands already in the task set neither start nor complete.
New commands are accepted only from the faulted nexus with the ACA task attribute, one at a time;
other nexuses may send PREEMPT AND ABORT. TST selects the commands that this applies to: all of the
device's (TST=0) or only those of the faulted nexus (TST=1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from scstfs.core.gated import Gated
from scstfs.core.taskset import TaskAttribute
from scstfs.scsi import sense
from scstfs.scsi.pr import OutAction
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus

_PERSISTENT_RESERVE_OUT: Final = 0x5F


class AcaCommand(Protocol):
    """The part of a command that this module uses."""

    attribute: TaskAttribute
    cdb: bytes

    @property
    def tgt_dev(self) -> object:
        """The nexus."""

    @property
    def naca(self) -> bool:
        """The NACA bit: CHECK CONDITION establishes the condition (SAM-5 5.2)."""


C = TypeVar("C", bound=AcaCommand)


class Aca(Generic[C]):
    """The condition of one task set, if there is one."""

    #: The nexus whose command failed; None while there is no condition.
    faulted: Gated[object] = Gated(None)

    def __init__(self) -> None:
        #: The command with the ACA attribute that is under way.
        self.command: C | None = None
        #: Commands that may not complete, then those that may not start, each with the call that
        #: continues it.
        self._answered: dict[C, Callable[[], None]] = {}
        self._deferred: dict[C, Callable[[], None]] = {}

    def admit(self, cmd: C, *, only_task_management: bool) -> None:
        """Admit an arriving command to the task set, or raise the status that it ends with.

        ``only_task_management``: no command is admitted for its attribute (TMF_ONLY, SPC-4 7.5.8).
        Of the CDB, only the NACA bit is checked before.
        """
        wants = cmd.attribute is TaskAttribute.ACA
        if self.faulted is None:
            if wants:
                raise CheckCondition(sense.INVALID_MESSAGE)
        elif cmd.tgt_dev is self.faulted:
            if not wants or self.command is not None or only_task_management:
                raise TaskStatus(Status.ACA_ACTIVE)
            self.command = cmd
        elif wants:
            raise CheckCondition(sense.INVALID_MESSAGE)
        elif not _preempts_and_aborts(cmd):
            raise TaskStatus(Status.ACA_ACTIVE if cmd.naca else Status.BUSY)

    def stops(self, cmd: C) -> bool:
        """Return whether ``cmd`` must wait for the end of the condition."""
        if self.faulted is None or cmd is self.command:
            return False
        return not _preempts_and_aborts(cmd)

    def defer(self, cmd: C, go_on: Callable[[], None]) -> None:
        """Keep a command that may not start."""
        self._deferred[cmd] = go_on

    def keep_answer(self, cmd: C, go_on: Callable[[], None]) -> None:
        """Keep a command that may not complete."""
        self._answered[cmd] = go_on

    def forget(self, cmd: C) -> None:
        """Forget ``cmd``, which was aborted or sent back."""
        self._answered.pop(cmd, None)
        self._deferred.pop(cmd, None)

    def check_condition(self, cmd: C) -> None:
        """``cmd`` ends with CHECK CONDITION (SAM-5 5.9.2)."""
        if self.faulted is not None:
            if cmd is not self.command and not _preempts_and_aborts(cmd):
                # It was not admitted.
                return
            if not cmd.naca:
                self.clear()
                return
        if cmd.naca:
            self.faulted = cmd.tgt_dev

    def ended(self, cmd: C) -> None:
        """``cmd`` is over: if it had the ACA attribute, the next one may enter."""
        if cmd is self.command:
            self.command = None

    def clear(self) -> None:
        """End the condition, if there is one, and continue all commands that wait for it."""
        faulted, self.faulted, self.command = self.faulted, None, None
        if faulted is None:
            return
        # Each may establish the condition again; it then waits again.
        waiting = (*self._answered.values(), *self._deferred.values())
        self._answered, self._deferred = {}, {}
        for go_on in waiting:
            go_on()


def _preempts_and_aborts(cmd: AcaCommand) -> bool:
    cdb = cmd.cdb
    return cdb[0] == _PERSISTENT_RESERVE_OUT and cdb[1] & 0x1F == OutAction.PREEMPT_AND_ABORT
