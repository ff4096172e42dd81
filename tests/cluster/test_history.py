"""The checker of histories itself: it accepts what can be, and nothing else."""

from __future__ import annotations

import pytest

from tests.cluster.history import CONFLICT, DONE, ModelUnit, Operation, is_linearizable
from tests.support.model_reservations import Request
from tests.support.reservations import PREEMPT, REGISTER, RESERVE, WE

ONE, TWO = 1, 2


def register(client: int, start: float, end: float) -> Operation:
    return Operation(client, "out", Request(REGISTER, new=client), start, end, DONE)


def reserve(client: int, start: float, end: float, outcome: object = DONE) -> Operation:
    request = Request(RESERVE, WE, key=client)
    return Operation(client, "out", request, start, end, outcome)


def test_commands_one_after_the_other() -> None:
    history = [
        register(ONE, 0, 1),
        reserve(ONE, 2, 3),
        Operation(TWO, "write", 7, 4, 5, CONFLICT),
        Operation(ONE, "write", 8, 4, 5, DONE),
        Operation(TWO, "read", None, 6, 7, 8),
    ]
    assert is_linearizable(history, ModelUnit())
    history[-1] = Operation(TWO, "read", None, 6, 7, 7)
    assert not is_linearizable(history, ModelUnit())


def test_a_write_after_the_preemption_is_noticed() -> None:
    preempt = Request(PREEMPT, WE, key=TWO, new=ONE)
    history = [
        register(ONE, 0, 1),
        reserve(ONE, 1, 2),
        register(TWO, 2, 3),
        Operation(TWO, "out", preempt, 4, 5, DONE),
        # Nobody knows whether it was executed, but it was requested before.
        Operation(ONE, "write", 9, 4.5),
        Operation(TWO, "read", None, 6, 7, 9),
    ]
    assert is_linearizable(history, ModelUnit())
    history[-2] = Operation(ONE, "write", 9, 5.5)
    assert not is_linearizable(history, ModelUnit())


@pytest.mark.parametrize(("first", "second", "expected"), [(1, 0, False), (0, 1, True)])
def test_no_client_sees_the_new_state_before_another_sees_the_old(
    first: int, second: int, expected: bool
) -> None:
    keys = ((0, ()), (1, (ONE,)))
    history = [
        register(ONE, 0, 10),
        Operation(TWO, "keys", None, 1, 2, keys[first]),
        Operation(3, "keys", None, 3, 4, keys[second]),
    ]
    assert is_linearizable(history, ModelUnit()) is expected


def test_a_lost_registration_is_noticed() -> None:
    history = [register(ONE, 0, 1), Operation(TWO, "keys", None, 2, 3, (1, ()))]
    assert not is_linearizable(history, ModelUnit())
