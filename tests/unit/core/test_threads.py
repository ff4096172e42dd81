from __future__ import annotations

import errno
import threading
from functools import partial

import pytest
import trio
import trio.testing

from scstfs.core.runtime import TrioRuntime
from scstfs.core.threads import Completions, WorkerPool


class Outcomes:
    """The results of submitted work."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self.errors: list[BaseException] = []
        self.arrived = trio.Event()

    def done(self, value: object, error: BaseException | None) -> None:
        if error is None:
            self.values.append(value)
        else:
            self.errors.append(error)
        self.arrived.set()


def pool(nursery: trio.Nursery, size: int) -> WorkerPool:
    return WorkerPool("test", size, Completions(TrioRuntime(nursery).wake))


def allow_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.logs("test: can't start new thread")
async def test_without_any_thread_work_is_refused(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers, outcomes = pool(nursery, 2), Outcomes()
    with monkeypatch.context() as patch:
        allow_no_thread(patch)
        workers.submit(lambda: 1, outcomes.done)
    # In its turn, not during the call that submits it.
    assert not outcomes.errors
    await outcomes.arrived.wait()
    (error,) = outcomes.errors
    assert isinstance(error, OSError)
    assert error.errno == errno.EAGAIN
    outcomes.arrived = trio.Event()
    workers.submit(lambda: 1, outcomes.done)
    await outcomes.arrived.wait()
    assert outcomes.values == [1]
    workers.close()


@pytest.mark.logs("test: can't start new thread")
async def test_the_threads_that_there_are_do_all_work(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers, first, second = pool(nursery, 2), Outcomes(), Outcomes()
    may_end = threading.Event()
    workers.submit(may_end.wait, first.done)
    with monkeypatch.context() as patch:
        allow_no_thread(patch)
        workers.submit(lambda: 2, second.done)
    may_end.set()
    await second.arrived.wait()
    assert (first.values, second.values) == ([True], [2])
    workers.close()


@pytest.mark.logs("a delayed call failed")
async def test_a_delayed_call_that_fails_costs_itself_only(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    runtime, called = TrioRuntime(nursery), trio.Event()

    def fail() -> None:
        raise AssertionError("a bug")

    runtime.call_later(1, fail)
    runtime.call_later(2, called.set)
    await called.wait()


async def test_everybody_hears_of_a_batch(nursery: trio.Nursery) -> None:
    runtime = TrioRuntime(nursery)
    completions = Completions(runtime.wake)
    steps: list[str] = []
    for name in ("one", "two"):
        completions.before.append(partial(steps.append, f"before {name}"))
        completions.after.append(partial(steps.append, f"after {name}"))
    for number in range(2):
        completions.post(lambda value, error: steps.append(str(value)), number, None)
    await trio.testing.wait_all_tasks_blocked()
    assert steps == ["before one", "before two", "0", "1", "after one", "after two"]
