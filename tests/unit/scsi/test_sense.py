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


#: Sense key, additional sense code and qualifier, in hexadecimal, as T10 lists them.
CODES = {
    "NO_SENSE": "0 00 00",
    "FORMAT_IN_PROGRESS": "2 04 04",
    "ALUA_TRANSITION": "2 04 0a",
    "ALUA_STANDBY": "2 04 0b",
    "ALUA_UNAVAILABLE": "2 04 0c",
    "SANITIZE_IN_PROGRESS": "2 04 1b",
    "MEDIUM_NOT_PRESENT": "2 3a 00",
    "WRITE_ERROR": "3 03 00",
    "UNRECOVERED_READ_ERROR": "3 11 00",
    "SANITIZE_FAILED": "3 31 03",
    "INTERNAL_TARGET_FAILURE": "4 44 00",
    "SET_TARGET_PORT_GROUPS_FAILED": "4 67 0a",
    "OPERATION_IN_PROGRESS": "5 00 16",
    "PARAMETER_LIST_LENGTH_ERROR": "5 1a 00",
    "INVALID_OPCODE": "5 20 00",
    "LBA_OUT_OF_RANGE": "5 21 00",
    "INVALID_TOKEN": "5 23 00",
    "TOKEN_UNSUPPORTED": "5 23 01",
    "TOKEN_REMOTE": "5 23 02",
    "TOKEN_UNKNOWN": "5 23 04",
    "TOKEN_CORRUPT": "5 23 05",
    "TOKEN_REVOKED": "5 23 06",
    "TOKEN_EXPIRED": "5 23 07",
    "INVALID_TOKEN_LENGTH": "5 23 0a",
    "INVALID_FIELD_IN_CDB": "5 24 00",
    "LUN_NOT_SUPPORTED": "5 25 00",
    "INVALID_FIELD_IN_PARAMETER_LIST": "5 26 00",
    "INVALID_RELEASE": "5 26 04",
    "TOO_MANY_TARGET_DESCRIPTORS": "5 26 06",
    "UNSUPPORTED_TARGET_DESCRIPTOR": "5 26 07",
    "TOO_MANY_SEGMENT_DESCRIPTORS": "5 26 08",
    "UNSUPPORTED_SEGMENT_DESCRIPTOR": "5 26 09",
    "INLINE_DATA_LENGTH_EXCEEDED": "5 26 0b",
    "SAVING_NOT_SUPPORTED": "5 39 00",
    "INVALID_MESSAGE": "5 49 00",
    "INSUFFICIENT_REGISTRATION_RESOURCES": "5 55 04",
    "INVALID_FIELD_IN_INFORMATION_UNIT": "5 0e 03",
    "MEDIUM_CHANGED": "6 28 00",
    "RESET": "6 29 00",
    "NEXUS_LOSS": "6 29 07",
    "CLEARED_BY_TRANSPORT": "6 47 7f",
    "MODE_PARAMETERS_CHANGED": "6 2a 01",
    "LOG_PARAMETERS_CHANGED": "6 2a 02",
    "RESERVATIONS_PREEMPTED": "6 2a 03",
    "RESERVATIONS_RELEASED": "6 2a 04",
    "REGISTRATIONS_PREEMPTED": "6 2a 05",
    "ALUA_STATE_CHANGED": "6 2a 06",
    "CAPACITY_CHANGED": "6 2a 09",
    "CLEARED_BY_ANOTHER_INITIATOR": "6 2f 00",
    "THIN_SOFT_THRESHOLD_REACHED": "6 38 07",
    "INQUIRY_DATA_CHANGED": "6 3f 03",
    "REPORTED_LUNS_CHANGED": "6 3f 0e",
    "WRITE_PROTECTED": "7 00 00",
    "SOFTWARE_WRITE_PROTECTED": "7 27 00",
    "SPACE_ALLOCATION_FAILED": "7 27 07",
    "COPY_SEGMENT_ERROR": "a 00 00",
    "THIRD_PARTY_DEVICE_FAILURE": "a 0d 01",
    "COPY_DEVICE_NOT_REACHABLE": "a 0d 02",
    "ABORTED": "b 00 00",
    "COMMAND_TIMEOUT": "b 2e 02",
    "UNEXPECTED_UNSOLICITED_DATA": "b 0c 0c",
    "INCORRECT_AMOUNT_OF_DATA": "b 0c 0d",
    "INTERNAL_FAILURE": "b 44 00",
    "PROTOCOL_CRC_ERROR": "b 47 05",
    "MISCOMPARE": "e 1d 00",
}


def test_codes_are_those_of_t10() -> None:
    found = {
        name: f"{value.key:x} {value.asc:02x} {value.ascq:02x}"
        for name, value in vars(sense).items()
        if isinstance(value, Sense)
    }
    assert found == CODES
