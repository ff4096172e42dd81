"""Times of commands: which are counted where, and what counting costs the fast path."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scstfs.core import access
from scstfs.core.counters import SessionCounters
from scstfs.core.histogram import Histogram
from scstfs.core.nexus_times import Batches, NexusTimes
from tests.support.target import target

READ_10 = bytes.fromhex("28000000000000000100")
WRITE_10 = bytes.fromhex("2a000000000000000100")
SYNCHRONIZE_CACHE = bytes.fromhex("35000000000000000000")
TEST_UNIT_READY = bytes(6)


def counts(times: NexusTimes) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], Histogram] = {}
    times.add_to(sums)
    return {key: histogram.count for key, histogram in sums.items()}


async def test_commands_are_counted_by_kind_and_span(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        device = await system.add_disk(blocksize=512)
        initiator = system.initiator()
        (tgt_dev,) = initiator.session.tgt_devs.values()
        await initiator.execute(TEST_UNIT_READY)
        await initiator.execute(WRITE_10, bytes(512))
        await initiator.execute(READ_10, data_in=512)
        await initiator.execute(SYNCHRONIZE_CACHE)
        found = counts(tgt_dev.times)
        assert found["other", "total"] == 2
        assert found["write", "total"] == found["read", "total"] == found["read", "first_data"] == 1
        # A cache is synchronised by a thread; TEST UNIT READY is answered at once.
        assert found["other", "back_end"] == 1
        assert tgt_dev.times.counts()["other"][0] == 2
        assert tgt_dev.times.counts()["other"][1] > 0

        access.remove_lun(tgt_dev.acg_dev)
        assert counts(device.former_times) == found


async def test_a_command_without_an_answer_is_not_counted(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        device = await system.add_disk()
        initiator = system.initiator()
        (tgt_dev,) = initiator.session.tgt_devs.values()
        with device.tasks.frozen():
            waiting = initiator.start(SYNCHRONIZE_CACHE)
        await initiator.end()
        await waiting.wait()
        assert sum(counts(tgt_dev.times).values()) == (0 if waiting.status is None else 2)


def test_a_batch_is_counted_when_it_is_sent() -> None:
    times, batches = NexusTimes(), Batches()
    batches.received = time.perf_counter_ns() - 50_000
    counters = SessionCounters()
    for counter, count in ((counters.read, 3), (counters.write, 2)):
        for _ in range(count):
            counter.count(512, 0)
    assert batches.add(times, counters.read, counters.write, 0, 0) == (3, 2)
    assert batches.add(times, counters.read, counters.write, 3, 2) == (3, 2)
    assert counts(times) == {}
    batches.sent()
    batches.sent()
    assert counts(times) == {("read", "total"): 3, ("read", "first_data"): 3, ("write", "total"): 2}
    sums: dict[tuple[str, str], Histogram] = {}
    times.add_to(sums)
    assert sums["read", "total"].total >= 3 * 50_000


@pytest.mark.slow
def test_what_counting_costs_the_fast_path() -> None:
    """Less than 0.1 us for each of 32 commands that wait together."""
    times, batches, counters = NexusTimes(), Batches(), SessionCounters()
    reads, writes = counters.read, counters.write
    rounds, commands = 5000, 32

    def measure(*, counting: bool) -> float:
        began = time.perf_counter()
        for _ in range(rounds):
            counted = reads.cmds, writes.cmds
            for _ in range(commands):
                reads.cmds += 1
            if counting:
                batches.add(times, reads, writes, *counted)
                batches.received = batches.sent()
        return time.perf_counter() - began

    cost = min(measure(counting=True) for _ in range(7)) - min(
        measure(counting=False) for _ in range(7)
    )
    assert cost / (rounds * commands) < 0.1e-6
