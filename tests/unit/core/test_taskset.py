from __future__ import annotations

import pytest

from scstfs.core.command import Command
from scstfs.core.taskset import EVERYTHING, Activity, Claim, TaskSet
from tests.support.fake_task import FakeTask, atomic, copied, read, write


class Machine:
    """Some task sets; admitted tasks run until ``finish``."""

    def __init__(self, count: int = 1) -> None:
        self.activity = Activity()
        self.sets = [TaskSet(self.start, self.activity.arrivals) for _ in range(count)]
        for tasks in self.sets:
            self.activity.attach(tasks)
        self.log: list[str] = []
        self.home: dict[str, TaskSet] = {}

    def start(self, cmd: Command) -> None:
        assert isinstance(cmd, FakeTask)
        self.log.append(cmd.name)
        self.home[cmd.name].started(cmd)

    def send(self, cmd: FakeTask, number: int = 0) -> FakeTask:
        tasks = self.home[cmd.name] = self.sets[number]
        if tasks.admit(cmd):
            self.start(cmd)
        return cmd

    def finish(self, cmd: FakeTask) -> None:
        self.home[cmd.name].finished(cmd)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def tasks(machine: Machine) -> TaskSet:
    return machine.sets[0]


# Claims

READ, WRITE = (Claim(10, 20, writes=w, exclusive=False) for w in (False, True))
SOURCE, ATOMIC = (Claim(10, 20, writes=w, exclusive=True) for w in (False, True))


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        (READ, READ, False),
        (READ, WRITE, False),
        (WRITE, WRITE, False),
        (READ, ATOMIC, True),
        (WRITE, ATOMIC, True),
        (ATOMIC, ATOMIC, True),
        (SOURCE, READ, False),
        (SOURCE, SOURCE, False),
        (SOURCE, WRITE, True),
        (SOURCE, ATOMIC, True),
    ],
)
def test_which_claims_exclude_each_other(one: Claim, other: Claim, excluded: bool) -> None:
    assert one.excludes(other) is excluded
    assert other.excludes(one) is excluded


@pytest.mark.parametrize(("start", "end"), [(0, 10), (20, 30), (15, 15), (0, 0)])
def test_claims_on_other_blocks_exclude_nothing(start: int, end: int) -> None:
    other = Claim(start, end, writes=True, exclusive=True)
    assert not ATOMIC.excludes(other)
    assert not other.excludes(ATOMIC)


# One device


def test_simple_commands_do_not_wait(machine: Machine, tasks: TaskSet) -> None:
    machine.send(FakeTask("a", [write(tasks, 0, 8)]))
    machine.send(FakeTask("b", [write(tasks, 0, 8)]))
    assert machine.log == ["a", "b"]
    assert not tasks.gated


def test_who_wants_blocks_that_are_claimed_waits(machine: Machine, tasks: TaskSet) -> None:
    first = machine.send(FakeTask("first", [atomic(tasks, 0, 8)]))
    assert tasks.gated
    machine.send(FakeTask("same blocks", [read(tasks, 7, 9)]))
    machine.send(FakeTask("other blocks", [write(tasks, 8, 9)]))
    assert machine.log == ["first", "other blocks"]
    machine.finish(first)
    assert machine.log == ["first", "other blocks", "same blocks"]
    assert not tasks.gated


def test_an_atomic_command_waits_for_who_is_at_its_blocks(machine: Machine, tasks: TaskSet) -> None:
    running = machine.send(FakeTask("read", [read(tasks, 0, 8)]))
    machine.send(FakeTask("atomic", [atomic(tasks, 4, 5)]))
    machine.send(FakeTask("late", [read(tasks, 4, 5)]))
    assert machine.log == ["read"], "what comes later must not keep it waiting"
    machine.finish(running)
    assert machine.log == ["read", "atomic"]


def test_an_ordered_command_is_a_barrier(machine: Machine, tasks: TaskSet) -> None:
    first = machine.send(FakeTask("first"))
    ordered = machine.send(FakeTask("ordered", ordered=True))
    machine.send(FakeTask("last"))
    assert machine.log == ["first"]
    machine.finish(first)
    assert machine.log == ["first", "ordered"]
    machine.finish(ordered)
    assert machine.log == ["first", "ordered", "last"]


def test_a_serialized_command_lets_nobody_begin(machine: Machine) -> None:
    machine.send(FakeTask("running"))
    alone = machine.send(FakeTask("alone", serialized=True))
    machine.send(FakeTask("late"))
    assert machine.log == ["running", "alone"]
    machine.finish(alone)
    assert machine.log[-1] == "late"


def test_head_of_queue_overtakes_what_waits(machine: Machine, tasks: TaskSet) -> None:
    tasks.block()
    for name in ("a", "b"):
        machine.send(FakeTask(name))
    machine.send(FakeTask("head", head=True))
    machine.send(FakeTask("newer head", head=True))
    assert machine.log == []
    tasks.unblock()
    assert machine.log == ["newer head", "head", "a", "b"]


def test_head_of_queue_overtakes_a_barrier_that_waits(machine: Machine) -> None:
    machine.send(FakeTask("running"))
    machine.send(FakeTask("ordered", ordered=True))
    machine.send(FakeTask("head", head=True))
    assert machine.log == ["running", "head"]


def test_a_command_that_is_withdrawn_lets_others_pass(machine: Machine, tasks: TaskSet) -> None:
    machine.send(FakeTask("running"))
    ordered = machine.send(FakeTask("ordered", ordered=True))
    machine.send(FakeTask("last"))
    assert tasks.withdraw(ordered)
    assert machine.log == ["running", "last"]
    assert not tasks.withdraw(ordered)


@pytest.mark.parametrize(
    ("close", "reopen"),
    [("block", "unblock"), ("freeze", "thaw"), ("block", "unblock_all")],
)
def test_nothing_starts_while_it_must_not(
    machine: Machine, tasks: TaskSet, close: str, reopen: str
) -> None:
    getattr(tasks, close)()
    machine.send(FakeTask("a"))
    assert machine.log == []
    assert tasks.gated
    assert [str(cmd) for cmd in tasks.waiting] == ["a"]
    getattr(tasks, reopen)()
    assert machine.log == ["a"]
    assert not tasks.gated


def test_blocks_are_counted(machine: Machine, tasks: TaskSet) -> None:
    tasks.block()
    tasks.block()
    tasks.unblock()
    machine.send(FakeTask("a"))
    assert machine.log == []
    tasks.unblock()
    tasks.unblock()
    assert machine.log == ["a"]
    assert tasks.external_blocks == 0


def test_suspending_holds_every_device() -> None:
    machine = Machine(2)
    machine.activity.suspend()
    machine.send(FakeTask("a"), 0)
    machine.send(FakeTask("b"), 1)
    late = TaskSet(machine.start)
    machine.activity.attach(late)
    assert late.gated
    machine.activity.resume()
    assert machine.log == ["a", "b"]


def test_a_command_may_end_while_it_starts() -> None:
    ended: list[str] = []

    def start(cmd: Command) -> None:
        assert isinstance(cmd, FakeTask)
        device.started(cmd)
        ended.append(cmd.name)
        device.finished(cmd)

    device = TaskSet(start)
    device.block()
    for number in range(5):
        device.admit(FakeTask(str(number), ordered=number % 2 == 0))
    device.unblock()
    assert ended == ["0", "1", "2", "3", "4"]
    assert not device.gated


# Idle


def test_idle_is_when_nothing_runs(machine: Machine, tasks: TaskSet) -> None:
    calls: list[str] = []
    tasks.when_idle(lambda: calls.append("at once"))
    running = machine.send(FakeTask("a"))
    tasks.when_idle(lambda: calls.append("later"))
    assert calls == ["at once"]
    machine.finish(running)
    assert calls == ["at once", "later"]


def test_work_in_the_background_is_waited_for_only_if_asked(tasks: TaskSet) -> None:
    calls: list[str] = []
    hold = tasks.hold(in_background=True)
    tasks.when_idle(lambda: calls.append("commands"))
    tasks.when_idle(lambda: calls.append("everything"), background_too=True)
    assert calls == ["commands"]
    assert not tasks.gated
    tasks.release(hold)
    assert calls == ["commands", "everything"]


def test_a_hold_counts_as_a_command(machine: Machine, tasks: TaskSet) -> None:
    calls: list[str] = []
    hold = tasks.hold([ATOMIC])
    tasks.when_idle(lambda: calls.append("idle"))
    machine.send(FakeTask("ordered", ordered=True))
    assert (calls, machine.log) == ([], [])
    tasks.release(hold)
    # The ordered command runs now, and is waited for, too.
    assert machine.log == ["ordered"]
    assert calls == []


# Watchers


def test_watchers_hear_of_writes(tasks: TaskSet) -> None:
    heard: list[Claim] = []
    tasks.watchers.add(heard.append)
    tasks.watchers.tell(EVERYTHING)
    assert heard == [EVERYTHING]


# Copies between devices


def test_a_copy_needs_its_claims_on_all_devices() -> None:
    machine = Machine(2)
    source, target = machine.sets
    writer = machine.send(FakeTask("writer", [write(target, 5, 6)]), 1)
    machine.send(FakeTask("copy", [copied(source, 0, 8), atomic(target, 0, 8)]))
    assert machine.log == ["writer"]
    machine.finish(writer)
    assert machine.log == ["writer", "copy"]


def test_a_copy_that_waits_holds_nothing() -> None:
    machine = Machine(2)
    source, target = machine.sets
    machine.send(FakeTask("writer", [write(target, 5, 6)]), 1)
    machine.send(FakeTask("copy", [copied(source, 0, 8), atomic(target, 0, 8)]))
    machine.send(FakeTask("elsewhere", [write(target, 20, 21)]), 1)
    assert machine.log == ["writer", "elsewhere"]


def test_a_copy_waits_until_the_other_device_is_unblocked() -> None:
    machine = Machine(2)
    source, target = machine.sets
    target.block()
    machine.send(FakeTask("copy", [copied(source, 0, 8), atomic(target, 0, 8)]))
    assert machine.log == []
    target.unblock()
    assert machine.log == ["copy"]


def test_copies_in_opposite_directions_do_not_wait_for_each_other_for_ever() -> None:
    machine = Machine(2)
    a, b = machine.sets
    first = machine.send(FakeTask("first", [write(b, 0, 1)]), 1)
    one = machine.send(FakeTask("a to b", [copied(a, 0, 8), atomic(b, 0, 8)]), 0)
    two = machine.send(FakeTask("b to a", [copied(b, 0, 8), atomic(a, 0, 8)]), 1)
    assert machine.log == ["first"]
    machine.finish(first)
    assert machine.log == ["first", "a to b"]
    # What a copy holds is held by the task sets of the devices.
    hold = b.hold([claim for tasks, claim in one.claims() if tasks is b])
    machine.finish(one)
    assert machine.log == ["first", "a to b"]
    b.release(hold)
    assert machine.log == ["first", "a to b", "b to a"]
    machine.finish(two)
    assert not (a.gated)
    assert not (b.gated)


def test_a_copy_does_not_overtake_a_barrier_of_the_other_device() -> None:
    machine = Machine(2)
    a, b = machine.sets
    running = machine.send(FakeTask("running"), 1)
    ordered = machine.send(FakeTask("ordered", ordered=True), 1)
    machine.send(FakeTask("copy", [copied(a, 0, 8), atomic(b, 0, 8)]), 0)
    machine.finish(running)
    assert machine.log == ["running", "ordered"]
    machine.finish(ordered)
    assert machine.log == ["running", "ordered", "copy"]


def test_commands_are_iterated_running_first(machine: Machine, tasks: TaskSet) -> None:
    machine.send(FakeTask("a"))
    machine.send(FakeTask("b", ordered=True))
    assert [str(cmd) for cmd in tasks] == ["a", "b"]
    assert {str(cmd) for cmd in tasks.running} == {"a"}
