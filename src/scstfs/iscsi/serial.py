"""Serial number arithmetic on 32-bit sequence numbers (RFC 1982, RFC 7143 4.2.2.1).

CmdSN, StatSN, DataSN and R2TSN count modulo 2**32, so "less" means "up to 2**31 - 1 steps before".
Two numbers exactly 2**31 apart have no order: neither is less than the other.
"""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


def add(number: int, steps: int = 1) -> int:
    """Add `steps`, which may be negative, to `number`."""
    return (number + steps) & MASK


def less(left: int, right: int) -> bool:
    """Tell whether `left` comes before `right`."""
    return 0 < (right - left) & MASK < _HALF


def within(number: int, first: int, last: int) -> bool:
    """Tell whether `number` is in the window `first` to `last`, both included.

    A window whose `last` is one before its `first` is closed: nothing is within.
    """
    return (number - first) & MASK < (last - first + 1) & MASK
