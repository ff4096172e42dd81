"""Golden headers: those of libiscsi 1.19, qemu 7.2 and tgt 1.0.85 where they send the PDU."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi import codes, login_pdu, pdu


def bhs(text: str) -> bytes:
    header = bytes.fromhex(text)
    assert len(header) == 48
    return header


LUN1 = bytes.fromhex("0001000000000000")

INQUIRY = bhs(
    "01c10000 00000000 0001000000000000 3f95445c 00000040 534ed9c4 00000003"
    "12000000400000000000000000000000"
)
TEST_UNIT_READY_WITH_DATA = bhs(
    "41a0 0000 02 000200 0001000000000000 00000007 00000200 0000000a 0000000b"
    "00000000000000000000000000000000"
)
ABORT_TASK = bhs(
    "42810000 00000000 0001000000000000 42e7ff4a 42e7ff49 66ce6e27 00000003 66ce6e26 00000000"
    "0000000000000000"
)
DATA_OUT = bhs(
    "05000000 00002000 0001000000000000 3f954465 001459f5 00000000 0000000d 00000000 00000002"
    "00006000 00000000"
)
LOGOUT = bhs(
    "46800000 00000000 0000000000000000 1caf1f26 0000 0000 6e08962a 00000005"
    "00000000000000000000000000000000"
)
LOGIN = bhs(
    "43870000 000001a4 80738db20000 0000 1caf1f21 0000 0000 6e089626 00000001"
    "00000000000000000000000000000000"
)
TEXT = bhs(
    "44800000 00000010 0000000000000000 4b9bde46 ffffffff 7df43dfd 00000001"
    "00000000000000000000000000000000"
)
NOP_OUT = bhs(
    "40800000 00000004 0001000000000000 00000009 ffffffff 0000000a 0000000b"
    "00000000000000000000000000000000"
)

UNPACKED = [
    (
        pdu.unpack_scsi_command,
        INQUIRY,
        pdu.ScsiCommand(
            opcode=1,
            flags=codes.FINAL | codes.COMMAND_READ | codes.IscsiTaskAttribute.SIMPLE,
            lengths=0,
            lun=LUN1,
            itt=0x3F95445C,
            expected_data_transfer_length=64,
            cmd_sn=0x534ED9C4,
            exp_stat_sn=3,
            cdb=bytes.fromhex("12000000400000000000000000000000"),
        ),
    ),
    (
        pdu.unpack_scsi_command,
        TEST_UNIT_READY_WITH_DATA,
        pdu.ScsiCommand(
            opcode=codes.PduOpcode.SCSI_COMMAND | codes.IMMEDIATE,
            flags=codes.FINAL | codes.COMMAND_WRITE,
            lengths=2 << 24 | 512,
            lun=LUN1,
            itt=7,
            expected_data_transfer_length=512,
            cmd_sn=10,
            exp_stat_sn=11,
            cdb=bytes(16),
        ),
    ),
    (
        pdu.unpack_task_management_request,
        ABORT_TASK,
        pdu.TaskManagementRequest(
            opcode=codes.PduOpcode.TASK_MANAGEMENT_REQUEST | codes.IMMEDIATE,
            flags=codes.FINAL | codes.TaskFunction.ABORT_TASK,
            lengths=0,
            lun=LUN1,
            itt=0x42E7FF4A,
            referenced_task_tag=0x42E7FF49,
            cmd_sn=0x66CE6E27,
            exp_stat_sn=3,
            ref_cmd_sn=0x66CE6E26,
            exp_data_sn=0,
        ),
    ),
    (
        pdu.unpack_data_out,
        DATA_OUT,
        pdu.DataOut(
            opcode=5,
            flags=0,
            lengths=0x2000,
            lun=LUN1,
            itt=0x3F954465,
            ttt=0x1459F5,
            exp_stat_sn=13,
            data_sn=2,
            buffer_offset=0x6000,
        ),
    ),
    (
        pdu.unpack_logout_request,
        LOGOUT,
        pdu.LogoutRequest(
            opcode=0x46,
            flags=codes.FINAL | codes.LogoutReason.CLOSE_SESSION,
            lengths=0,
            itt=0x1CAF1F26,
            cid=0,
            cmd_sn=0x6E08962A,
            exp_stat_sn=5,
        ),
    ),
    (
        login_pdu.unpack_login_request,
        LOGIN,
        login_pdu.LoginRequest(
            opcode=0x43,
            flags=0x87,
            version_max=0,
            version_min=0,
            lengths=0x1A4,
            isid=bytes.fromhex("80738db20000"),
            tsih=0,
            itt=0x1CAF1F21,
            cid=0,
            cmd_sn=0x6E089626,
            exp_stat_sn=1,
        ),
    ),
    (
        pdu.unpack_text_request,
        TEXT,
        pdu.TextRequest(
            opcode=0x44,
            flags=codes.FINAL,
            lengths=16,
            lun=pdu.NO_LUN,
            itt=0x4B9BDE46,
            ttt=codes.RESERVED_TAG,
            cmd_sn=0x7DF43DFD,
            exp_stat_sn=1,
        ),
    ),
    (
        pdu.unpack_nop_out,
        NOP_OUT,
        pdu.NopOut(
            opcode=0x40,
            flags=codes.FINAL,
            lengths=4,
            lun=LUN1,
            itt=9,
            ttt=codes.RESERVED_TAG,
            cmd_sn=10,
            exp_stat_sn=11,
        ),
    ),
]


@pytest.mark.parametrize(
    ("unpack", "header", "record"), UNPACKED, ids=[type(row[2]).__name__ for row in UNPACKED]
)
def test_unpack(
    unpack: Callable[[bytes, int], tuple[object, ...]], header: bytes, record: tuple[object, ...]
) -> None:
    assert unpack(header, 0) == record
    assert unpack(b"before" + header + b"after", 6) == record


def test_stages_and_flags_of_a_login_request() -> None:
    request = login_pdu.unpack_login_request(LOGIN)
    assert request.transit
    assert not request.continues
    assert request.current_stage == codes.LoginStage.OPERATIONAL
    assert request.next_stage == codes.LoginStage.FULL_FEATURE


PACKED = [
    (
        "218000020000001400000000000000003f95445a0000000000000001534ed9c3534eda43"
        "000000000000000000000000",
        pdu.pack_scsi_response(
            itt=0x3F95445A,
            status=2,
            stat_sn=1,
            exp_cmd_sn=0x534ED9C3,
            max_cmd_sn=0x534EDA43,
            data_length=20,
        ),
    ),
    (
        "21860128 00000000 0000000000000000 00000001 00000000 00000002 00000003 00000004 00000005"
        "00000006 00000007",
        pdu.pack_scsi_response(
            itt=1,
            response=codes.ScsiResponseCode.TARGET_FAILURE,
            status=0x28,
            flags=codes.RESIDUAL_OVERFLOW | codes.RESIDUAL_UNDERFLOW,
            stat_sn=2,
            exp_cmd_sn=3,
            max_cmd_sn=4,
            exp_data_sn=5,
            bidi_residual=6,
            residual=7,
        ),
    ),
    (
        "2280010000000000000000000000000042e7ff4a000000000000000466ce6e2766ce6ea7"
        "000000000000000000000000",
        pdu.pack_task_management_response(
            itt=0x42E7FF4A,
            response=codes.TaskResponse.TASK_DOES_NOT_EXIST,
            stat_sn=4,
            exp_cmd_sn=0x66CE6E27,
            max_cmd_sn=0x66CE6EA7,
        ),
    ),
    (
        "258300000000006200000000000000003f95445effffffff00000005534ed9c7534eda47"
        "00000000000000000000009d",
        pdu.pack_data_in(
            itt=0x3F95445E,
            flags=codes.FINAL | codes.RESIDUAL_UNDERFLOW | codes.DATA_STATUS,
            stat_sn=5,
            exp_cmd_sn=0x534ED9C7,
            max_cmd_sn=0x534EDA47,
            data_sn=0,
            buffer_offset=0,
            data_length=98,
            residual=157,
        ),
    ),
    (
        "318000000000000000010000000000003f954465001459f50000000c534ed9ce534eda4e"
        "000000010004200000009000",
        pdu.pack_ready_to_transfer(
            lun=LUN1,
            itt=0x3F954465,
            ttt=0x1459F5,
            stat_sn=12,
            exp_cmd_sn=0x534ED9CE,
            max_cmd_sn=0x534EDA4E,
            r2t_sn=1,
            buffer_offset=0x42000,
            desired_length=0x9000,
        ),
    ),
    (
        "32800000 00000014 0001000000000000 ffffffff 00000000 00000007 00000008 00000009"
        "01 02 0003 0004 0005 00000000",
        pdu.pack_async_message(
            event=codes.AsyncEvent.LOGOUT_REQUESTED,
            vendor_code=2,
            parameters=(3, 4, 5),
            lun=LUN1,
            stat_sn=7,
            exp_cmd_sn=8,
            max_cmd_sn=9,
            data_length=20,
        ),
    ),
    (
        "24800000000000a400000000000000004b9bde46ffffffff000000017df43dfd7df43dfe"
        "000000000000000000000000",
        pdu.pack_text_response(
            itt=0x4B9BDE46,
            ttt=codes.RESERVED_TAG,
            stat_sn=1,
            exp_cmd_sn=0x7DF43DFD,
            max_cmd_sn=0x7DF43DFE,
            data_length=0xA4,
        ),
    ),
    (
        "23870000 0000012e 80b979dd0000 0100 4b9bde45 00000000 00000000 7df43dfd 7df43dfe 0000"
        "00000000000000000000",
        login_pdu.pack_login_response(
            flags=0x87,
            isid=bytes.fromhex("80b979dd0000"),
            tsih=0x100,
            itt=0x4B9BDE45,
            stat_sn=0,
            exp_cmd_sn=0x7DF43DFD,
            max_cmd_sn=0x7DF43DFE,
            data_length=0x12E,
        ),
    ),
    (
        "23040000 00000000 000000000000 0000 238c10fb 00000000 00000000 00000000 00000000 0203"
        "00000000000000000000",
        login_pdu.pack_login_response(
            flags=4,
            isid=bytes(6),
            tsih=0,
            itt=0x238C10FB,
            stat_sn=0,
            exp_cmd_sn=0,
            max_cmd_sn=0,
            status=codes.LoginStatus.NOT_FOUND,
        ),
    ),
    (
        "268000000000000000000000000000001caf1f2600000000000000056e08962a6e0896aa"
        "000000000000000000000000",
        pdu.pack_logout_response(
            itt=0x1CAF1F26,
            response=codes.LogoutCode.CLOSED,
            stat_sn=5,
            exp_cmd_sn=0x6E08962A,
            max_cmd_sn=0x6E0896AA,
        ),
    ),
    (
        "26800200 00000000 0000000000000000 00000001 00000000 00000002 00000003 00000004 00000000"
        "0005 0006 00000000",
        pdu.pack_logout_response(
            itt=1,
            response=codes.LogoutCode.RECOVERY_NOT_SUPPORTED,
            stat_sn=2,
            exp_cmd_sn=3,
            max_cmd_sn=4,
            time2wait=5,
            time2retain=6,
        ),
    ),
    (
        "3f800900 00000030 0000000000000000 ffffffff 00000000 00000001 00000002 00000003 00000004"
        "0000000000000000",
        pdu.pack_reject(reason=9, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3, data_sn=4),
    ),
    (
        "20800000 00000000 0001000000000000 ffffffff 00000009 00000001 00000002 00000003"
        "000000000000000000000000",
        pdu.pack_nop_in(
            itt=codes.RESERVED_TAG, ttt=9, lun=LUN1, stat_sn=1, exp_cmd_sn=2, max_cmd_sn=3
        ),
    ),
]


@pytest.mark.parametrize(
    ("expected", "header"), PACKED, ids=[f"{row[1][0]:02x}-{i}" for i, row in enumerate(PACKED)]
)
def test_pack(expected: str, header: bytes) -> None:
    assert header == bhs(expected)


def test_good_status_is_laid_out_alike_with_and_without_data() -> None:
    response = pdu.pack_scsi_response(itt=1, status=0, stat_sn=2, exp_cmd_sn=3, max_cmd_sn=4)
    assert response == pdu.GOOD_STATUS.pack(0x2180, 0, 1, 0, 2, 3, 4)
    data_in = pdu.pack_data_in(
        itt=1,
        stat_sn=2,
        exp_cmd_sn=3,
        max_cmd_sn=4,
        data_sn=0,
        buffer_offset=0,
        data_length=512,
        flags=0x81,
    )
    assert data_in == pdu.GOOD_STATUS.pack(0x2581, 512, 1, 0xFFFFFFFF, 2, 3, 4)


def test_every_layout_is_a_whole_header() -> None:
    names = {**vars(pdu), **vars(login_pdu)}
    layouts = {name: value for name, value in names.items() if isinstance(value, Struct)}
    layouts.pop("Struct", None)
    assert len(layouts) == 18
    assert {layout.size for layout in layouts.values()} == {pdu.BHS_LENGTH}


@given(st.binary(min_size=48, max_size=48))
def test_any_header_unpacks_as_anything(header: bytes) -> None:
    for unpack, _, _ in UNPACKED:
        assert unpack(header, 0)[0] == header[0]


@pytest.mark.parametrize(
    ("data", "tail"),
    [(b"", b""), (b"a", b"a\0\0\0"), (b"abc", b"abc\0"), (b"abcd", b"abcd")],
)
def test_data_is_padded_to_words(data: bytes, tail: bytes) -> None:
    assert pdu.with_data(LOGIN, data) == LOGIN + tail
    assert pdu.padded(len(data)) == len(tail)


def test_codes_print_their_names() -> None:
    assert codes.LoginStatus(0x0203).name == "NOT_FOUND"
    assert codes.PduOpcode(0x31).name == "READY_TO_TRANSFER"


#: What has to be given to every PDU of the target.
NUMBERS: dict[str, Any] = {"stat_sn": 0x22, "exp_cmd_sn": 0x33, "max_cmd_sn": 0x44}


@pytest.mark.parametrize(
    ("packed", "header"),
    [
        (
            pdu.pack_scsi_response(itt=0x11, status=8, **NUMBERS),
            "21800008 000000000000000000000000 00000011 00000000 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
        (
            pdu.pack_task_management_response(itt=0x11, response=1, **NUMBERS),
            "22800100 000000000000000000000000 00000011 00000000 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
        (
            pdu.pack_data_in(
                itt=0x11,
                exp_cmd_sn=0x33,
                max_cmd_sn=0x44,
                data_sn=0x66,
                buffer_offset=0x77,
                data_length=0x88,
            ),
            "25000000 00000088 0000000000000000 00000011 ffffffff 00000000 00000033 00000044"
            "00000066 00000077 00000000",
        ),
        (
            pdu.pack_async_message(event=3, **NUMBERS),
            "32800000 000000000000000000000000 ffffffff 00000000 00000022 00000033 00000044"
            "03000000 0000000000000000",
        ),
        (
            pdu.pack_text_response(itt=0x11, ttt=0x55, **NUMBERS),
            "24800000 000000000000000000000000 00000011 00000055 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
        (
            pdu.pack_logout_response(itt=0x11, response=1, **NUMBERS),
            "26800100 000000000000000000000000 00000011 00000000 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
        (
            pdu.pack_reject(reason=4, **NUMBERS),
            "3f800400 00000030 0000000000000000 ffffffff 00000000 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
        (
            pdu.pack_nop_in(itt=0x11, ttt=0x55, **NUMBERS),
            "20800000 000000000000000000000000 00000011 00000055 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
        (
            login_pdu.pack_login_response(
                flags=0x87, isid=bytes(range(6)), tsih=0xBB, itt=0x11, **NUMBERS
            ),
            "23870000 00000000 000102030405 00bb 00000011 00000000 00000022 00000033 00000044"
            "000000000000000000000000",
        ),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_what_is_not_said_is_zero_or_no_tag(packed: bytes, header: str) -> None:
    assert packed.hex() == header.replace(" ", "")


UNPACKERS = [
    function
    for module in (pdu, login_pdu)
    for name, function in vars(module).items()
    if name.startswith("unpack_")
]


@pytest.mark.parametrize("unpack", UNPACKERS, ids=lambda function: function.__name__)
def test_a_header_is_read_where_it_begins(unpack: Callable[..., object]) -> None:
    header = bytes(range(1, 49))
    assert unpack(header) == unpack(b"before" + header, 6)
    assert unpack(header) != unpack(b"\0" + header, 0)
