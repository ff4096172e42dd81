from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from scstfs.drivers.copying.sweeper import Sweeper

T = TypeVar("T")


class FakeRuntime:
    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def wake(self, call: Callable[[], None], /) -> None:
        call()

    def run_blocking(self, work: Callable[[], T], /) -> Awaitable[T]:
        raise NotImplementedError

    def start(self, task: Callable[[], Awaitable[None]], /) -> None:
        raise NotImplementedError

    def call_later(self, delay: float, call: Callable[[], None], /) -> None:
        self.timers.append((self.time + delay, call))

    def now(self) -> float:
        return self.time

    def until(self, time: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= time]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.time = first[0]
            first[1]()
        self.time = time


def sweeps(runtime: FakeRuntime, expiries: list[float]) -> tuple[Sweeper, list[float]]:
    """A sweeper over a list of times, and when it swept."""
    swept: list[float] = []

    def sweep(now: float) -> float | None:
        swept.append(now)
        expiries[:] = [when for when in expiries if when > now]
        return min(expiries, default=None)

    return Sweeper(runtime, sweep), swept


def test_one_timer_serves_all() -> None:
    runtime = FakeRuntime()
    expiries = [5.0, 7.0, 7.0]
    sweeper, swept = sweeps(runtime, expiries)
    for when in expiries:
        sweeper.expect(when)
    assert len(runtime.timers) == 1
    runtime.until(6)
    assert (swept, expiries) == ([5.0], [7.0, 7.0])
    runtime.until(8)
    assert (swept, expiries) == ([5.0, 7.0], [])
    assert runtime.timers == []


def test_something_that_expires_sooner() -> None:
    runtime = FakeRuntime()
    expiries = [60.0]
    sweeper, swept = sweeps(runtime, expiries)
    sweeper.expect(60)
    expiries.append(5.0)
    sweeper.expect(5)
    runtime.until(100)
    assert swept == [5.0, 60.0], "the timer that was set first does nothing"
    assert runtime.timers == []


def test_something_new_after_all_is_over() -> None:
    runtime = FakeRuntime()
    expiries: list[float] = []
    sweeper, swept = sweeps(runtime, expiries)
    sweeper.expect(1)
    runtime.until(2)
    sweeper.expect(3)
    runtime.until(4)
    assert swept == [1.0, 3.0]


def test_what_is_overdue_is_swept_soon() -> None:
    runtime = FakeRuntime()
    runtime.time = 10
    sweeper, swept = sweeps(runtime, [])
    sweeper.expect(5)
    runtime.until(10)
    assert swept == [10.0]
