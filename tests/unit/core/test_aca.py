"""Auto contingent allegiance and queue errors (SAM-5 5.9, 5.10; SPC-4 7.5.8)."""

from __future__ import annotations

import pytest

from scstfs.core import access, task_management
from scstfs.core.taskset import TaskAttribute
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.status import Status
from tests.support.fake_store import FakeStore
from tests.support.reservations import IGNORE, PREEMPT_AND_ABORT, WE, pr_out
from tests.support.target import GOOD, Initiator, Result, System, TestCommand
from tests.support.threads import ManualPool

WRITE = bytes.fromhex("2a000000000000000100")
READY, READ = bytes(6), bytes.fromhex("28000000000000000100")
#: Beyond the end, without and with the NACA bit.
FAILS, FAILS_WITH_NACA = (bytes.fromhex(f"28007fffffff000001{c}") for c in ("00", "04"))
READY_WITH_NACA = bytes.fromhex("000000000004")
OUT_OF_RANGE, INVALID_MESSAGE, CLEARED = (5, 0x21, 0), (5, 0x49, 0), (6, 0x2F, 0)


async def add_disk(system: System, *, tst: int, qerr: int = 0, tas: bool = False) -> VdiskDevice:
    """A disk, and its control mode page."""
    disk = await system.add_disk("disk", tst=tst)
    page = bytes((0x0A, 0x0A, tst << 5, 0x10 | qerr << 1, 0, tas and 0x40)) + bytes(6)
    one = system.initiator("administrator")
    assert await one.execute(bytes.fromhex("151000001000"), bytes(4) + page) == GOOD
    await one.end()
    return disk


def send(
    one: Initiator, cdb: bytes, attribute: TaskAttribute = TaskAttribute.SIMPLE
) -> TestCommand:
    return one.start(cdb, data_in=512 if cdb[0] == 0x28 else None, attribute=attribute)


async def fail(one: Initiator, cdb: bytes = FAILS_WITH_NACA) -> None:
    assert (await send(one, cdb).wait()).triple == OUT_OF_RANGE


# The condition


async def test_without_naca_there_is_none(system: System) -> None:
    await add_disk(system, tst=0)
    one = system.initiator()
    await fail(one, FAILS)
    assert await one.execute(READY) == GOOD


async def test_who_may_do_what(system: System) -> None:
    await add_disk(system, tst=0)
    one, other = system.initiator(), system.initiator()
    await fail(one)
    assert (await one.execute(READY)).status is Status.ACA_ACTIVE
    assert (await other.execute(READY)).status is Status.BUSY
    assert (await other.execute(READY_WITH_NACA)).status is Status.ACA_ACTIVE
    assert send(other, READY, TaskAttribute.ACA).result.triple == INVALID_MESSAGE
    assert send(one, READY, TaskAttribute.ACA).result == GOOD
    # One at a time, and each may be the last.
    assert send(one, FAILS, TaskAttribute.ACA).result.triple == OUT_OF_RANGE
    assert await one.execute(READY) == GOOD
    assert await other.execute(READY) == GOOD


async def test_the_attribute_needs_the_condition(system: System) -> None:
    await add_disk(system, tst=0)
    assert send(system.initiator(), READY, TaskAttribute.ACA).result.triple == INVALID_MESSAGE


async def test_another_nexus_has_a_task_set_of_its_own(system: System) -> None:
    await add_disk(system, tst=1)
    one, other = system.initiator(), system.initiator()
    await fail(one)
    assert await other.execute(READY) == GOOD
    assert (await one.execute(READY)).status is Status.ACA_ACTIVE


@pytest.mark.parametrize("how", ["clear", "reset", "end", "preempt"])
async def test_how_it_ends(system: System, how: str) -> None:
    await add_disk(system, tst=0)
    one, other = system.initiator(), system.initiator()
    for initiator, key in ((one, 1), (other, 2)):
        assert await initiator.execute(*pr_out(IGNORE, new=key)) == GOOD
    await fail(one)
    done: list[bool] = []

    def call() -> None:
        done.append(True)

    if how == "clear":
        # It is not the other's.
        assert not task_management.clear_aca(other.session.tgt_devs[0], call)
        assert not done
        assert task_management.clear_aca(one.session.tgt_devs[0], call)
        assert done
    elif how == "reset":
        task_management.logical_unit_reset(other.session.tgt_devs[0], call)
        assert done
    elif how == "end":
        await one.end()
    else:
        assert await other.execute(*pr_out(PREEMPT_AND_ABORT, WE, key=2, new=1)) == GOOD
    other.clear_unit_attentions()
    assert await other.execute(READY) == GOOD


async def test_what_was_there_before_waits(system: System) -> None:
    disk = await add_disk(system, tst=0)
    one, other = system.initiator(), system.initiator()
    disk.tasks.block()
    mine, theirs = send(one, READ), send(other, READ)
    await fail(one)
    disk.tasks.unblock()
    assert not mine.is_over
    assert not theirs.is_over
    assert task_management.clear_aca(one.session.tgt_devs[0], lambda: None)
    assert [(await cmd.wait()).status for cmd in (mine, theirs)] == [Status.GOOD] * 2


async def test_what_waits_is_sent_back_when_its_lun_goes(system: System) -> None:
    disk = await add_disk(system, tst=0)
    group = system.group("group", "other")
    access.add_lun(group, disk, 0, read_only=False)
    one, other = system.initiator(), system.initiator("other")
    disk.tasks.block()
    theirs = send(other, READ)
    await fail(one)
    disk.tasks.unblock()
    assert not theirs.is_over
    access.remove_lun(group.luns[0])
    assert theirs.is_over
    assert theirs.result.status is Status.BUSY
    assert (await one.execute(READY)).status is Status.ACA_ACTIVE


async def test_what_waits_can_be_aborted(system: System) -> None:
    disk = await add_disk(system, tst=0)
    one = system.initiator()
    disk.tasks.block()
    waiting = send(one, READ)
    await fail(one)
    disk.tasks.unblock()
    done: list[bool] = []
    task_management.abort_task(waiting, lambda: done.append(True))
    assert done
    assert waiting.result == Result(None)
    task_management.clear_aca(one.session.tgt_devs[0], lambda: None)
    assert waiting.replies == 1


@pytest.mark.parametrize("how", ["clear", "abort"])
async def test_what_was_done_already_is_answered_later(system: System, how: str) -> None:
    await add_disk(system, tst=0)
    one = system.initiator()
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
    flush = send(one, bytes.fromhex("35000000000000000000"))
    await fail(one)
    pool.drain()
    assert not flush.is_over
    if how == "abort":
        task_management.abort_task(flush, lambda: None)
        assert flush.is_over
    assert task_management.clear_aca(one.session.tgt_devs[0], lambda: None)
    assert flush.result == (Result(None) if how == "abort" else GOOD)
    assert flush.replies == 1


# Queue errors

KEEP, ABORT_ALL, ABORT_NEXUS = 0, 1, 3


@pytest.mark.parametrize("tas", [False, True])
@pytest.mark.parametrize(
    ("qerr", "tst", "own_lost", "others_lost"),
    [
        (KEEP, 0, False, False),
        (ABORT_ALL, 0, True, True),
        (ABORT_ALL, 1, True, False),
        (ABORT_NEXUS, 0, True, False),
        (ABORT_NEXUS, 1, True, False),
    ],
)
async def test_what_a_failure_does_to_others(
    system: System, qerr: int, tst: int, own_lost: bool, others_lost: bool, tas: bool
) -> None:
    disk = await add_disk(system, tst=tst, qerr=qerr, tas=tas)
    one, other = system.initiator(), system.initiator()
    disk.tasks.block()
    mine, theirs = send(one, READ), send(other, READ)
    await fail(one, FAILS)
    disk.tasks.unblock()
    # Who has failed knows.
    assert (await mine.wait()).status is (None if own_lost else Status.GOOD)
    lost = Status.TASK_ABORTED if tas else None
    assert (await theirs.wait()).status is (lost if others_lost else Status.GOOD)
    expected = [CLEARED] if others_lost and not tas else []
    told = [c.sense.triple for c in other.session.tgt_devs[0].unit_attentions]
    assert told == expected


async def test_a_failure_is_told_when_what_it_aborts_has_ended(system: System) -> None:
    disk = await add_disk(system, tst=1, qerr=ABORT_ALL)
    one = system.initiator()
    store = FakeStore()
    disk.medium.install(store)
    one.clear_unit_attentions()
    store.pause("write")
    writing = one.start(WRITE, data_out=bytes(512))
    failing = one.start(FAILS)
    assert not failing.is_over
    store.resume("write")
    assert (await writing.wait()).status is None
    assert (await failing.wait()).status is Status.CHECK_CONDITION
