"""Commands with only the parts that a task set uses, and devices that run them."""

from __future__ import annotations

from collections.abc import Sequence

from scstfs.core.command import Command
from scstfs.core.taskset import Activity, Claim, TaskSet


class FakeTask(Command):
    """A command with claims and task attributes chosen freely."""

    def __init__(
        self,
        name: str,
        claims: Sequence[tuple[TaskSet, Claim]] = (),
        *,
        head: bool = False,
        serialized: bool = False,
        ordered: bool = False,
    ) -> None:
        self.name = name
        self._claims = tuple(claims)
        self._head = head
        self._serialized = serialized or ordered
        self._ordered = ordered

    def __repr__(self) -> str:
        return self.name

    @property
    def head_of_queue(self) -> bool:
        return self._head

    @property
    def alone(self) -> bool:
        return self._serialized

    @property
    def waits_for_others(self) -> bool:
        return self._ordered

    @property
    def exclusive(self) -> bool:
        return any(claim.exclusive for _, claim in self._claims)

    def claims(self) -> tuple[tuple[TaskSet, Claim], ...]:
        return self._claims


def read(tasks: TaskSet, start: int, end: int) -> tuple[TaskSet, Claim]:
    return tasks, Claim(start, end, writes=False, exclusive=False)


def write(tasks: TaskSet, start: int, end: int) -> tuple[TaskSet, Claim]:
    return tasks, Claim(start, end, writes=True, exclusive=False)


def atomic(tasks: TaskSet, start: int, end: int) -> tuple[TaskSet, Claim]:
    """COMPARE AND WRITE, or the destination of a copy."""
    return tasks, Claim(start, end, writes=True, exclusive=True)


def copied(tasks: TaskSet, start: int, end: int) -> tuple[TaskSet, Claim]:
    """The source of a copy."""
    return tasks, Claim(start, end, writes=False, exclusive=True)


class Devices:
    """The task sets of some devices; commands that may start run until ``finish``."""

    def __init__(self, count: int = 1) -> None:
        self.activity = Activity()
        self.sets = [TaskSet(self.start, self.activity.arrivals) for _ in range(count)]
        for tasks in self.sets:
            self.activity.attach(tasks)
        #: The device that each command was sent to.
        self.home: dict[FakeTask, TaskSet] = {}
        self.started: list[FakeTask] = []

    @property
    def log(self) -> list[str]:
        """The names of the commands that have started, in order."""
        return [cmd.name for cmd in self.started]

    def send(self, cmd: FakeTask, number: int = 0) -> FakeTask:
        """Send a command to a device."""
        tasks = self.home[cmd] = self.sets[number]
        if tasks.admit(cmd):
            self.start(cmd)
        return cmd

    def start(self, cmd: Command) -> None:
        """The command's turn has come."""
        assert isinstance(cmd, FakeTask)
        self.started.append(cmd)
        self.home[cmd].started(cmd)

    def finish(self, cmd: FakeTask) -> None:
        """The command is done."""
        self.home[cmd].finished(cmd)
