"""Formats of values in attributes, and SCST's parsers that are built on kstrto*()."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from scstfs.sysfs.errors import invalid
from scstfs.sysfs.numbers import first_char_switch, in_range, kstrtoint, kstrtol, kstrtoul
from scstfs.sysfs.text import BLANKS, decode

T = TypeVar("T")


def flag(value: object) -> str:
    """The text of a switch."""
    return "1" if value else "0"


def int32(value: int) -> int:
    """The value of *value* in a C int, which SCST keeps and prints."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def uint32(value: int) -> int:
    """The value of *value* in a C unsigned int."""
    return value % (1 << 32)


def any_nonzero(data: bytes) -> bool:
    """kstrtoul; every number except 0 is on."""
    return kstrtoul(data) != 0


def zero_or_one(data: bytes) -> bool:
    """kstrtol; EINVAL for all except 0 and 1."""
    return in_range(kstrtol, 0, 1)(data) == 1


def int_zero_or_one(data: bytes) -> bool:
    """kstrtoint, which has ERANGE for more numbers than kstrtol; then as `zero_or_one`."""
    return in_range(kstrtoint, 0, 1)(data) == 1


first_char: Final[Callable[[bytes], int]] = partial(first_char_switch, allowed="01")
"""0 or 1 by the first character; the rest is ignored."""


def truncated(parse: Callable[[bytes], T], length: int) -> Callable[[bytes], T]:
    """A parser of the first *length* bytes: SCST copies them to a small buffer on its stack."""
    return lambda data: parse(data[:length])


def natural(data: bytes) -> int:
    """kstrtol; EINVAL for negative numbers."""
    return in_range(kstrtol, 0)(data)


def anything(_data: bytes) -> None:
    """Accepts any text, with the same effect."""


def leading_decimal(data: bytes) -> int:
    """The kernel's sscanf("%lld") into an unsigned long long: what follows the digits is ignored.

    Leading blanks and a '-' are accepted, a '+' is not; too many digits wrap around.
    """
    text = data.lstrip(BLANKS)
    digits = text.removeprefix(b"-")
    end = next((i for i, byte in enumerate(digits) if not 48 <= byte <= 57), len(digits))
    if not end:
        raise invalid(f'Invalid number "{decode(data)}"')
    magnitude = 0
    for byte in digits[:end]:
        magnitude = (magnitude * 10 + byte - 48) % (1 << 64)
    return -magnitude % (1 << 64) if len(digits) < len(text) else magnitude
