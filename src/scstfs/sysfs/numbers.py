"""Numbers and keywords as the kernel and SCST's daemon parse them from a write(2).

``kstrto*`` follow Linux lib/kstrtox.c with base 0. Every parser takes the bytes of the write (cut
at NUL) and returns a value or raises `SysfsError`; none raises anything else, whatever the bytes.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from typing import Final

from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.text import decode

_U64_MAX: Final = 2**64 - 1
_S64_MAX: Final = 2**63 - 1
_S64_MIN: Final = -(2**63)

# 64 bits are 22 octal, 20 decimal, 16 hexadecimal digits; more need no int().
_MOST_DIGITS: Final = 22

_HEX_PREFIX: Final = re.compile(rb"0[xX](?=[0-9a-fA-F])")
_DIGITS: Final = {
    8: re.compile(rb"[0-7]*"),
    10: re.compile(rb"[0-9]*"),
    16: re.compile(rb"[0-9a-fA-F]*"),
}
_STRTOL: Final = re.compile(rb"[\t\n\v\f\r ]*([+-]?)")


def _take_number(data: bytes, base: int = 0) -> tuple[int | None, bytes]:
    """The unsigned number at the start of *data*, and the rest; None if there is no digit.

    Base 0 takes the base from the prefix.

    "0x" without a hexadecimal digit is an octal 0 followed by "x". Anything above 64 bits comes
    back as 2**64.
    """
    start = 0
    if not base:
        prefix = _HEX_PREFIX.match(data)
        if prefix:
            base, start = 16, prefix.end()
        else:
            base = 8 if data.startswith(b"0") else 10
    match = _DIGITS[base].match(data, start)
    digits = match.group() if match else b""
    rest = data[start + len(digits) :]
    if not digits:
        return None, rest
    significant = digits.lstrip(b"0") or b"0"
    if len(significant) > _MOST_DIGITS:
        return _U64_MAX + 1, rest
    return min(int(significant, base), _U64_MAX + 1), rest


def _magnitude(digits: bytes, data: bytes) -> int:
    """_kstrtoull(): *digits*, then nothing but one newline. Overflow wins over garbage."""
    value, rest = _take_number(digits)
    if value is None:
        raise _not_a_number(data, errno.EINVAL)
    if value > _U64_MAX:
        raise _not_a_number(data, errno.ERANGE)
    if rest not in (b"", b"\n"):
        raise _not_a_number(data, errno.EINVAL)
    return value


def _not_a_number(data: bytes, code: int) -> SysfsError:
    return SysfsError(code, f'Invalid number "{decode(data)}"')


def _unsigned(data: bytes, maximum: int) -> int:
    value = _magnitude(data.removeprefix(b"+"), data)
    if value > maximum:
        raise _not_a_number(data, errno.ERANGE)
    return value


def _signed(data: bytes, minimum: int, maximum: int) -> int:
    negative = data.startswith(b"-")
    value = -_magnitude(data[1:], data) if negative else _unsigned(data, _U64_MAX)
    if not minimum <= value <= maximum:
        raise _not_a_number(data, errno.ERANGE)
    return value


def kstrtoull(data: bytes) -> int:
    """0 to 2**64-1. EINVAL for "-0" as for any sign but "+"; ERANGE beyond 64 bits."""
    return _unsigned(data, _U64_MAX)


def kstrtoul(data: bytes) -> int:
    """`kstrtoull`: a long has 64 bits."""
    return _unsigned(data, _U64_MAX)


def kstrtoll(data: bytes) -> int:
    """-2**63 to 2**63-1; "-0" is 0, "+-1" and "-+1" are EINVAL."""
    return _signed(data, _S64_MIN, _S64_MAX)


def kstrtol(data: bytes) -> int:
    """`kstrtoll`: a long has 64 bits."""
    return _signed(data, _S64_MIN, _S64_MAX)


def kstrtoint(data: bytes) -> int:
    """-2**31 to 2**31-1."""
    return _signed(data, -(2**31), 2**31 - 1)


def in_range(
    parse: Callable[[bytes], int], minimum: int, maximum: int = _S64_MAX
) -> Callable[[bytes], int]:
    """A parser that refuses with EINVAL what *parse* gives outside *minimum* to *maximum*."""

    def parse_in_range(data: bytes) -> int:
        value = parse(data)
        if not minimum <= value <= maximum:
            raise invalid(f'Illegal value "{decode(data)}"')
        return value

    return parse_in_range


def strtol_prefix(data: bytes, base: int = 0) -> int:
    """C's strtol(data, NULL, base), base being 0 or 10: never refuses.

    Leading white space is skipped, the number ends at the first other character, no number is 0,
    and overflow saturates at the 64-bit limits.
    """
    head = _STRTOL.match(data)
    start = head.end() if head else 0
    negative = head is not None and head.group(1) == b"-"
    value, _ = _take_number(data[start:], base)
    if value is None:
        return 0
    return max(-value, _S64_MIN) if negative else min(value, _S64_MAX)


def first_char_switch(data: bytes, allowed: str) -> int:
    """Index in *allowed* of the first character of *data*; the rest is ignored.

    With ``allowed="01"`` that is the value of a switch: "1", "10" and "1\\n" are 1.
    """
    position = allowed.encode().find(data[:1]) if data else -1
    if position < 0:
        raise invalid(f"Requested action not understood: {decode(data)}")
    return position


def prefix_keyword(data: bytes, table: Sequence[str]) -> str:
    """The first word of *table* that agrees with *data* over the length of the shorter of the two.

    strncasecmp(data, word, min(len(word), len(data))) over the whole write: "flatXYZ" is FLAT and
    so is "f", but neither "f\\n" nor "f\\0" is, because what follows is compared too.
    """
    folded = data.lower()
    for word in table:
        name = word.lower().encode()
        length = min(len(name), len(folded))
        if length and folded[:length] == name[:length]:
            return word
    raise invalid(f"Unknown value {decode(data)}")
