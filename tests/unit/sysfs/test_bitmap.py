"""CPU masks: pairs that Linux (rps_cpus of a 2-CPU machine) and SCST recordings gave."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.sysfs.bitmap import format_cpu_bitmap, parse_cpu_bitmap
from scstfs.sysfs.errors import SysfsError


def outcome(data: bytes, nbits: int) -> int | str:
    try:
        return parse_cpu_bitmap(data, nbits)
    except SysfsError as refusal:
        return errno.errorcode[refusal.errno]


@pytest.mark.parametrize(
    ("data", "nbits", "expected"),
    [
        (b"3\n", 2, 3),
        (b"0\n", 2, 0),
        (b"\n", 2, 0),
        (b"", 2, 0),
        (b" ,\t", 2, 0),
        (b"00000002\n", 2, 2),
        (b",2,\n", 2, 2),
        (b" 2 ", 2, 2),
        (b"2\nff", 2, 2),
        (b"\xa01", 2, 1),
        (b"g00000001", 2, 1),  # the character before eight digits is stepped over
        (b"4\n", 2, "EOVERFLOW"),
        (b"ff\n", 2, "EOVERFLOW"),
        (b"65536\n", 2, "EOVERFLOW"),
        (b"0,0\n", 2, "EOVERFLOW"),
        (b"0 0\n", 2, "EOVERFLOW"),
        (b"x 0\n", 2, "EOVERFLOW"),
        (b"000000001\n", 2, "EOVERFLOW"),
        (b"0x1\n", 2, "EINVAL"),
        (b"g\n", 2, "EINVAL"),
        (b"-1\n", 2, "EINVAL"),
        (b"1g\n", 2, "EINVAL"),
        (b"\0", 2, "EINVAL"),
        (b"ff,ffffffff\n", 40, 2**40 - 1),
        (b"1,00000000\n", 40, 2**32),
        (b"1,0\n", 40, 2**32),
        (b"1,,0\n", 40, 2**32),
        (b"1g00000000\n", 40, 2**32),
        (b"100,00000000\n", 40, "EOVERFLOW"),
    ],
)
def test_parse(data: bytes, nbits: int, expected: int | str) -> None:
    assert outcome(data, nbits) == expected


@pytest.mark.parametrize(
    ("mask", "nbits", "text"),
    [
        (3, 2, "3"),
        (0, 2, "0"),
        (1, 4, "1"),
        (1, 5, "01"),
        (2**32 - 1, 32, "ffffffff"),
        (1, 33, "0,00000001"),
        (2**40 - 1, 40, "ff,ffffffff"),
        (5, 64, "00000000,00000005"),
    ],
)
def test_format(mask: int, nbits: int, text: str) -> None:
    assert format_cpu_bitmap(mask, nbits) == text


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 2**n - 1))))
def test_what_is_printed_is_read_back(width_and_mask: tuple[int, int]) -> None:
    nbits, mask = width_and_mask
    text = format_cpu_bitmap(mask, nbits)
    assert parse_cpu_bitmap(text.encode() + b"\n", nbits) == mask


@given(
    data=st.binary(max_size=60) | st.text("0123fg, \n", max_size=60).map(str.encode),
    nbits=st.integers(1, 200),
)
def test_any_bytes_give_a_mask_that_fits_or_a_refusal(data: bytes, nbits: int) -> None:
    value = outcome(data, nbits)
    if isinstance(value, int):
        assert 0 <= value < 2**nbits
    else:
        assert value in ("EINVAL", "EOVERFLOW")
