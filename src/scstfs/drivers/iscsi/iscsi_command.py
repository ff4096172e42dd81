"""SCSI commands that came over iSCSI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.taskset import TaskAttribute
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.status import Status

if TYPE_CHECKING:
    from scstfs.core.buffers import Buffer
    from scstfs.drivers.iscsi.nexus import Nexus
    from scstfs.iscsi.replies import Replies
    from scstfs.iscsi.task import IscsiTask

#: By the R and W bits.
_DIRECTIONS: Final = {
    (False, False): Direction.NONE,
    (True, False): Direction.IN,
    (False, True): Direction.OUT,
    (True, True): Direction.BIDIRECTIONAL,
}
_ATTRIBUTES: Final = {attribute.value: attribute for attribute in TaskAttribute}


class IscsiCommand(Command):
    """A command and the task that its answer ends."""

    __slots__ = ("_buffer", "_is_answer", "nexus", "task")

    def __init__(self, nexus: Nexus, task: IscsiTask) -> None:
        super().__init__(
            nexus.core,
            task.lun,
            task.cdb,
            task.itt,
            _ATTRIBUTES.get(task.attribute, TaskAttribute.SIMPLE),
            _DIRECTIONS[task.reads, task.writes],
            task.expected,
        )
        self.nexus = nexus
        self.task = task
        self._buffer: Buffer | None = None
        #: What is in it is sent.
        self._is_answer = False

    def allocate(self, size: int) -> memoryview:
        """Pooled memory that the answer is sent from."""
        buffer = self.session.target.env.buffers.get(size)
        self.hold(buffer, is_answer=True)
        return buffer.view

    @property
    def has_memory(self) -> bool:
        """Answers do not use all the memory that one connection may have.

        One command of each LUN may have some in any case, as long as the initiator fetches what it
        is sent, so that LUNs whose disks hang leave something for others.
        """
        replies = self.task.table.replies
        if replies.reading < replies.reading_limit:
            return True
        if not replies.has_room():
            return False
        own = (cmd for cmd in self.tgt_dev.commands if isinstance(cmd, IscsiCommand))
        return not any(cmd._is_answer for cmd in own)

    def when_memory(self, call: Callable[[], None]) -> None:
        """See Command."""
        self.nexus.host.starving.add(self, self.task.table.replies, call)

    def stop_waiting_for_memory(self) -> None:
        """See Command."""
        self.nexus.host.starving.look()

    def hold(self, buffer: Buffer, *, is_answer: bool) -> None:
        """Have ``buffer`` for as long as the command lasts, or its data takes to be sent.

        If it ``is_answer``, what the initiator does not fetch counts as that of ``allocate`` does.
        """
        if is_answer:
            self.task.table.replies.reading += len(buffer.view)
        self._is_answer = is_answer
        self._buffer = buffer

    @property
    def buffer(self) -> Buffer:
        """The memory that it has."""
        assert self._buffer is not None
        return self._buffer

    def take_buffer(self) -> Buffer:
        """Its memory is the caller's to give back."""
        buffer, self._buffer = self.buffer, None
        return buffer

    def cancel_transfer(self) -> None:
        """Does nothing: the task ends without an answer, and late data is dropped."""

    def reply(self) -> None:
        """Send status, sense and data, or forget the task."""
        self.nexus.host.answer_ended()
        task, buffer = self.task, self._buffer
        tasks = task.table
        release = None
        if buffer is not None:
            give = partial(give_back, tasks.replies, buffer)
            release = give if self._is_answer else buffer.release
        if self.status is None:
            if release is not None:
                release()
            tasks.end_silently(task)
        else:
            data = memoryview(self.data_in)[: task.expected] if task.reads else None
            tasks.answer(
                task,
                self.status,
                sense=self.sense,
                data=data,
                release=release,
                residual=self._residual(),
            )
        # Command and task refer to each other. Their memory, up to 64 MiB, must not wait for the
        # garbage collector, which counts objects, not bytes.
        self.data = self.data_in = b""
        self._buffer = None
        self.nexus.mark()

    def _residual(self) -> int:
        """Bytes that were expected and not transferred, negative for those that did not fit.

        Write data counts as transferred once it has been requested, even if the command fails.
        """
        task, decoded = self.task, self.decoded
        if task.reads:
            return task.expected - len(self.data_in)
        if task.writes:
            return task.expected - (0 if decoded is None else decoded.length)
        is_read = decoded is not None and decoded.op.direction is Direction.IN
        if is_read and self.status is Status.GOOD:
            # A READ that announces no data.
            return -self.parsed.data_length
        return 0


def give_back(replies: Replies, buffer: Buffer) -> None:
    """Give back memory that an answer was sent from."""
    replies.has_read(len(buffer.view))
    buffer.release()
