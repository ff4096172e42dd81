"""The threads for a device's blocking work, as its attributes choose them."""

from __future__ import annotations

import os

import pytest
import trio

from scstfs.core.device_threads import DeviceThreads, ThreadsPoolType
from scstfs.core.session import TgtDev
from scstfs.core.threads import WorkerPool
from scstfs.handlers.vdisk import VdiskDevice
from tests.support.target import System

PER_INITIATOR, SHARED = ThreadsPoolType.PER_INITIATOR, ThreadsPoolType.SHARED


@pytest.fixture
def threads(disk: VdiskDevice) -> DeviceThreads:
    return disk.threads


def log_in(system: System, *names: str) -> list[TgtDev]:
    """The nexuses of new initiators."""
    return [system.initiator(name).session.tgt_devs[0] for name in names]


def is_closed(pool: WorkerPool) -> bool:
    """Whether a pool is closed: then its threads end when they are idle."""
    return pool.size == 0


async def test_each_nexus_has_its_own(system: System, threads: DeviceThreads) -> None:
    threads.configure(3, PER_INITIATOR)
    one, two = log_in(system, "one", "two")
    assert one.pool is not two.pool
    assert (one.pool.size, two.pool.size) == (3, 3)
    assert (one.thread_index, two.thread_index) == (0, 1)
    assert threads.are_own(one)


async def test_all_nexuses_have_them_in_common(system: System, threads: DeviceThreads) -> None:
    threads.configure(3, SHARED)
    one, two = log_in(system, "one", "two")
    assert one.pool is two.pool
    assert one.pool.size == 3
    assert (one.thread_index, two.thread_index) == (-1, -1)
    assert not threads.are_own(one)


@pytest.mark.parametrize("number", [0, -1])
async def test_without_a_number_they_are_those_of_all_devices(
    system: System, threads: DeviceThreads, number: int
) -> None:
    threads.configure(number, PER_INITIATOR)
    (one,) = log_in(system, "one")
    assert one.pool is system.scst.env.threads
    assert one.thread_index == -1


async def test_a_lun_set_says_on_which_cpus_they_run(
    system: System, threads: DeviceThreads
) -> None:
    cpu = max(os.sched_getaffinity(0))
    system.scst.env.cpus = cpu + 1
    system.target.default_acg.cpu_mask = 1 << cpu
    threads.configure(1, PER_INITIATOR)
    (one,) = log_in(system, "one")
    placed, ended = [], trio.Event()

    def done(value: object, error: BaseException | None) -> None:
        placed.append(value)
        ended.set()

    one.pool.submit(lambda: os.sched_getaffinity(0), done)
    await ended.wait()
    assert placed == [{cpu}]


async def test_a_change_holds_for_the_nexuses_that_are_there(
    system: System, threads: DeviceThreads
) -> None:
    threads.configure(1, PER_INITIATOR)
    one, two = log_in(system, "one", "two")
    own = [one.pool, two.pool]
    threads.configure(2, SHARED)
    shared = one.pool
    assert two.pool is shared
    assert [is_closed(pool) for pool in own] == [True, True]
    assert not is_closed(shared)
    threads.configure(0, SHARED)
    assert one.pool is system.scst.env.threads
    assert is_closed(shared)
    threads.configure(1, SHARED)
    assert not is_closed(system.scst.env.threads)


async def test_a_nexus_takes_only_its_own_with_it(system: System, threads: DeviceThreads) -> None:
    for pool_type, closed in ((PER_INITIATOR, True), (SHARED, False)):
        threads.configure(1, pool_type)
        initiator = system.initiator()
        pool = initiator.session.tgt_devs[0].pool
        await initiator.end()
        assert is_closed(pool) is closed


async def test_the_ones_in_common_go_with_the_device(
    system: System, threads: DeviceThreads
) -> None:
    threads.configure(1, SHARED)
    (one,) = log_in(system, "one")
    system.delete("disk")
    assert is_closed(one.pool)
