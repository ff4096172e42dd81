"""What is above a connection in full-feature phase: whoever executes its commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from scstfs.iscsi.task import IscsiTask, ManagementFunction
from scstfs.iscsi.transfer import TaskFault

if TYPE_CHECKING:
    from scstfs.iscsi.connection import Connection


class TextNegotiation(Protocol):
    """One exchange of text in full-feature phase (RFC 7143 6.4)."""

    def answer(self, text: bytes) -> bytes:
        """Answer a complete text; raises ProtocolError (a Reject), and then it has failed."""

    def conclude(self) -> None:
        """Agreement: what was negotiated holds from now on."""


class Host(Protocol):
    """Executes what a connection receives.

    Every task that it is told of by ``command`` it ends exactly once, by ``TaskTable.answer`` or
    ``TaskTable.end_silently``, also when the connection has been dropped meanwhile.
    """

    def fast(self, connection: Connection) -> None:
        """Answer simple commands at the front of ``connection.rx`` that can be answered at once.

        They must be in order, with the CmdSNs due.  Of what is left to others nothing is done.
        """

    def command(self, task: IscsiTask) -> int:
        """A command came; returns how many bytes of write data it needs.

        It may be ended at once, e.g. to refuse it.
        """

    def data_complete(self, task: IscsiTask) -> None:
        """The write data of ``task`` is in ``task.transfer``; none was needed if that is None.

        The data stays there until the task is ended.
        """

    def refuse(self, task: IscsiTask, fault: TaskFault) -> None:
        """The peer's data does not fit: end ``task``, if it has not ended, with this fault.

        ``command`` may not have been called for it.
        """

    def allocate(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        """Memory for ``size`` bytes and what gives it back; raises MemoryError if there is none."""

    def task_management(self, function: ManagementFunction) -> None:
        """Perform a task management function.

        Ends in ``Functions.answer``, or in ``Functions.forget`` if there is to be no answer.
        """

    def negotiate(self) -> TextNegotiation:
        """A negotiation by Text Requests begins; any that had begun before has failed."""

    def logout(self) -> None:
        """The initiator logs out; the answer will be sent when this returns."""
