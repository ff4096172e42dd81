from __future__ import annotations

import pytest

from scstfs.core.operation import Operation, Steps, Stopped
from tests.support.threads import ManualPool


@pytest.fixture
def pool() -> ManualPool:
    return ManualPool()


@pytest.fixture
def ends() -> list[BaseException | None]:
    return []


def test_steps_get_what_they_asked_for(pool: ManualPool, ends: list[BaseException | None]) -> None:
    seen: list[object] = []

    def steps() -> Steps:
        seen.append((yield lambda: 1))
        seen.append((yield lambda: 2))

    Operation(pool, steps(), ends.append).start()
    assert len(pool.queued) == 1, "one step at a time"
    pool.drain()
    assert seen == [1, 2]
    assert ends == [None]


def test_nothing_to_do_ends_at_once(pool: ManualPool, ends: list[BaseException | None]) -> None:
    def steps() -> Steps:
        yield from ()

    Operation(pool, steps(), ends.append).start()
    assert ends == [None]


def fail() -> object:
    raise OSError(5, "no")


def test_a_step_may_fail_and_be_forgiven(
    pool: ManualPool, ends: list[BaseException | None]
) -> None:
    def steps() -> Steps:
        with pytest.raises(OSError, match="no"):
            yield fail
        yield lambda: None

    Operation(pool, steps(), ends.append).start()
    pool.drain()
    assert ends == [None]


def test_an_error_ends_the_operation(pool: ManualPool, ends: list[BaseException | None]) -> None:
    def steps() -> Steps:
        yield fail
        raise AssertionError("went on")

    Operation(pool, steps(), ends.append).start()
    pool.drain()
    assert [type(error) for error in ends] == [OSError]


def test_stopping_lets_the_step_end(pool: ManualPool, ends: list[BaseException | None]) -> None:
    done: list[str] = []

    def steps() -> Steps:
        try:
            yield lambda: done.append("first")
            yield lambda: done.append("second")
        finally:
            done.append("cleaned up")

    operation = Operation(pool, steps(), ends.append)
    operation.start()
    operation.stop()
    assert ends == []
    pool.drain()
    assert done == ["first", "cleaned up"]
    assert [type(error) for error in ends] == [Stopped]


def test_an_error_of_the_last_step_is_not_hidden_by_stopping(
    pool: ManualPool, ends: list[BaseException | None]
) -> None:
    def steps() -> Steps:
        yield fail

    operation = Operation(pool, steps(), ends.append)
    operation.start()
    operation.stop()
    pool.drain()
    assert [type(error) for error in ends] == [OSError]
