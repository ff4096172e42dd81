"""Sessions for programs in this process: SCSI commands without a transport.

A session belongs to a target of scst_local and has the LUNs that the target's configuration gives
to its name. Its commands take the same path as those over iSCSI::

    session = local.open_session(target, "my-initiator")
    result = await session.execute(0, bytes.fromhex("12000000ff00"))

Everything here runs in the event loop of its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import trio

from scstfs.core import execute, task_management
from scstfs.core.command import Command
from scstfs.core.session import PendingFunction, Session, TgtDev
from scstfs.core.taskset import TaskAttribute
from scstfs.drivers.scst_local import (
    Event,
    LocalStatistics,
    LocalTarget,
    LocalTransport,
    close_session,
)
from scstfs.scsi.lun import pack_lun
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status


class Result(NamedTuple):
    """How a command ended."""

    status: Status
    sense: bytes
    data: bytes


class NotAnsweredError(Exception):
    """The command was aborted and gets no answer (SAM-5 5.6), or the session is closed."""


class NoSuchLunError(Exception):
    """The session has no such logical unit."""


class _LocalCommand(Command):
    """A command whose sender waits in this process."""

    __slots__ = ("ended",)

    def __init__(
        self,
        session: Session,
        lun: bytes,
        cdb: bytes,
        direction: Direction,
        length: int,
        tag: int,
        attribute: TaskAttribute,
    ) -> None:
        super().__init__(
            session,
            lun,
            cdb,
            tag=tag,
            attribute=attribute,
            expected_direction=direction,
            expected_length=length,
        )
        self.ended = trio.Event()

    def reply(self) -> None:
        """See Command."""
        self.ended.set()

    def cancel_transfer(self) -> None:
        """Does nothing: there is no transfer."""


class LocalSession:
    """A session of scst_local."""

    def __init__(self, session: Session, transport: LocalTransport) -> None:
        self.session = session
        self._transport = transport

    async def execute(
        self,
        lun: int | bytes,
        cdb: bytes,
        data_out: bytes = b"",
        *,
        data_in: int | None = None,
        tag: int = 0,
        attribute: TaskAttribute = TaskAttribute.SIMPLE,
    ) -> Result:
        """Send a command and wait for its answer.

        ``lun`` is a number or the eight bytes of a LUN field; ``data_in`` is the expected number of
        bytes, None for the number in the CDB. Cancellation aborts the command.

        Raises NotAnsweredError.
        """
        session, field = self.session, _field(lun)
        if not session.is_open:
            raise NotAnsweredError("the session is closed")
        direction, length = _expected(session, field, cdb, data_out, data_in)
        cmd = _LocalCommand(session, field, cdb, direction, length, tag, attribute)
        execute.prepare(cmd)
        if not cmd.is_over:
            cmd.data = data_out[: cmd.data_out_length]
            execute.run(cmd)
        try:
            await cmd.ended.wait()
        finally:
            if not cmd.is_over:
                task_management.abort_task(cmd, lambda: None)
        if cmd.status is None:
            raise NotAnsweredError("the command was aborted")
        return Result(cmd.status, bytes(cmd.sense), bytes(cmd.data_in)[:data_in])

    # Task management (SAM-5 7)

    async def abort_task(self, lun: int | bytes, tag: int) -> bool:
        """ABORT TASK; False if there is no such command."""
        tgt_dev = self._tgt_dev(lun)
        cmd = next((cmd for cmd in tgt_dev.commands if cmd.tag == tag), None)
        if cmd is None:
            return False
        self._statistics.aborts += 1
        victim = cmd
        await self._function(
            "ABORT_TASK", lambda done: task_management.abort_task(victim, done), tgt_dev
        )
        return True

    async def abort_task_set(self, lun: int | bytes) -> None:
        """ABORT TASK SET."""
        tgt_dev = self._tgt_dev(lun)
        self._statistics.aborts += 1
        await self._function(
            "ABORT_TASK_SET", lambda done: task_management.abort_task_set(tgt_dev, done), tgt_dev
        )

    async def clear_task_set(self, lun: int | bytes) -> None:
        """CLEAR TASK SET."""
        tgt_dev = self._tgt_dev(lun)
        self._statistics.aborts += 1
        await self._function(
            "CLEAR_TASK_SET", lambda done: task_management.clear_task_set(tgt_dev, done), tgt_dev
        )

    async def lun_reset(self, lun: int | bytes) -> None:
        """LOGICAL UNIT RESET."""
        tgt_dev = self._tgt_dev(lun)
        self._statistics.device_resets += 1
        await self._function(
            "LUN_RESET", lambda done: task_management.logical_unit_reset(tgt_dev, done), tgt_dev
        )

    async def target_reset(self) -> None:
        """TARGET RESET: every logical unit that the session's LUN set has."""
        self._statistics.target_resets += 1
        await self._function(
            "TARGET_RESET", lambda done: task_management.target_reset(self.session, done), None
        )

    # Everything else

    def take_events(self) -> list[Event]:
        """Asynchronous events since the last call."""
        events = list(self._transport.events)
        self._transport.events.clear()
        return events

    def close(self) -> None:
        """End the session; commands under way are aborted."""
        close_session(self.session)

    @property
    def _target(self) -> LocalTarget:
        target = self.session.target
        assert isinstance(target, LocalTarget)
        return target

    @property
    def _statistics(self) -> LocalStatistics:
        return self._target.local_driver.statistics

    def _tgt_dev(self, lun: int | bytes) -> TgtDev:
        tgt_dev = self.session.find(_field(lun))
        if tgt_dev is None:
            raise NoSuchLunError(f"the session has no LUN {lun!r}")
        return tgt_dev

    async def _function(
        self,
        name: str,
        start: Callable[[Callable[[], None]], None],
        tgt_dev: TgtDev | None,
    ) -> None:
        """Carry a task management function out and wait for its end."""
        ended = trio.Event()
        trace = self._target.local_driver.trace
        trace.event("mgmt", "session %s: %s", self.session.name, name)
        with self._pending(name, tgt_dev):
            start(ended.set)
            await ended.wait()

    @contextmanager
    def _pending(self, name: str, tgt_dev: TgtDev | None) -> Iterator[None]:
        lun, waits_for = 0, self.session.command_count
        if tgt_dev is not None:
            lun, waits_for = tgt_dev.lun, len(tgt_dev.commands)
        function = PendingFunction(name, lun, waits_for=waits_for)
        self.session.pending_functions.append(function)
        try:
            yield
        finally:
            self.session.pending_functions.remove(function)


def open_session(target: LocalTarget, name: str) -> LocalSession:
    """The open session of this initiator; it is opened if there is none."""
    session = target.find_session(name) or target.open_session(name)
    assert isinstance(session.transport, LocalTransport)
    return LocalSession(session, session.transport)


def _field(lun: int | bytes) -> bytes:
    return pack_lun(lun) if isinstance(lun, int) else lun


def _expected(
    session: Session, lun: bytes, cdb: bytes, data_out: bytes, data_in: int | None
) -> tuple[Direction, int]:
    """Direction and length of the data that the sender expects."""
    if data_out and data_in:
        return Direction.BIDIRECTIONAL, len(data_out)
    if data_out:
        return Direction.OUT, len(data_out)
    if data_in is not None:
        return (Direction.IN, data_in) if data_in else (Direction.NONE, 0)
    tgt_dev = session.find(lun)
    if tgt_dev is None:
        return Direction.IN, 1 << 16
    try:
        decoded = tgt_dev.device.opcodes.decode(cdb, tgt_dev.device.block_shift)
    except CheckCondition:
        # The command will be refused for the same reason.
        return Direction.NONE, 0
    if decoded.direction is Direction.IN:
        return Direction.IN, decoded.length
    return decoded.direction, 0
