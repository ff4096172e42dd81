"""How values look in attributes, and parsers that SCST puts together from kstrto*()."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from scstfs.sysfs.errors import invalid
from scstfs.sysfs.numbers import first_char_switch, in_range, kstrtoint, kstrtol, kstrtoul
from scstfs.sysfs.text import BLANKS, decode

T = TypeVar("T")


def flag(value: object) -> str:
    """A switch as it is shown."""
    return "1" if value else "0"


def int32(value: int) -> int:
    """What is left of *value* in a C int, where SCST keeps and prints it."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def uint32(value: int) -> int:
    """What is left of *value* in a C unsigned int."""
    return value % (1 << 32)


def any_nonzero(data: bytes) -> bool:
    """kstrtoul, and every number but 0 is on."""
    return kstrtoul(data) != 0


def zero_or_one(data: bytes) -> bool:
    """kstrtol; EINVAL for all but 0 and 1."""
    return in_range(kstrtol, 0, 1)(data) == 1


def int_zero_or_one(data: bytes) -> bool:
    """kstrtoint, which has ERANGE for more numbers than kstrtol; then as `zero_or_one`."""
    return in_range(kstrtoint, 0, 1)(data) == 1


first_char: Final[Callable[[bytes], int]] = partial(first_char_switch, allowed="01")
"""0 or 1 by the first character; whatever follows it is ignored."""


def truncated(parse: Callable[[bytes], T], length: int) -> Callable[[bytes], T]:
    """A parser of the first *length* bytes: SCST copies them to a small buffer on its stack."""
    return lambda data: parse(data[:length])


def natural(data: bytes) -> int:
    """kstrtol; EINVAL for negative numbers."""
    return in_range(kstrtol, 0)(data)


def anything(_data: bytes) -> None:
    """Whatever is written means the same."""


def leading_decimal(data: bytes) -> int:
    """The kernel's sscanf("%lld") into an unsigned long long: what follows the digits is ignored.

    Blanks in front and a '-' are taken, a '+' is not; too many digits wrap around.
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
