"""Task sets over iSCSI: attributes, limits, what keeps commands waiting, and what ends them.

SAM-5 5.3, 5.6, 7 and 8; SCST's ``block``, ``suspend``, ``black_hole``, ``max_tgt_dev_commands``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.initiator import HEAD_OF_QUEUE, ORDERED, SIMPLE, Initiator, Task
from tests.support.live_target import TARGET, LiveTarget

READY, RESERVE, RELEASE = "000000000000", "160000000000", "170000000000"
ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET, WARM_RESET = 1, 2, 4, 5, 6
COMPLETE, NO_TASK = 0, 1
GOOD, CHECK_CONDITION, BUSY, CONFLICT, TASK_SET_FULL, TASK_ABORTED = 0, 2, 8, 0x18, 0x28, 0x40
POWER_ON, CLEARED = (6, 0x29, 0), (6, 0x2F, 0)

THIS = f"targets/iscsi/{TARGET}"


def read(lba: int) -> str:
    return f"2800{lba:08x}00000100"


def write(lba: int) -> str:
    return f"2a00{lba:08x}00000100"


def block_of(number: int) -> bytes:
    return bytes([number]) * 512


def sense(task: Task) -> tuple[int, int, int]:
    assert task.status == CHECK_CONDITION
    return task.sense[2] & 0x0F, task.sense[12], task.sense[13]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveTarget]:
    """A target with a disk that executes one command after the other."""
    with LiveTarget(tmp_path) as live:
        live.add_target()
        live.write("devices/disk0/threads_num", "1\n")
        live.write("devices/disk0/threads_pool_type", "shared\n")
        yield live


@contextmanager
def blocked(live: LiveTarget, disk: str = "disk0") -> Iterator[None]:
    """Commands wait until the end."""
    live.write(f"devices/{disk}/block", "1 1\n")
    yield
    live.write(f"devices/{disk}/block", "0\n")


def arrive(initiator: Initiator, tasks: list[Task]) -> None:
    """Make sure that all that was sent has arrived, and that nothing is answered."""
    initiator.ping()
    assert not any(task.done for task in tasks)


def answers(initiator: Initiator, tasks: list[Task]) -> list[Task]:
    """The tasks in the order of their answers."""
    for task in tasks:
        initiator.wait(task)
    return sorted(tasks, key=lambda task: task.answer["stat_sn"])


# Task attributes (SAM-5 8.6)


def test_head_of_queue_is_executed_first(live: LiveTarget) -> None:
    with live.log_in() as initiator:
        with blocked(live):
            first = initiator.issue(write(0), data_out=block_of(1))
            head = initiator.issue(write(0), data_out=block_of(2), attribute=HEAD_OF_QUEUE)
            arrive(initiator, [first, head])
        assert answers(initiator, [first, head]) == [head, first]
        assert initiator.command(read(0), expect=512).data == block_of(1)


def test_ordered_is_executed_between_what_is_before_and_after(live: LiveTarget) -> None:
    with live.log_in() as initiator:
        with blocked(live):
            before = [initiator.issue(write(n), data_out=block_of(n + 1)) for n in range(4)]
            barrier = initiator.issue("28000000000000000400", expect=2048, attribute=ORDERED)
            after = [initiator.issue(write(n), data_out=block_of(9)) for n in range(4)]
            arrive(initiator, [*before, barrier, *after])
        order = answers(initiator, [*before, barrier, *after])
        assert order.index(barrier) == 4
        assert set(map(id, order[:4])) == set(map(id, before))
        assert barrier.data == b"".join(block_of(n + 1) for n in range(4))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 8])
def test_any_mixture_keeps_its_order(live: LiveTarget, threads: int) -> None:
    """No ORDERED command runs together with another, except for HEAD OF QUEUE."""
    chance = random.Random(threads)
    live.write("devices/disk0/threads_num", f"{threads}\n")
    with live.log_in() as initiator:
        for _ in range(20):
            with blocked(live):
                attributes = chance.choices((SIMPLE, ORDERED, HEAD_OF_QUEUE), (4, 2, 1), k=16)
                tasks = [
                    initiator.issue(read(n), expect=512, attribute=attribute)
                    for n, attribute in enumerate(attributes)
                ]
                arrive(initiator, tasks)
            place = {id(task): n for n, task in enumerate(answers(initiator, tasks))}
            for n, (task, attribute) in enumerate(zip(tasks, attributes, strict=True)):
                if attribute != ORDERED:
                    continue
                for other, (compared, kind) in enumerate(zip(tasks, attributes, strict=True)):
                    if kind != HEAD_OF_QUEUE and other != n:
                        assert (place[id(compared)] < place[id(task)]) is (other < n)
                    elif kind == HEAD_OF_QUEUE:
                        assert place[id(compared)] < place[id(task)]


# How many there may be (SAM-5 5.3.1)


def test_too_many_commands_of_one_nexus(live: LiveTarget) -> None:
    live.write("devices/disk0/max_tgt_dev_commands", "3\n")
    with live.log_in() as initiator, live.log_in(number=2) as other:
        with blocked(live):
            tasks = [initiator.issue(read(n), expect=512) for n in range(3)]
            arrive(initiator, tasks)
            assert initiator.command(read(9), expect=512).status == TASK_SET_FULL
            # It is a limit for each nexus.
            theirs = other.issue(READY)
            arrive(other, [theirs])
        assert [initiator.wait(task).status for task in tasks] == [GOOD] * 3
        assert other.wait(theirs).status == GOOD
        live.write("devices/disk0/max_tgt_dev_commands", "0\n")
        assert initiator.command(READY).status == BUSY


# What keeps commands waiting


@pytest.mark.parametrize("how", ["block", "suspend"])
def test_commands_wait(live: LiveTarget, how: str) -> None:
    switch = {
        "block": ("devices/disk0/block", "1 1\n", "0\n"),
        "suspend": ("suspend", "0\n", "-1\n"),
    }
    path, on, off = switch[how]
    with live.log_in() as initiator:
        live.write(path, on)
        waiting = [initiator.issue(write(n), data_out=block_of(n + 1)) for n in range(3)]
        arrive(initiator, waiting)
        counter = f"{THIS}/sessions/{initiator.name}/active_commands"
        assert live.read(counter) == "3\n"
        # What waits can be given up, and then has no effect.
        assert initiator.task_management(ABORT_TASK, task=waiting[1]) == COMPLETE
        assert live.read(counter) == "2\n"
        live.write(path, off)
        assert [initiator.wait(waiting[n]).status for n in (0, 2)] == [GOOD, GOOD]
        assert not waiting[1].done
        data = initiator.command("28000000000000000300", expect=1536).data
        assert data == block_of(1) + bytes(512) + block_of(3)
        assert live.read(counter) == "0\n"


def test_blocks_are_counted(live: LiveTarget) -> None:
    with live.log_in() as initiator:
        with blocked(live):
            with blocked(live):
                task = initiator.issue(READY)
                arrive(initiator, [task])
            arrive(initiator, [task])
        assert initiator.wait(task).status == GOOD


# Black holes


@pytest.mark.parametrize(
    ("kind", "commands", "data", "functions"),
    [
        (0, True, True, True),
        (1, False, False, True),
        (2, False, False, False),
        (3, True, False, True),
        (4, True, False, False),
    ],
)
def test_what_falls_into_a_black_hole(
    live: LiveTarget, kind: int, commands: bool, data: bool, functions: bool
) -> None:
    with live.log_in() as initiator:
        live.write(f"{THIS}/black_hole", f"{kind}\n")
        ready = initiator.issue(READY)
        transfers = [initiator.issue(read(0), expect=512)]
        transfers.append(initiator.issue(write(0), data_out=block_of(7)))
        initiator.drain(0.05)
        assert ready.done is commands
        assert [task.done for task in transfers] == [data, data]
        if functions:
            assert initiator.task_management(ABORT_TASK_SET) == COMPLETE
        else:
            initiator.sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                initiator.task_management(ABORT_TASK_SET)
            initiator.sock.settimeout(5)
        live.write(f"{THIS}/black_hole", "0\n")
        expected = block_of(7) if data else bytes(512)
        assert initiator.command(read(0), expect=512).data == expected


def test_what_fell_into_a_black_hole_can_be_aborted(live: LiveTarget) -> None:
    """Linux takes anything but "function complete" for a failed abort, and resets the target."""
    with live.log_in() as initiator:
        answered = initiator.command(READY)
        live.write(f"{THIS}/black_hole", "1\n")
        swallowed = [initiator.issue(READY), initiator.issue(read(0), expect=512)]
        initiator.ping()
        for task in swallowed:
            assert initiator.task_management(ABORT_TASK, task=task) == COMPLETE
            assert not task.done
        live.write(f"{THIS}/black_hole", "0\n")
        last = initiator.command(READY)
        assert [
            initiator.task_management(ABORT_TASK, task=task)
            for task in (answered, *swallowed, last)
        ] == [NO_TASK, COMPLETE, COMPLETE, NO_TASK]


def test_a_black_hole_takes_no_more_than_it_is_given(live: LiveTarget) -> None:
    """What it swallows does not fill the command window or the task set."""
    with live.log_in() as initiator:
        live.write(f"{THIS}/black_hole", "1\n")
        for _ in range(300):
            initiator.issue(READY)
            if not initiator.cmd_sn % 16:
                initiator.ping()
        live.write(f"{THIS}/black_hole", "0\n")
        assert initiator.command(READY).status == GOOD


# Forwarding


def test_what_is_forwarded_meets_no_reservation(live: LiveTarget) -> None:
    with live.log_in() as initiator, live.log_in(number=2) as other:
        assert initiator.command(RESERVE).status == GOOD
        assert other.command(read(0), expect=512).status == CONFLICT
        live.write(f"{THIS}/forward_dst", "1\n")
        assert other.command(read(0), expect=512).status == GOOD
        live.write(f"{THIS}/forward_dst", "0\n")
        assert other.command(read(0), expect=512).status == CONFLICT
        assert initiator.command(RELEASE).status == GOOD


# What ends other initiators' commands (SAM-5 5.6)


def set_tas(initiator: Initiator, *, tas: bool, tst: int) -> None:
    page = bytes((0x0A, 0x0A, tst << 5, 0x10, 0, 0x40 if tas else 0)) + bytes(6)
    task = initiator.command("151000001000", data_out=bytes(4) + page)
    assert task.status == GOOD, task.sense


def put_in_place(live: LiveTarget, *, tst: int) -> str:
    """Make LUN 0 a disk with one task set (TST=0), or with one for each nexus (1)."""
    name = live.add_disk(parameters=f"tst={tst}")
    live.write(f"{THIS}/luns/mgmt", f"replace {name} 0\n")
    return name


@pytest.mark.parametrize("tas", [False, True])
@pytest.mark.parametrize(
    ("function", "tst", "reaches_others", "told"),
    [
        (ABORT_TASK_SET, 0, False, None),
        (ABORT_TASK_SET, 1, False, None),
        (CLEAR_TASK_SET, 0, True, CLEARED),
        (CLEAR_TASK_SET, 1, False, None),
        (LOGICAL_UNIT_RESET, 0, True, POWER_ON),
        (LOGICAL_UNIT_RESET, 1, True, POWER_ON),
        (WARM_RESET, 1, True, POWER_ON),
    ],
)
def test_commands_of_others(
    live: LiveTarget,
    tas: bool,
    function: int,
    tst: int,
    reaches_others: bool,
    told: tuple[int, int, int] | None,
) -> None:
    disk = put_in_place(live, tst=tst)
    with live.log_in() as initiator, live.log_in(number=2) as other:
        set_tas(initiator, tas=tas, tst=tst)
        # Its nexus gets a unit attention that mode parameters changed.
        assert sense(other.command(READY)) == (6, 0x2A, 1)
        with blocked(live, disk):
            mine = initiator.issue(write(0), data_out=block_of(1))
            theirs = [other.issue(write(n), data_out=block_of(2)) for n in (1, 2)]
            arrive(initiator, [mine])
            arrive(other, theirs)
            assert initiator.task_management(function) == COMPLETE
            if reaches_others and tas:
                assert [other.wait(task).status for task in theirs] == [TASK_ABORTED] * 2
            else:
                arrive(other, theirs)
        # An initiator that aborts its own commands gets no responses to them.
        arrive(initiator, [mine])
        if not reaches_others:
            assert [other.wait(task).status for task in theirs] == [GOOD, GOOD]
        elif told == POWER_ON or not tas:
            assert sense(other.command(READY)) == told
        assert other.command(READY).status == GOOD
        if told == POWER_ON:
            assert sense(initiator.command(READY)) == POWER_ON
        data = initiator.command("28000000000000000300", expect=1536).data
        assert data == bytes(512) + (bytes(1024) if reaches_others else block_of(2) * 2)
        if reaches_others and not tas:
            assert not any(task.done for task in theirs)
