"""The number parsers against values that Linux 6.18 gave for the same writes, and any bytes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.numbers import (
    first_char_switch,
    in_range,
    kstrtoint,
    kstrtol,
    kstrtoll,
    kstrtoul,
    kstrtoull,
    prefix_keyword,
    strtol_prefix,
)

Parser = Callable[[bytes], int]

# What a parser gives: the value, or the name of the errno.
Outcome = int | str


def outcome(parse: Callable[[bytes], object], data: bytes) -> object:
    try:
        return parse(data)
    except SysfsError as refusal:
        return errno.errorcode[refusal.errno]


UNSIGNED: list[tuple[bytes, Outcome]] = [
    (b"0", 0),
    (b"1\n", 1),
    (b"+1", 1),
    (b"+1\n", 1),
    (b"00", 0),
    (b"010", 8),
    (b"0x10", 16),
    (b"0X1f", 31),
    (b"0xFf\n", 255),
    (b"+0x1", 1),
    (b"4294967295", 2**32 - 1),
    (b"", "EINVAL"),
    (b"\n", "EINVAL"),
    (b"+", "EINVAL"),
    (b"-", "EINVAL"),
    (b"-0", "EINVAL"),
    (b"-1", "EINVAL"),
    (b"++1", "EINVAL"),
    (b"+-1", "EINVAL"),
    (b" 1", "EINVAL"),
    (b"1 ", "EINVAL"),
    (b"1\n\n", "EINVAL"),
    (b"1\r\n", "EINVAL"),
    (b"\n1", "EINVAL"),
    (b"08", "EINVAL"),
    (b"0x", "EINVAL"),
    (b"0xg", "EINVAL"),
    (b"0x0x1", "EINVAL"),
    (b"x1", "EINVAL"),
    (b"0b1", "EINVAL"),
    (b"0o7", "EINVAL"),
    (b"1_000", "EINVAL"),
    (b"512k", "EINVAL"),
    (b"1,2", "EINVAL"),
    (b"1.0", "EINVAL"),
    (b"yes", "EINVAL"),
    (b"\xb2", "EINVAL"),  # Latin-1 superscript two is not a digit
    (b"18446744073709551616", "ERANGE"),
    (b"0x10000000000000000", "ERANGE"),
    (b"02000000000000000000000", "ERANGE"),
    (b"99999999999999999999999x", "ERANGE"),  # overflow is found before the garbage
    (b"0" * 4000 + b"7", 7),
    (b"9" * 4096, "ERANGE"),
]

SIGNED: list[tuple[bytes, Outcome]] = [
    (b"-1", -1),
    (b"-1\n", -1),
    (b"-0", 0),
    (b"-010", -8),
    (b"-0x10", -16),
    (b"+7", 7),
    (b"-2147483648", -(2**31)),
    (b"--1", "EINVAL"),
    (b"-+1", "EINVAL"),
    (b"+-1", "EINVAL"),
    (b"- 1", "EINVAL"),
    (b"-", "EINVAL"),
    (b"-\n", "EINVAL"),
    (b"-1x", "EINVAL"),
    (b"-18446744073709551615", "ERANGE"),
    (b"-18446744073709551616", "ERANGE"),
]


@pytest.mark.parametrize("parse", [kstrtoul, kstrtoull])
@pytest.mark.parametrize(("data", "expected"), UNSIGNED)
def test_unsigned(parse: Parser, data: bytes, expected: Outcome) -> None:
    assert outcome(parse, data) == expected


@pytest.mark.parametrize("parse", [kstrtol, kstrtoll, kstrtoint])
@pytest.mark.parametrize(("data", "expected"), SIGNED)
def test_signed(parse: Parser, data: bytes, expected: Outcome) -> None:
    assert outcome(parse, data) == expected


@pytest.mark.parametrize(
    ("parse", "minimum", "maximum", "below"),
    [
        (kstrtoint, -(2**31), 2**31 - 1, "ERANGE"),
        (kstrtol, -(2**63), 2**63 - 1, "ERANGE"),
        (kstrtoll, -(2**63), 2**63 - 1, "ERANGE"),
        (kstrtoul, 0, 2**64 - 1, "EINVAL"),
        (kstrtoull, 0, 2**64 - 1, "EINVAL"),
    ],
)
def test_limits(parse: Parser, minimum: int, maximum: int, below: str) -> None:
    assert parse(b"%d" % minimum) == minimum
    assert parse(b"%d" % maximum) == maximum
    assert parse(b"%#x" % maximum) == maximum
    assert parse(b"0%o" % maximum) == maximum
    assert outcome(parse, b"%d" % (maximum + 1)) == "ERANGE"
    assert outcome(parse, b"%d" % (minimum - 1)) == below


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"17", 17),
        (b"17\n", 17),
        (b" \t\n 17abc", 17),
        (b"-5x", -5),
        (b"+5", 5),
        (b"0x1fz", 31),
        (b"-0x10", -16),
        (b"0x", 0),
        (b"08", 0),
        (b"017", 15),
        (b"", 0),
        (b"abc", 0),
        (b"- 5", 0),
        (b"+-5", 0),
        (b"--5", 0),
        (b"\xa05", 0),  # no white space to C's locale
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", 2**63 - 1),
        (b"-9223372036854775809", -(2**63)),
        (b"9" * 4096, 2**63 - 1),
        (b"-" + b"9" * 4096, -(2**63)),
    ],
)
def test_strtol_takes_what_it_can(data: bytes, expected: int) -> None:
    assert strtol_prefix(data) == expected


@pytest.mark.parametrize(
    ("data", "allowed", "expected"),
    [
        (b"0", "01", 0),
        (b"1\n", "01", 1),
        (b"10", "01", 1),
        (b"100000", "01", 1),
        (b"4\n", "01234", 4),
        (b"2\n", "01", "EINVAL"),
        (b"\n", "01", "EINVAL"),
        (b" 1", "01", "EINVAL"),
        (b"", "01", "EINVAL"),
        (b"yes", "01", "EINVAL"),
        (b"\xff1", "01", "EINVAL"),
    ],
)
def test_first_char_switch(data: bytes, allowed: str, expected: Outcome) -> None:
    assert outcome(partial(first_char_switch, allowed=allowed), data) == expected


ADDR_METHODS = ("FLAT", "PERIPHERAL", "LUN")
GROUPINGS = ("auto", "this_group_only", "never")


@pytest.mark.parametrize(
    ("data", "table", "expected"),
    [
        (b"FLAT\n", ADDR_METHODS, "FLAT"),
        (b"flatXYZ", ADDR_METHODS, "FLAT"),
        (b"flatXYZ\n", ADDR_METHODS, "FLAT"),
        (b"F", ADDR_METHODS, "FLAT"),
        (b"P", ADDR_METHODS, "PERIPHERAL"),
        (b"lu", ADDR_METHODS, "LUN"),
        (b"F\n", ADDR_METHODS, "EINVAL"),
        (b"\n", ADDR_METHODS, "EINVAL"),
        (b"", ADDR_METHODS, "EINVAL"),
        (b" FLAT", ADDR_METHODS, "EINVAL"),
        (b"FLIT", ADDR_METHODS, "EINVAL"),
        (b"\xe6", ADDR_METHODS, "EINVAL"),
        (b"this_group_only", GROUPINGS, "this_group_only"),
        (b"N", GROUPINGS, "never"),
        (b"a", ("ab", "abc"), "ab"),
        (b"abc", ("ab", "abc"), "ab"),
    ],
)
def test_prefix_keyword(data: bytes, table: tuple[str, ...], expected: str) -> None:
    def parse(data: bytes) -> str:
        return prefix_keyword(data, table)

    assert outcome(parse, data) == expected


def test_in_range() -> None:
    parse = in_range(kstrtol, 0, 1)
    assert [outcome(parse, data) for data in (b"0", b"1\n", b"2", b"-1", b"x")] == [
        0,
        1,
        "EINVAL",
        "EINVAL",
        "EINVAL",
    ]
    assert in_range(kstrtol, 1)(b"9223372036854775807") == 2**63 - 1
    assert outcome(parse, b"99999999999999999999") == "ERANGE"


@pytest.mark.parametrize(
    "parse",
    [
        kstrtoul,
        kstrtol,
        kstrtoint,
        strtol_prefix,
        partial(first_char_switch, allowed="01"),
        partial(prefix_keyword, table=ADDR_METHODS),
        in_range(kstrtol, 0, 1),
    ],
)
@given(data=st.binary() | st.text("0123456789abcdefxX+- \n\0", max_size=30).map(str.encode))
def test_any_bytes_give_a_value_or_a_refusal(parse: Callable[[bytes], object], data: bytes) -> None:
    result = outcome(parse, data)
    assert not isinstance(result, str) or result in {"EINVAL", "ERANGE", *ADDR_METHODS}


@given(number=st.integers(-(2**63), 2**63 - 1), form=st.sampled_from(["%d", "%#x", "%o"]))
def test_what_c_prints_is_read_back(number: int, form: str) -> None:
    digits = form % abs(number)
    text = ("-" if number < 0 else "") + ("0" if form == "%o" else "") + digits
    assert kstrtoll(text.encode()) == number
    assert strtol_prefix(text.encode() + b" blocks") == number
