"""What a disk request costs without any initiator: each engine, and a thread for each request.

The file is in the page cache, so that next to nothing but the way there and back is measured; CPU
time is the process's own, user and system.
"""

from __future__ import annotations

import mmap
import os
import random
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from bench.options import Options
from scstfs.aio import ENGINES, DiskRequest, RequestKind, open_engine
from scstfs.aio.address import address_of
from scstfs.core.threads import Completions, WorkerPool

BLOCK: Final = 4096
DEPTHS: Final = (1, 32)
#: Threads of the pool that is the measure: SCST's default for a file.
_THREADS: Final = 8

Begin = Callable[[int, int, Callable[[], None]], None]
"""``begin(slot, offset, done)``: read one block into memory of its own for each slot."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Requests a second, and CPU time of one (seconds)."""

    rate: float
    user: float
    system: float


async def measure(begin: Begin, size: int, depth: int, seconds: float) -> Cost:
    """Keep `depth` reads under way for some time."""
    positions = [random.randrange(size // BLOCK) * BLOCK for _ in range(1 << 12)]
    over = trio.Event()
    begun = ended = 0
    until = time.perf_counter() + seconds

    def again(slot: int) -> None:
        nonlocal begun
        begun += 1
        begin(slot, positions[begun & 0xFFF], done_of[slot])

    def done(slot: int) -> None:
        nonlocal ended
        ended += 1
        if time.perf_counter() < until:
            again(slot)
        elif begun == ended:
            over.set()

    done_of = [lambda slot=slot: done(slot) for slot in range(depth)]
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for slot in range(depth):
        again(slot)
    await over.wait()
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
    return Cost(
        ended / took,
        (after.ru_utime - before.ru_utime) / ended,
        (after.ru_stime - before.ru_stime) / ended,
    )


async def _by_engine(name: str, path: Path, direct: bool, depth: int, seconds: float) -> Cost:
    engine = open_engine(name, trio.lowlevel.current_trio_token().run_sync_soon)
    fd = os.open(path, os.O_RDWR | (os.O_DIRECT if direct else 0))
    file = engine.open(fd, direct=direct, asks=True)
    memory = memoryview(mmap.mmap(-1, depth * BLOCK))
    address = address_of(memory)
    parts = [memory[slot * BLOCK :][:BLOCK] for slot in range(depth)]

    def begin(slot: int, offset: int, done: Callable[[], None]) -> None:
        file.submit(
            DiskRequest(
                RequestKind.READ,
                offset,
                parts[slot],
                lambda error: done(),
                address=address + slot * BLOCK,
            )
        )

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            size = os.lseek(fd, 0, os.SEEK_END)
            cost = await measure(begin, size, depth, seconds)
            nursery.cancel_scope.cancel()
    finally:
        engine.close()
        os.close(fd)
    return cost


async def _by_thread_each(path: Path, direct: bool, depth: int, seconds: float) -> Cost:
    wake = trio.lowlevel.current_trio_token().run_sync_soon
    pool = WorkerPool("bench", _THREADS, Completions(wake))
    fd = os.open(path, os.O_RDWR | (os.O_DIRECT if direct else 0))
    memory = memoryview(mmap.mmap(-1, depth * BLOCK))
    parts = [memory[slot * BLOCK :][:BLOCK] for slot in range(depth)]

    def begin(slot: int, offset: int, done: Callable[[], None]) -> None:
        pool.submit(lambda: os.preadv(fd, (parts[slot],), offset), lambda value, error: done())

    try:
        return await measure(begin, os.lseek(fd, 0, os.SEEK_END), depth, seconds)
    finally:
        pool.close()
        os.close(fd)


def run(file: Path, options: Options) -> None:
    """Print medians for each way, depth and kind of transfer."""
    ways: dict[str, Callable[[bool, int], Cost]] = {
        name: lambda direct, depth, name=name: trio.run(  # type: ignore[misc]
            _by_engine, name, file, direct, depth, options.seconds
        )
        for name in ENGINES
    }
    ways["a thread each"] = lambda direct, depth: trio.run(
        _by_thread_each, file, direct, depth, options.seconds
    )
    print(f"{'4 KiB random read':34}{'/s':>9}{'user us':>9}{'system us':>11}")
    for direct in (False, True):
        for depth in DEPTHS:
            for name, way in ways.items():
                text = f"{'O_DIRECT' if direct else 'in memory'}, depth {depth}, {name}"
                if options.only not in text:
                    continue
                costs = [way(direct, depth) for _ in range(options.rounds)]
                rate, user, system = (
                    statistics.median(getattr(cost, what) for cost in costs)
                    for what in ("rate", "user", "system")
                )
                print(f"{text:34}{rate:9.0f}{user * 1e6:9.2f}{system * 1e6:11.2f}", flush=True)
