from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi.credit import Credit
from scstfs.iscsi.task import IscsiTask
from tests.support.engine import Engine


def tasks(count: int, lun: int = 0) -> list[IscsiTask]:
    table = Engine().connection.tasks
    return [
        IscsiTask(
            table,
            itt=itt,
            lun=lun.to_bytes(8, "big"),
            cdb=bytes(16),
            attribute=1,
            reads=False,
            writes=True,
            expected=0,
            cmd_sn=0,
            immediate=False,
        )
        for itt in range(count)
    ]


def test_within_the_limit_nobody_waits() -> None:
    credit = Credit(100)
    assert all(credit.grant(task, 25) for task in tasks(4))
    assert (credit.used, credit.waiting) == (100, [])


def test_those_beyond_the_limit_get_it_in_their_order() -> None:
    credit = Credit(100)
    first, second, third = tasks(3)
    assert credit.grant(first, 80)
    assert not credit.grant(second, 50)
    # It would fit, but it is not its turn.
    assert not credit.grant(third, 10)
    assert credit.waiting == [second, third]
    credit.give_back(first)
    assert not credit.grant(third, 10)
    assert credit.grant(second, 50)
    assert credit.grant(third, 10)
    assert (credit.used, credit.waiting) == (60, [])


def test_one_of_each_lun_may_always_go_on() -> None:
    """A disk that does not answer may keep all that is to be had."""
    credit = Credit(100)
    (first, second), (other, last) = tasks(2), tasks(2, lun=1)
    assert credit.grant(first, 100)
    assert not credit.grant(second, 50)
    assert credit.grant(other, 1000)
    assert not credit.grant(last, 10)
    credit.give_back(other)
    assert credit.grant(last, 10)
    assert credit.waiting == [second]
    credit.give_back(first)
    assert credit.grant(second, 50)
    assert (credit.used, credit.waiting) == (60, [])


def test_one_may_always_go_on() -> None:
    credit = Credit(100)
    first, second = tasks(2)
    assert credit.grant(first, 1000)
    assert not credit.grant(second, 1000)
    credit.give_back(first)
    assert credit.grant(second, 1000)
    credit.give_back(second)
    assert credit.used == 0


def test_whoever_needs_nothing_more_does_not_wait() -> None:
    credit = Credit(0)
    first, second, third = tasks(3)
    assert credit.grant(first, 10)
    assert not credit.grant(second, 10)
    assert credit.grant(third, 0)
    assert credit.grant(third, -5)
    assert credit.used == 10


def test_credit_is_given_once_per_task() -> None:
    credit = Credit(100)
    first, second = tasks(2)
    assert credit.grant(first, 60)
    assert credit.grant(first, 60)
    assert credit.grant(second, 20)
    credit.give_back(first)
    credit.give_back(first)
    assert credit.used == 20


@given(st.lists(st.integers(0, 120), min_size=1, max_size=20))
def test_everybody_gets_it_in_the_end(sizes: list[int]) -> None:
    credit = Credit(100)
    everybody = tasks(len(sizes))
    granted = [
        task for task, size in zip(everybody, sizes, strict=True) if credit.grant(task, size)
    ]
    done = []
    while granted:
        assert credit.used <= max(100, *sizes)
        ended = granted.pop(0)
        credit.give_back(ended)
        done.append(ended)
        granted += [task for task in credit.waiting if credit.grant(task, sizes[task.itt])]
    assert sorted(done, key=everybody.index) == everybody
    assert credit.used == 0
