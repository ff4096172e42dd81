from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from scstfs.sysfs import values
from scstfs.sysfs.errors import SysfsError


@pytest.mark.parametrize(
    ("value", "signed", "unsigned"),
    [
        (0, 0, 0),
        (0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF),
        (0x80000000, -0x80000000, 0x80000000),
        (0xFFFFFFFF, -1, 0xFFFFFFFF),
        (0x1_0000_0005, 5, 5),
        (-1, -1, 0xFFFFFFFF),
    ],
)
def test_what_a_c_int_keeps(value: int, signed: int, unsigned: int) -> None:
    assert values.int32(value) == signed
    assert values.uint32(value) == unsigned


@pytest.mark.parametrize(
    ("parse", "data", "expected"),
    [
        (values.any_nonzero, b"0\n", False),
        (values.any_nonzero, b"17\n", True),
        (values.any_nonzero, b"0x0", False),
        (values.any_nonzero, b"-1\n", errno.EINVAL),
        (values.any_nonzero, b"\n", errno.EINVAL),
        (values.any_nonzero, b"18446744073709551616", errno.ERANGE),
        (values.zero_or_one, b"1\n", True),
        (values.zero_or_one, b"0", False),
        (values.zero_or_one, b"2\n", errno.EINVAL),
        (values.zero_or_one, b"-1\n", errno.EINVAL),
        (values.zero_or_one, b"01", True),
        (values.zero_or_one, b"1 \n", errno.EINVAL),
        (values.int_zero_or_one, b"1\n", True),
        (values.int_zero_or_one, b"2\n", errno.EINVAL),
        (values.int_zero_or_one, b"4294967296\n", errno.ERANGE),
        (values.first_char, b"1 and more", 1),
        (values.first_char, b"0", 0),
        (values.first_char, b"2", errno.EINVAL),
        (values.first_char, b" 1", errno.EINVAL),
        (values.natural, b"5\n", 5),
        (values.natural, b"-5\n", errno.EINVAL),
        (values.leading_decimal, b"512\n", 512),
        (values.leading_decimal, b" \t512 bytes", 512),
        (values.leading_decimal, b"-1", (1 << 64) - 1),
        (values.leading_decimal, b"18446744073709551617", 1),
        (values.leading_decimal, b"0x10", 0),
        (values.leading_decimal, b"+1", errno.EINVAL),
        (values.leading_decimal, b"-", errno.EINVAL),
        (values.leading_decimal, b"", errno.EINVAL),
        (values.leading_decimal, b"\xb2", errno.EINVAL),
    ],
)
def test_parsers(parse: Callable[[bytes], Any], data: bytes, expected: object) -> None:
    if isinstance(expected, int) and expected in (errno.EINVAL, errno.ERANGE):
        with pytest.raises(SysfsError) as caught:
            parse(data)
        assert caught.value.errno == expected
    else:
        assert parse(data) == expected


def test_a_truncated_parser_sees_the_front_only() -> None:
    parse = values.truncated(values.zero_or_one, 3)
    assert parse(b"001 and what does not fit") is True
    with pytest.raises(SysfsError):
        parse(b"1 a")
