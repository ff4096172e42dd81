from __future__ import annotations

import pytest

from scstfs.scsi import sense
from scstfs.scsi.sense import (
    CheckCondition,
    FieldPointer,
    Origin,
    Progress,
    Sense,
    SenseKey,
    copy_aborted,
    decode,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
    received,
)
from scstfs.scsi.status import Status

CASES = {
    "no sense": (
        sense.NO_SENSE,
        # response code, key 0, additional length 0Ah
        "70 00 00 00000000 0a 00000000 00 00 00 000000",
        "72 00 00 00 000000 00",
    ),
    "no medium": (
        sense.MEDIUM_NOT_PRESENT,
        # key 2 in byte 2, ASC 3Ah in byte 12
        "70 00 02 00000000 0a 00000000 3a 00 00 000000",
        "72 02 3a 00 000000 00",
    ),
    "invalid field in CDB, byte 2": (
        invalid_field_in_cdb(2).sense,
        # SKSV and C/D in byte 15, the field pointer behind it
        "70 00 05 00000000 0a 00000000 24 00 00 c00002",
        "72 05 24 00 000000 08 02 06 0000 c00002 00",
    ),
    "invalid field in CDB, byte 1 bit 5": (
        invalid_field_in_cdb(1, 5).sense,
        # BPV and the bit number: 8 | 5
        "70 00 05 00000000 0a 00000000 24 00 00 cd0001",
        "72 05 24 00 000000 08 02 06 0000 cd0001 00",
    ),
    "invalid field in parameter list, byte 4 bit 0": (
        invalid_field_in_parameter_list(4, 0).sense,
        "70 00 05 00000000 0a 00000000 26 00 00 880004",
        "72 05 26 00 000000 08 02 06 0000 880004 00",
    ),
    "miscompare at offset 258": (
        sense.MISCOMPARE.with_information(0x102),
        # VALID, and the offset in INFORMATION
        "f0 00 0e 00000102 0a 00000000 1d 00 00 000000",
        "72 0e 1d 00 000000 0c 00 0a 80 00 0000000000000102",
    ),
    "copy aborted in segment 3, byte 6": (
        copy_aborted(sense.COPY_DEVICE_NOT_REACHABLE, 3, 6).sense,
        # the segment in bytes 10 and 11; SKSV and SD
        "70 00 0a 00000000 0a 00000003 0d 02 00 a00006",
        "72 0a 0d 02 000000 14 01 0a 0000 0000 0003 00000000 02 06 0000 a00006 00",
    ),
    "format half done": (
        Sense(SenseKey.NOT_READY, 0x04, 0x04, specific=Progress(0x8000)),
        "70 00 02 00000000 0a 00000000 04 04 00 808000",
        "72 02 04 04 000000 08 02 06 0000 808000 00",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_encoding(case: tuple[Sense, str, str]) -> None:
    value, fixed, descriptor = case
    assert value.encode() == bytes.fromhex(fixed)
    assert value.encode(descriptor=True) == bytes.fromhex(descriptor)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_decoding(case: tuple[Sense, str, str]) -> None:
    value, fixed, descriptor = case
    assert decode(bytes.fromhex(fixed)) == value
    assert decode(bytes.fromhex(descriptor)) == value


@pytest.mark.parametrize(
    "value",
    [sense.RESET, sense.NEXUS_LOSS, sense.MODE_PARAMETERS_CHANGED],
    ids=["reset", "nexus loss", "mode parameters changed"],
)
def test_some_unit_attentions_stay_fixed(value: Sense) -> None:
    assert value.always_fixed
    assert value.encode(descriptor=True) == value.encode(descriptor=False)
    assert value.encode(descriptor=True)[0] == 0x70


def test_other_unit_attentions_do_not() -> None:
    assert sense.INQUIRY_DATA_CHANGED.encode(descriptor=True) == bytes.fromhex("72063f0300000000")
    assert not sense.LOG_PARAMETERS_CHANGED.always_fixed


@pytest.mark.parametrize(
    ("given", "descriptor", "expected"),
    [
        # A change of format keeps key, ASC and ASCQ only.
        ("70 00 05 00000000 0a 00000000 24 00 00 c00002", True, "7205240000000000"),
        (
            "72 05 24 00 000000 08 02 06 0000 c00002 00",
            False,
            "70 00 05 00000000 0a 00000000 24 00 00 000000",
        ),
        # No change, nothing lost.
        (
            "70 00 05 00000000 0a 00000000 24 00 00 c00002",
            False,
            "70 00 05 00000000 0a 00000000 24 00 00 c00002",
        ),
        ("72 05 24 00 000000 00", True, "72 05 24 00 000000 00"),
        ("70 00 06 00000000 0a 00000000 29 00 00 000000", True, "7206290000000000"),
    ],
)
def test_what_a_device_says_in_the_other_format(
    given: str, descriptor: bool, expected: str
) -> None:
    said = received(bytes.fromhex(given))
    assert said is not None
    assert said.encode_as(descriptor=descriptor) == bytes.fromhex(expected)


def test_decoding_what_is_short() -> None:
    assert decode(b"\x70\x00\x06") == Sense(SenseKey.UNIT_ATTENTION, 0, 0)
    assert decode(b"\x72\x05") == Sense(SenseKey.ILLEGAL_REQUEST, 0, 0)
    assert decode(b"") is None
    assert decode(b"\x00\x05") is None


@pytest.mark.parametrize("data", ["72 05 24 01 00000000", "f0 00 03 00000001 00", "71 00 02"])
def test_what_a_device_says_stays_as_it_is(data: str) -> None:
    said = received(bytes.fromhex(data))
    assert said is not None
    assert said.triple == decode(bytes.fromhex(data)).triple  # type: ignore[union-attr]
    assert said.encode() == said.encode(descriptor=True) == bytes.fromhex(data)


@pytest.mark.parametrize("data", ["", "00 05", "7f 00"])
def test_what_is_no_sense_data(data: str) -> None:
    assert received(bytes.fromhex(data)) is None


def test_a_check_condition_knows_its_status() -> None:
    refused = CheckCondition(sense.LBA_OUT_OF_RANGE)
    assert refused.status is Status.CHECK_CONDITION
    assert str(refused) == "ILLEGAL_REQUEST 21/00"
    assert refused.sense.triple == (5, 0x21, 0)


def test_pointing_beyond_sixteen_bits_is_cut() -> None:
    assert FieldPointer(0x12345, None, Origin.PARAMETERS).encode() == bytes.fromhex("802345")
