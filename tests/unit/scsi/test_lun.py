from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.scsi.lun import (
    MAX_LUN,
    AddressMethod,
    check_report_luns,
    pack_lun,
    report_luns,
    report_luns_order,
    unpack_lun,
)
from scstfs.scsi.sense import CheckCondition

PERIPHERAL, FLAT, LOGICAL = AddressMethod


@pytest.mark.parametrize(
    ("lun", "method", "packed"),
    [
        (0, PERIPHERAL, "0000 000000000000"),
        (0, FLAT, "0000 000000000000"),  # zero in every method
        (10, PERIPHERAL, "000a 000000000000"),
        (256, PERIPHERAL, "0100 000000000000"),
        (10, FLAT, "400a 000000000000"),
        (16383, FLAT, "7fff 000000000000"),
        (10, LOGICAL, "800a 000000000000"),
    ],
)
def test_packing(lun: int, method: AddressMethod, packed: str) -> None:
    assert pack_lun(lun, method) == bytes.fromhex(packed)


@given(st.integers(0, MAX_LUN), st.sampled_from(AddressMethod))
def test_unpacking_knows_every_method(lun: int, method: AddressMethod) -> None:
    assert unpack_lun(pack_lun(lun, method)) == lun


@pytest.mark.parametrize(
    "data",
    [
        "c100 000000000000",  # extended addressing
        "0001 000100000000",  # a second level
        "0001 000000000001",
        "0001",  # too short
        "",
    ],
)
def test_what_is_no_lun(data: str) -> None:
    assert unpack_lun(bytes.fromhex(data)) is None


def test_reporting() -> None:
    assert report_luns([0, 1, 10]) == bytes.fromhex(
        "00000018 00000000"  # 24 bytes of numbers
        "0000000000000000 0001000000000000 000a000000000000"
    )
    assert report_luns([3], FLAT)[8:10] == b"\x40\x03"
    assert report_luns([]) == bytes(8)


def test_order_is_that_of_a_hash_table() -> None:
    assert report_luns_order([33, 2, 1, 0, 64]) == [0, 64, 33, 1, 2]


def refused_field(cdb: str, **minimum: int) -> str | None:
    """The sense-key specific bytes of a refusal; None if REPORT LUNS is accepted."""
    try:
        check_report_luns(bytes.fromhex(cdb), **minimum)
    except CheckCondition as refused:
        return refused.sense.encode()[15:].hex()
    return None


@pytest.mark.parametrize(
    ("cdb", "field"),
    [
        ("a0 00 00 000000 00000100 00 00", None),
        ("a0 00 02 000000 00000100 00 00", None),
        ("a0 00 01 000000 00000100 00 00", "c00002"),
        ("a0 00 03 000000 00000100 00 00", "c00002"),
        ("a0 00 00 000000 00000010 00 00", None),
        ("a0 00 00 000000 0000000f 00 00", "c00006"),  # allocation length below 16
    ],
)
def test_checking_report_luns(cdb: str, field: str | None) -> None:
    assert refused_field(cdb) == field


def test_a_short_list_is_fine_where_there_is_no_device() -> None:
    short = "a0 00 00 000000 00000008 00 00"
    assert (refused_field(short), refused_field(short, minimum=0)) == ("c00006", None)
