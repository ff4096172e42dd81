from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from scstfs.handlers.identity_attributes import (
    TEXT_LIMITS,
    IdentityAttributes,
    parse_eui64_id,
    parse_naa_id,
    parse_text,
)
from scstfs.sysfs.errors import SysfsError


@pytest.mark.parametrize("name", sorted(TEXT_LIMITS))
def test_texts_have_limits(name: str) -> None:
    most = b"x" * TEXT_LIMITS[name]
    assert parse_text(name, most + b"\n") == most
    with pytest.raises(SysfsError) as refused:
        parse_text(name, most + b"x\n")
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("parse", "data", "value"),
    [
        (parse_naa_id, b"\n", ""),
        (parse_naa_id, b" 0x5000000000000001 \n", "5000000000000001"),
        (parse_naa_id, b"2" + b"0" * 15, "2" + "0" * 15),
        (parse_naa_id, b"6" + b"a" * 31, "6" + "a" * 31),
        (parse_eui64_id, b"\n", ""),
        (parse_eui64_id, b"0123456789abcdef", "0123456789abcdef"),
        (parse_eui64_id, b"0x" + b"0" * 24, "0" * 24),
        (parse_eui64_id, b"0" * 32, "0" * 32),
    ],
)
def test_numbers(parse: Callable[[bytes], bytes], data: bytes, value: str) -> None:
    assert parse(data).hex() == value


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        (parse_naa_id, b"1" + b"0" * 15),
        (parse_naa_id, b"5" + b"0" * 31),
        (parse_naa_id, b"50000"),
        (parse_naa_id, b"5" + b"g" * 15),
        (parse_eui64_id, b"12"),
        (parse_eui64_id, b"x" * 16),
        (parse_eui64_id, "ö".encode() * 8),
    ],
)
def test_what_is_no_number(parse: Callable[[bytes], bytes], data: bytes) -> None:
    with pytest.raises(SysfsError) as refused:
        parse(data)
    assert refused.value.errno == errno.EINVAL


def test_what_was_written_is_marked_even_if_it_is_empty() -> None:
    identity = IdentityAttributes("disk1", 0, b"SCST_FIO")
    assert identity.get("usn") == b"b8fdbd32"
    assert not identity.was_set("usn")
    identity.set("usn", b"")
    assert identity.was_set("usn")
    assert identity.as_identity().usn == b""
