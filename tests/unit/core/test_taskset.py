from __future__ import annotations

import pytest

from scstfs.core.command import Command
from scstfs.core.taskset import EVERYTHING, Claim, TaskSet
from tests.support.fake_task import Devices, FakeTask, atomic, copied, read, write


@pytest.fixture
def devices() -> Devices:
    return Devices()


@pytest.fixture
def tasks(devices: Devices) -> TaskSet:
    return devices.sets[0]


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


def test_simple_commands_do_not_wait(devices: Devices, tasks: TaskSet) -> None:
    devices.send(FakeTask("a", [write(tasks, 0, 8)]))
    devices.send(FakeTask("b", [write(tasks, 0, 8)]))
    assert devices.log == ["a", "b"]
    assert not tasks.gated


def test_who_wants_blocks_that_are_claimed_waits(devices: Devices, tasks: TaskSet) -> None:
    first = devices.send(FakeTask("first", [atomic(tasks, 0, 8)]))
    assert tasks.gated
    devices.send(FakeTask("same blocks", [read(tasks, 7, 9)]))
    devices.send(FakeTask("other blocks", [write(tasks, 8, 9)]))
    assert devices.log == ["first", "other blocks"]
    devices.finish(first)
    assert devices.log == ["first", "other blocks", "same blocks"]
    assert not tasks.gated


def test_an_atomic_command_waits_for_who_is_at_its_blocks(devices: Devices, tasks: TaskSet) -> None:
    running = devices.send(FakeTask("read", [read(tasks, 0, 8)]))
    devices.send(FakeTask("atomic", [atomic(tasks, 4, 5)]))
    devices.send(FakeTask("late", [read(tasks, 4, 5)]))
    assert devices.log == ["read"], "what comes later must not keep it waiting"
    devices.finish(running)
    assert devices.log == ["read", "atomic"]


def test_an_ordered_command_is_a_barrier(devices: Devices, tasks: TaskSet) -> None:
    first = devices.send(FakeTask("first"))
    ordered = devices.send(FakeTask("ordered", ordered=True))
    devices.send(FakeTask("last"))
    assert devices.log == ["first"]
    devices.finish(first)
    assert devices.log == ["first", "ordered"]
    devices.finish(ordered)
    assert devices.log == ["first", "ordered", "last"]


def test_a_serialized_command_lets_nobody_begin(devices: Devices) -> None:
    devices.send(FakeTask("running"))
    alone = devices.send(FakeTask("alone", serialized=True))
    devices.send(FakeTask("late"))
    assert devices.log == ["running", "alone"]
    devices.finish(alone)
    assert devices.log[-1] == "late"


def test_head_of_queue_overtakes_what_waits(devices: Devices, tasks: TaskSet) -> None:
    tasks.block()
    for name in ("a", "b"):
        devices.send(FakeTask(name))
    devices.send(FakeTask("head", head=True))
    devices.send(FakeTask("newer head", head=True))
    assert devices.log == []
    tasks.unblock()
    assert devices.log == ["newer head", "head", "a", "b"]


def test_head_of_queue_overtakes_a_barrier_that_waits(devices: Devices) -> None:
    devices.send(FakeTask("running"))
    devices.send(FakeTask("ordered", ordered=True))
    devices.send(FakeTask("head", head=True))
    assert devices.log == ["running", "head"]


def test_a_command_that_is_withdrawn_lets_others_pass(devices: Devices, tasks: TaskSet) -> None:
    devices.send(FakeTask("running"))
    ordered = devices.send(FakeTask("ordered", ordered=True))
    devices.send(FakeTask("last"))
    assert tasks.withdraw(ordered)
    assert devices.log == ["running", "last"]
    assert not tasks.withdraw(ordered)


@pytest.mark.parametrize(
    ("close", "reopen"),
    [("block", "unblock"), ("freeze", "thaw"), ("block", "unblock_all")],
)
def test_nothing_starts_while_it_must_not(
    devices: Devices, tasks: TaskSet, close: str, reopen: str
) -> None:
    getattr(tasks, close)()
    devices.send(FakeTask("a"))
    assert devices.log == []
    assert tasks.gated
    assert [str(cmd) for cmd in tasks.waiting] == ["a"]
    getattr(tasks, reopen)()
    assert devices.log == ["a"]
    assert not tasks.gated


def test_blocks_are_counted(devices: Devices, tasks: TaskSet) -> None:
    tasks.block()
    tasks.block()
    tasks.unblock()
    devices.send(FakeTask("a"))
    assert devices.log == []
    tasks.unblock()
    tasks.unblock()
    assert devices.log == ["a"]
    assert tasks.external_blocks == 0


def test_suspending_holds_every_device() -> None:
    devices = Devices(2)
    devices.activity.suspend()
    devices.send(FakeTask("a"), 0)
    devices.send(FakeTask("b"), 1)
    late = TaskSet(devices.start)
    devices.activity.attach(late)
    assert late.gated
    devices.activity.resume()
    assert devices.log == ["a", "b"]


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


def test_idle_is_when_nothing_runs(devices: Devices, tasks: TaskSet) -> None:
    calls: list[str] = []
    tasks.when_idle(lambda: calls.append("at once"))
    running = devices.send(FakeTask("a"))
    tasks.when_idle(lambda: calls.append("later"))
    assert calls == ["at once"]
    devices.finish(running)
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


def test_a_hold_counts_as_a_command(devices: Devices, tasks: TaskSet) -> None:
    calls: list[str] = []
    hold = tasks.hold([ATOMIC])
    tasks.when_idle(lambda: calls.append("idle"))
    devices.send(FakeTask("ordered", ordered=True))
    assert (calls, devices.log) == ([], [])
    tasks.release(hold)
    # The ordered command runs now, and is waited for, too.
    assert devices.log == ["ordered"]
    assert calls == []


# Watchers


def test_watchers_hear_of_writes(tasks: TaskSet) -> None:
    heard: list[Claim] = []
    tasks.watchers.add(heard.append)
    tasks.watchers.tell(EVERYTHING)
    assert heard == [EVERYTHING]


# Copies between devices


def test_a_copy_needs_its_claims_on_all_devices() -> None:
    devices = Devices(2)
    source, target = devices.sets
    writer = devices.send(FakeTask("writer", [write(target, 5, 6)]), 1)
    devices.send(FakeTask("copy", [copied(source, 0, 8), atomic(target, 0, 8)]))
    assert devices.log == ["writer"]
    devices.finish(writer)
    assert devices.log == ["writer", "copy"]


def test_a_copy_that_waits_holds_nothing() -> None:
    devices = Devices(2)
    source, target = devices.sets
    devices.send(FakeTask("writer", [write(target, 5, 6)]), 1)
    devices.send(FakeTask("copy", [copied(source, 0, 8), atomic(target, 0, 8)]))
    devices.send(FakeTask("elsewhere", [write(target, 20, 21)]), 1)
    assert devices.log == ["writer", "elsewhere"]


def test_a_copy_waits_until_the_other_device_is_unblocked() -> None:
    devices = Devices(2)
    source, target = devices.sets
    target.block()
    devices.send(FakeTask("copy", [copied(source, 0, 8), atomic(target, 0, 8)]))
    assert devices.log == []
    target.unblock()
    assert devices.log == ["copy"]


def test_copies_in_opposite_directions_do_not_wait_for_each_other_for_ever() -> None:
    devices = Devices(2)
    a, b = devices.sets
    first = devices.send(FakeTask("first", [write(b, 0, 1)]), 1)
    one = devices.send(FakeTask("a to b", [copied(a, 0, 8), atomic(b, 0, 8)]), 0)
    two = devices.send(FakeTask("b to a", [copied(b, 0, 8), atomic(a, 0, 8)]), 1)
    assert devices.log == ["first"]
    devices.finish(first)
    assert devices.log == ["first", "a to b"]
    # What a copy holds is held by the task sets of the devices.
    hold = b.hold([claim for tasks, claim in one.claims() if tasks is b])
    devices.finish(one)
    assert devices.log == ["first", "a to b"]
    b.release(hold)
    assert devices.log == ["first", "a to b", "b to a"]
    devices.finish(two)
    assert not (a.gated)
    assert not (b.gated)


def test_a_copy_does_not_overtake_a_barrier_of_the_other_device() -> None:
    devices = Devices(2)
    a, b = devices.sets
    running = devices.send(FakeTask("running"), 1)
    ordered = devices.send(FakeTask("ordered", ordered=True), 1)
    devices.send(FakeTask("copy", [copied(a, 0, 8), atomic(b, 0, 8)]), 0)
    devices.finish(running)
    assert devices.log == ["running", "ordered"]
    devices.finish(ordered)
    assert devices.log == ["running", "ordered", "copy"]


def test_commands_are_iterated_running_first(devices: Devices, tasks: TaskSet) -> None:
    devices.send(FakeTask("a"))
    devices.send(FakeTask("b", ordered=True))
    assert [str(cmd) for cmd in tasks] == ["a", "b"]
    assert {str(cmd) for cmd in tasks.running} == {"a"}
