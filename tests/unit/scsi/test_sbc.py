from __future__ import annotations

import pytest

from scstfs.scsi.sbc import (
    Format,
    Overwrite,
    check_compare_and_write,
    check_sanitize,
    check_write_atomic,
    format_unit,
    read_defect_data,
    sanitize_overwrite,
)
from scstfs.scsi.sense import CheckCondition


def refusal(refused: pytest.ExceptionInfo[CheckCondition]) -> str:
    return refused.value.sense.encode()[12:].hex(" ", 3)


def test_compare_and_write_wants_all_its_data() -> None:
    check_compare_and_write(1024, 1024)
    check_compare_and_write(0, 0)
    for length in (0, 1024):
        with pytest.raises(CheckCondition) as refused:
            check_compare_and_write(length, 512)
        assert refusal(refused) == "240000 c0000d"


@pytest.mark.parametrize(
    ("cdb", "data", "protection", "expected"),
    [
        ("04 00 00 00 00 00", "", 0, Format(False, False)),
        ("04 10 00 00 00 00", "00 00 0000", 0, Format(False, False)),
        ("04 10 00 00 00 00", "00 02 0000", 0, Format(True, False)),  # IMMED
        ("04 b0 00 00 00 00", "00 00 0000 00000000", 1, Format(False, True)),
        ("04 d0 00 00 00 00", "01 00 0000", 3, Format(False, True)),
        ("04 10 00 00 00 00", "", 0, None),
    ],
)
def test_format(cdb: str, data: str, protection: int, expected: Format | None) -> None:
    assert format_unit(bytes.fromhex(cdb), bytes.fromhex(data), protection) == expected


@pytest.mark.parametrize(
    ("cdb", "data", "sense"),
    [
        ("04 40 00 00 00 00", "", "240000 ce0001"),  # FMTPINFO without FMTDATA
        ("04 10 00 00 00 00", "00 00", "1a0000 000000"),
        ("04 10 00 00 00 00", "00 08 0000", "260000 8b0001"),  # initialization pattern
        ("04 30 00 00 00 00", "00 00 0000", "240000 cd0001"),  # LONGLIST, but short
        ("04 30 00 00 00 00", "00 00 00 10 00000000", "260000 8c0003"),
        ("04 30 00 00 00 00", "00 00 00 01 00000000", "260000 8c0003"),
        ("04 10 00 00 00 00", "01 00 0000", "260000 880000"),  # no such combination
        ("04 90 00 00 00 00", "00 00 0000", "240000 ce0001"),  # type 1, which it has not
    ],
)
def test_format_refused(cdb: str, data: str, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        format_unit(bytes.fromhex(cdb), bytes.fromhex(data), 0)
    assert refusal(refused) == sense


def sanitize(length: int) -> bytes:
    return bytes((0x48, 1, 0, 0, 0, 0, 0)) + length.to_bytes(2, "big") + b"\0"


def test_overwrite() -> None:
    data = bytes.fromhex("83 00 0002 aa55")  # INVERT, three times, two bytes of pattern
    assert sanitize_overwrite(sanitize(6), data, 512) == Overwrite(b"\xaa\x55", 3, True)


@pytest.mark.parametrize(
    ("length", "data", "sense"),
    [
        (4, "01 00 0004", "240000 c00007"),
        (517, "01 00 0200" + "00" * 513, "240000 c00007"),
        (8, "01 00 0004", "1a0000 000000"),  # announced and not sent
        (8, "00 00 0004 00000000", "260000 8c0000"),  # no times
        (8, "01 00 0000 00000000", "260000 800002"),  # no pattern
        (8, "01 00 0005 00000000", "260000 800002"),  # pattern beyond the list
        (8, "41 00 0004 00000000", "260000 8e0000"),  # reserved test
    ],
)
def test_overwrite_refused(length: int, data: str, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        sanitize_overwrite(sanitize(length), bytes.fromhex(data), 512)
    assert refusal(refused) == sense


def test_other_sanitize_commands_have_no_parameters() -> None:
    check_sanitize(sanitize(0))
    with pytest.raises(CheckCondition):
        check_sanitize(sanitize(8))


def test_atomic_boundaries_are_not_supported() -> None:
    check_write_atomic(bytes(16))
    with pytest.raises(CheckCondition) as refused:
        check_write_atomic(bytes(11) + b"\x01" + bytes(4))
    assert refusal(refused) == "240000 c0000a"


def test_no_defects() -> None:
    assert read_defect_data(bytes.fromhex("37 00 1d 00000000 0008 00")) == bytes.fromhex("001d0000")
    twelve = bytes.fromhex("b7 15 00000000 00000008 00 00")
    assert read_defect_data(twelve) == bytes.fromhex("00 15 0000 00000000")
