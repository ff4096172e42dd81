"""Task management in the core: a function answers when what it is about can do no more harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scstfs.core import access, task_management
from scstfs.core.session import TgtDev
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.control import ControlValues
from scstfs.scsi.status import Status
from tests.support.fake_store import FakeStore
from tests.support.reservations import IGNORE, PREEMPT_AND_ABORT, WE, pr_out
from tests.support.target import GOOD, Initiator, System, TestCommand
from tests.support.threads import ManualPool

READ, WRITE = bytes.fromhex("28000000000000000100"), bytes.fromhex("2a000000000000000100")


@pytest.fixture
def store(disk: VdiskDevice) -> FakeStore:
    """A store that always needs a worker thread."""
    store = FakeStore()
    disk.medium.install(store)
    return store


@pytest.fixture
def pool() -> ManualPool:
    return ManualPool()


def writing(initiator: Initiator, pool: ManualPool) -> TestCommand:
    """A write that a worker thread is at."""
    pool.serve(initiator.session.tgt_devs[0])
    cmd = initiator.start(WRITE, bytes([7]) * 512)
    assert not cmd.is_over
    return cmd


FUNCTIONS: list[Callable[[TgtDev, Callable[[], None]], object]] = [
    task_management.abort_task_set,
    task_management.clear_task_set,
    task_management.logical_unit_reset,
    lambda tgt_dev, done: task_management.target_reset(tgt_dev.session, done),
    lambda tgt_dev, done: task_management.nexus_loss(tgt_dev.session, done),
]
NAMES = ["ABORT TASK SET", "CLEAR TASK SET", "LUN RESET", "TARGET RESET", "nexus loss"]


@pytest.mark.parametrize("tas", [0, 1])
@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
async def test_what_runs_is_waited_for(
    system: System,
    disk: VdiskDevice,
    store: FakeStore,
    pool: ManualPool,
    function: Callable[[TgtDev, Callable[[], None]], object],
    tas: int,
) -> None:
    """TAS is about what others end: nobody hears of a command that it ended itself."""
    disk.modes.current = ControlValues(tas=tas)
    one = system.initiator()
    cmd = writing(one, pool)
    waiting = one.prepare(WRITE, data_out=512)
    done: list[bool] = []
    function(one.session.tgt_devs[0], lambda: done.append(True))
    assert not done
    assert (waiting.is_over, waiting.result.status) == (True, None)
    pool.drain()
    assert done
    assert cmd.result.status is None


@pytest.mark.parametrize("is_other", [False, True], ids=["same device", "other device"])
@pytest.mark.parametrize("function", FUNCTIONS[:4], ids=NAMES[:4])
async def test_what_a_lun_has_left_behind_is_waited_for(
    system: System,
    disk: VdiskDevice,
    store: FakeStore,
    pool: ManualPool,
    function: Callable[[TgtDev, Callable[[], None]], object],
    is_other: bool,
) -> None:
    """The LUN is another nexus now: the initiator does not always know."""
    one = system.initiator()
    cmd = writing(one, pool)
    device = await system.add_disk("other") if is_other else disk
    access.replace_lun(system.target.default_acg, device, 0, read_only=False, tell=True)
    done: list[bool] = []
    function(one.session.tgt_devs[0], lambda: done.append(True))
    assert not done
    pool.drain()
    assert done
    assert cmd.result.status is None


async def test_what_somebody_else_s_lun_has_left_behind_is_waited_for(
    system: System, disk: VdiskDevice, store: FakeStore, pool: ManualPool
) -> None:
    one, other = system.initiator("one"), system.initiator("other", system.group("g", "other"))
    access.add_lun(other.session.acg, disk, 0, read_only=False)
    other.clear_unit_attentions()
    writing(other, pool)
    access.remove_lun(other.session.acg.luns[0])
    done: list[bool] = []
    task_management.logical_unit_reset(one.session.tgt_devs[0], lambda: done.append(True))
    assert not done
    pool.drain()
    assert done


@pytest.mark.parametrize("again", [False, True])
async def test_preempt_and_abort_waits_for_what_a_lun_has_left_behind(
    system: System, disk: VdiskDevice, store: FakeStore, pool: ManualPool, again: bool
) -> None:
    """A fenced node must not write any more, whatever happens to its LUN."""
    group = system.group("g", "other")
    one, other = system.initiator("one"), system.initiator("other", group)
    access.add_lun(group, disk, 0, read_only=False)
    other.clear_unit_attentions()
    assert await one.execute(*pr_out(IGNORE, new=1)) == GOOD
    assert await other.execute(*pr_out(IGNORE, new=2)) == GOOD
    cmd = writing(other, pool)
    access.remove_lun(group.luns[0])
    if again:
        access.add_lun(group, disk, 0, read_only=False)
    fence = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=1, new=2))
    assert not fence.is_over
    pool.drain()
    assert cmd.result.status is None
    assert await fence.wait() == GOOD


async def test_what_others_left_behind_is_not_for_abort_task_set(
    system: System, disk: VdiskDevice, store: FakeStore, pool: ManualPool
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    cmd = writing(other, pool)
    access.replace_lun(system.target.default_acg, disk, 0, read_only=False, tell=True)
    done: list[bool] = []
    task_management.abort_task_set(one.session.tgt_devs[0], lambda: done.append(True))
    assert done
    pool.drain()
    assert cmd.result.status is Status.GOOD


async def test_nothing_starts_before_a_reset_is_over(
    system: System, store: FakeStore, pool: ManualPool
) -> None:
    """Who sends a write again must not be overtaken by the one that was aborted."""
    one = system.initiator()
    writing(one, pool)
    done: list[bool] = []
    task_management.logical_unit_reset(one.session.tgt_devs[0], lambda: done.append(True))
    one.clear_unit_attentions()
    again = one.start(READ, data_in=512)
    assert not again.is_over
    assert len(pool.queued) == 1
    pool.step()
    assert done
    pool.drain()
    assert again.result.status is Status.GOOD
