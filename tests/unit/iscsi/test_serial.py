from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi import serial

numbers = st.integers(0, 2**32 - 1)
TOP = 2**32 - 1
HALF = 2**31


@pytest.mark.parametrize(
    ("left", "right", "less"),
    [
        (0, 1, True),
        (1, 0, False),
        (5, 5, False),
        (TOP, 0, True),
        (0, TOP, False),
        (TOP, HALF - 2, True),
        (0, HALF - 1, True),
        (HALF - 1, 0, False),
        (0, HALF, False),  # no order at this distance (RFC 1982 3.2)
        (HALF, 0, False),
        (0, HALF + 1, False),
        (HALF + 1, 0, True),
    ],
)
def test_less(left: int, right: int, less: bool) -> None:
    assert serial.less(left, right) is less


@pytest.mark.parametrize(
    ("number", "steps", "result"), [(0, 1, 1), (TOP, 1, 0), (0, -1, TOP), (7, 0, 7), (TOP, 5, 4)]
)
def test_add(number: int, steps: int, result: int) -> None:
    assert serial.add(number, steps) == result


@pytest.mark.parametrize(
    ("number", "first", "last", "inside"),
    [
        (5, 5, 5, True),
        (4, 5, 8, False),
        (8, 5, 8, True),
        (9, 5, 8, False),
        (0, TOP, 1, True),
        (2, TOP, 1, False),
        (5, 5, 4, False),  # closed window
        (4, 5, 4, False),
        (0, 0, TOP, False),  # a window over everything is a closed one, too
    ],
)
def test_within(number: int, first: int, last: int, inside: bool) -> None:
    assert serial.within(number, first, last) is inside


@given(numbers, numbers)
def test_exactly_one_of_less_equal_and_greater_except_at_half_the_circle(a: int, b: int) -> None:
    relations = [serial.less(a, b), a == b, serial.less(b, a)]
    assert sum(relations) == (0 if abs(a - b) == HALF else 1)
