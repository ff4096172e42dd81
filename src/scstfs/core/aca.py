"""Auto contingent allegiance (SAM-5 5.9): the initiator sorts things out, everybody else waits.

A CHECK CONDITION of a command with the NACA bit establishes the condition.  Until the nexus that
got it (the *faulted* one) clears it, commands that are in the task set already neither start nor
complete; of new ones only the faulted nexus's with the ACA task attribute are taken, one at a
time, and other nexuses' PREEMPT AND ABORT.  TST says whose commands these are: the device's (TST=0)
or those of the faulted nexus alone (TST=1).
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
    """What is looked at of a command."""

    attribute: TaskAttribute
    cdb: bytes

    @property
    def tgt_dev(self) -> object:
        """The nexus."""

    @property
    def naca(self) -> bool:
        """CHECK CONDITION is to establish the condition (SAM-5 5.2)."""


C = TypeVar("C", bound=AcaCommand)


class Aca(Generic[C]):
    """The condition of one task set, if there is one."""

    #: The nexus whose command failed; None while there is no condition.
    faulted: Gated[object] = Gated(None)

    def __init__(self) -> None:
        #: The command with the ACA attribute that is under way.
        self.command: C | None = None
        #: What may not complete, and what may not start, with how each goes on.
        self._answered: dict[C, Callable[[], None]] = {}
        self._deferred: dict[C, Callable[[], None]] = {}

    def admit(self, cmd: C, *, only_task_management: bool) -> None:
        """Let a command that arrives into the task set, or raise what it ends with.

        ``only_task_management``: none is let in by its attribute (TMF_ONLY, SPC-4 7.5.8).
        Nothing else of the CDB but the NACA bit is looked at before.
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
        """``cmd`` has to wait for the end of the condition."""
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
        """``cmd`` is aborted or sent back: it does not wait any longer."""
        self._answered.pop(cmd, None)
        self._deferred.pop(cmd, None)

    def check_condition(self, cmd: C) -> None:
        """``cmd`` ends with CHECK CONDITION (SAM-5 5.9.2)."""
        if self.faulted is not None:
            if cmd is not self.command and not _preempts_and_aborts(cmd):
                # One that was not let in.
                return
            if not cmd.naca:
                self.clear()
                return
        if cmd.naca:
            self.faulted = cmd.tgt_dev

    def ended(self, cmd: C) -> None:
        """``cmd`` is over: if it had the ACA attribute, the next one may come."""
        if cmd is self.command:
            self.command = None

    def clear(self) -> None:
        """End the condition, if there is one, and let everybody go on."""
        faulted, self.faulted, self.command = self.faulted, None, None
        if faulted is None:
            return
        # Each may establish the condition again, and is kept again then.
        waiting = (*self._answered.values(), *self._deferred.values())
        self._answered, self._deferred = {}, {}
        for go_on in waiting:
            go_on()


def _preempts_and_aborts(cmd: AcaCommand) -> bool:
    cdb = cmd.cdb
    return cdb[0] == _PERSISTENT_RESERVE_OUT and cdb[1] & 0x1F == OutAction.PREEMPT_AND_ABORT
