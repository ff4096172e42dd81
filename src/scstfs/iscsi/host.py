"""The interface of what is above a connection in full-feature phase and executes its commands."""

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
        """Answer a complete text; raises ProtocolError (a Reject) if the negotiation fails."""

    def conclude(self) -> None:
        """The negotiation succeeded: its result takes effect now."""


class Host(Protocol):
    """Executes what a connection receives.

    It ends every task that it gets by ``command`` exactly once, by ``TaskTable.answer`` or
    ``TaskTable.end_silently``, even if the connection has been dropped meanwhile.
    """

    def fast(self, connection: Connection) -> None:
        """Answer simple commands at the front of ``connection.rx`` that can be answered at once.

        They must be in order, with the CmdSNs due. Commands that are declined are left untouched.
        """

    def command(self, task: IscsiTask) -> int:
        """Take a command; return how many bytes of write data it needs.

        It may be ended at once, for example to refuse it.
        """

    def data_complete(self, task: IscsiTask) -> None:
        """Execute ``task``: its write data is in ``task.transfer``, None if it needs none.

        The data stays there until the task is ended.
        """

    def refuse(self, task: IscsiTask, fault: TaskFault) -> None:
        """End ``task``, if it has not ended, with this fault of the peer's data.

        ``command`` may not have been called for it.
        """

    def allocate(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        """Memory for ``size`` bytes, and the call that releases it; raises MemoryError if there is
        none.
        """

    def task_management(self, function: ManagementFunction) -> None:
        """Perform a task management function.

        It ends in ``Functions.answer``, or in ``Functions.forget`` if no answer is sent.
        """

    def negotiate(self) -> TextNegotiation:
        """Begin a negotiation by Text Requests; one that was under way has failed."""

    def logout(self, done: Callable[[], None]) -> None:
        """The initiator logs out: end what is under way (RFC 7143 11.14).

        The answer is sent when ``done`` is called, maybe at once: nothing may have an effect after
        that.
        """
