from __future__ import annotations

import pytest

from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition, Progress, Sense, SenseKey
from scstfs.scsi.spc import (
    TimestampOrigin,
    check_reserve,
    receive_diagnostic_results,
    report_identifying_information,
    report_timestamp,
    request_sense,
)

FIXED = bytes.fromhex("03 00 00 00 12 00")
DESC = bytes.fromhex("03 01 00 00 12 00")


@pytest.mark.parametrize(
    ("condition", "fixed", "descriptor"),
    [
        (sense.NO_SENSE, "70 00 00 00000000 0a 00000000 0000 00 000000", "72 00 0000 000000 00"),
        (
            sense.INQUIRY_DATA_CHANGED,
            "70 00 06 00000000 0a 00000000 3f03 00 000000",
            "72 06 3f03 000000 00",
        ),
        # With CHECK CONDITION it is always fixed format; here the CDB has the wanted format.
        (sense.RESET, "70 00 06 00000000 0a 00000000 2900 00 000000", "72 06 2900 000000 00"),
        (
            Sense(SenseKey.NOT_READY, 4, 4, specific=Progress(0x1234)),
            "70 00 02 00000000 0a 00000000 0404 00 801234",
            "72 02 0404 000000 08 02 06 0000 801234 00",
        ),
        (
            sense.LUN_NOT_SUPPORTED,
            "70 00 05 00000000 0a 00000000 2500 00 000000",
            "72 05 2500 000000 00",
        ),
    ],
)
def test_sense_data_comes_in_the_format_asked_for(
    condition: Sense, fixed: str, descriptor: str
) -> None:
    assert request_sense(FIXED, condition) == bytes.fromhex(fixed)
    assert request_sense(DESC, condition) == bytes.fromhex(descriptor)


def test_reserving_for_somebody_else() -> None:
    check_reserve(bytes.fromhex("16 1f 00 00 00 00"))
    check_reserve(bytes.fromhex("56 00 02 000000 00 0000 00"))  # LONGID alone
    with pytest.raises(CheckCondition) as refused:
        check_reserve(bytes.fromhex("56 00 10 000000 00 0000 00"))
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 cc0002")


def test_diagnostic_pages() -> None:
    assert receive_diagnostic_results(bytes.fromhex("1c 01 00 00ff 00")).hex() == "0000000100"
    with pytest.raises(CheckCondition) as refused:
        receive_diagnostic_results(bytes.fromhex("1c 01 40 00ff 00"))
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c00002")


@pytest.mark.parametrize(
    ("kind", "information", "data"),
    [
        (0, b"", "0000 0000"),
        (0, b"abc", "0000 0003 616263"),
        (0x7F, b"", "0000 0008 00000040 04000100"),
    ],
)
def test_identifying_information(kind: int, information: bytes, data: str) -> None:
    cdb = bytes((0xA3, 5)) + bytes(8) + bytes((kind << 1, 0))
    assert report_identifying_information(cdb, information) == bytes.fromhex(data)


def test_unknown_identifying_information() -> None:
    with pytest.raises(CheckCondition) as refused:
        report_identifying_information(bytes.fromhex("a3 05 00000000 00000100 02 00"))
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 cf000a")


def test_timestamp() -> None:
    data = report_timestamp(0x0102030405060708, TimestampOrigin.SET_TIMESTAMP)
    assert data == bytes.fromhex("000a 02 00 030405060708 0000")
