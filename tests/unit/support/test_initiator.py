"""The test initiator itself: digest, codec, and that it notices what a target does wrong."""

from __future__ import annotations

import pytest

from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_socket import ClosedError
from tests.support.iscsi_wire import NO_TAG, Pdu, crc32c


# RFC 7143 appendix on CRC examples.
@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (bytes(32), "aa36918a"),
        (b"\xff" * 32, "43aba862"),
        (bytes(range(32)), "4e79dd46"),
        (bytes(range(31, -1, -1)), "5cdb3f11"),
        (
            bytes.fromhex(
                "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018"
                "28000000 00000000 02000000 00000000"
            ),
            "563a96d9",
        ),
    ],
    ids=["zeroes", "ones", "up", "down", "read10"],
)
def test_crc32c(data: bytes, digest: str) -> None:
    assert crc32c(data).hex() == digest


def test_any_field_takes_any_value() -> None:
    pdu = Pdu.make(
        wire.SCSI_COMMAND,
        data=b"abcde",
        lun=b"\x00\x01",
        cdb=b"\x28",
        itt=-1,
        data_length=0x123456,
        ahs_length=0x1FF,
    )
    assert pdu.blob("lun") == b"\x00\x01" + bytes(6)
    assert pdu.blob("cdb") == b"\x28" + bytes(15)
    assert (pdu["itt"], pdu["data_length"], pdu["ahs_length"]) == (NO_TAG, 0x123456, 0xFF)
    assert pdu.raw[48:] == b"abcde\0\0\0"
    assert "lun=0001000000000000" in repr(pdu)


class Script:
    """A stream on which the target has already said everything."""

    def __init__(self, *pdus: Pdu) -> None:
        self.sent = bytearray()
        self.coming = bytearray(b"".join(pdu.raw for pdu in pdus))

    def sendall(self, data: bytes, /) -> None:
        self.sent += data

    def recv(self, count: int, /) -> bytes:
        data = bytes(self.coming[:count])
        del self.coming[:count]
        return data

    def settimeout(self, seconds: float | None, /) -> None:
        pass

    def gettimeout(self) -> float | None:
        return None

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        pass

    def close(self) -> None:
        pass


def from_target(opcode: int, **fields: int | bytes) -> Pdu:
    data = fields.pop("data", b"")
    assert isinstance(data, bytes)
    defaults: dict[str, int | bytes] = {"flags": 0x80, "exp_cmd_sn": 2, "max_cmd_sn": 9}
    pdu = Pdu.make(opcode, data=data)
    for name, value in (defaults | fields).items():
        pdu[name] = value
    return pdu


def initiator(*pdus: Pdu) -> tuple[Initiator, Script]:
    script = Script(*pdus)
    made = Initiator(script)
    made.offers = {"MaxRecvDataSegmentLength": "8192"}
    return made, script


def test_read_with_status_in_the_data() -> None:
    made, script = initiator(
        from_target(wire.DATA_IN, flags=0, itt=1, data=b"abcd", stat_sn=0),
        from_target(
            wire.DATA_IN, flags=0x83, itt=1, data=b"ef", data_sn=1, buffer_offset=4, residual=2
        ),
    )
    task = made.command("12 00 00 00 08 00", lun=3, expect=8)
    assert (task.status, task.data, task.residual) == (0, b"abcdef", -2)
    assert made.complaints == []
    command = Pdu(bytes(script.sent[:48]))
    assert command.flags == 0xC1
    assert command.blob("lun") == bytes.fromhex("0003000000000000")
    assert (command["expected_length"], command["cmd_sn"]) == (8, 1)
    assert made.cmd_sn == 2
    assert made.exp_stat_sn == 1


def test_write_with_everything() -> None:
    """4 bytes immediate, 4 unsolicited, the rest solicited in PDUs of 4 bytes, last one first."""
    made, script = initiator(
        from_target(wire.R2T, itt=1, ttt=5, buffer_offset=8, desired_length=6),
        from_target(wire.SCSI_RESPONSE, itt=1, status=2, data=b"\0\3\x70\0\5", exp_data_sn=1),
    )
    made.data_out_size = 4
    made.reorder = lambda pdus: pdus[::-1]
    task = made.issue("2a" + "00" * 9, data_out=b"0123456789abcd", immediate_data=4, unsolicited=4)
    made.wait(task)
    assert (task.status, task.sense) == (2, b"\x70\0\5")
    sent = [entry.pdu for entry in made.record if entry.sent]
    assert [pdu.opcode for pdu in sent] == [1, 5, 5, 5]
    assert [pdu.data for pdu in sent] == [b"0123", b"4567", b"cd", b"89ab"]
    assert [pdu.flags for pdu in sent] == [0x21, 0x80, 0x80, 0x00]
    assert [pdu["ttt"] for pdu in sent[1:]] == [NO_TAG, 5, 5]
    assert [pdu["buffer_offset"] for pdu in sent[1:]] == [4, 12, 8]
    assert len(script.sent) == 48 * 4 + 16


def test_ping_of_the_target_is_answered() -> None:
    made, script = initiator(from_target(wire.NOP_IN, itt=NO_TAG, ttt=7))
    made.pump()
    answer = Pdu(bytes(script.sent[:48]))
    assert (answer.opcode, answer["itt"], answer["ttt"]) == (wire.NOP_OUT, NO_TAG, 7)
    assert made.pings[0]["ttt"] == 7


def test_text_is_put_together() -> None:
    made, _ = initiator(
        from_target(wire.TEXT_RESPONSE, itt=1, ttt=3, flags=0),
        from_target(wire.TEXT_RESPONSE, itt=1, ttt=4, flags=0x40, data=b"TargetN", stat_sn=1),
        from_target(wire.TEXT_RESPONSE, itt=1, ttt=NO_TAG, data=b"ame=iqn.a\0", stat_sn=2),
    )
    assert made.send_targets() == {"iqn.a": []}
    assert made.complaints == []
    requests = [entry.pdu for entry in made.record if entry.sent]
    assert [pdu["ttt"] for pdu in requests] == [NO_TAG, 3, 4]


WRONG = {
    "StatSN": [
        from_target(wire.NOP_IN, itt=1, stat_sn=5),
        from_target(wire.NOP_IN, itt=2, stat_sn=7),
    ],
    "DataSN": [from_target(wire.DATA_IN, itt=1, data_sn=1, flags=0)],
    "R2TSN": [from_target(wire.R2T, itt=1, r2t_sn=1, buffer_offset=0, desired_length=0)],
    "unknown task": [from_target(wire.SCSI_RESPONSE, itt=77)],
    "ExpCmdSN - 1": [from_target(wire.NOP_IN, itt=1, exp_cmd_sn=9, max_cmd_sn=7)],
    "goes back": [
        from_target(wire.NOP_IN, itt=1, max_cmd_sn=9),
        from_target(wire.NOP_IN, itt=2, max_cmd_sn=8, stat_sn=1),
    ],
    "both overflow and underflow": [from_target(wire.SCSI_RESPONSE, itt=1, flags=0x86)],
    "more data than we take": [from_target(wire.DATA_IN, itt=1, flags=0, data=bytes(8193))],
    "Reject without the header": [from_target(wire.REJECT, reason=4)],
}


@pytest.mark.parametrize(("complaint", "pdus"), WRONG.items(), ids=WRONG)
def test_complaints(complaint: str, pdus: list[Pdu]) -> None:
    made, _ = initiator(*pdus)
    made.issue("00" * 6)
    for _ in pdus:
        made.pump()
    assert len(made.complaints) == 1
    assert complaint in made.complaints[0]


def test_digests_are_made_and_checked() -> None:
    pdu = from_target(wire.NOP_IN, itt=1, data=b"abc")
    made, script = initiator()
    made.header_digest = made.data_digest = True
    script.coming += made.encode(pdu) + made.encode(pdu, spoil_header=True, spoil_data=True)
    assert made.receive().data == b"abc"
    assert made.complaints == []
    made.receive()
    assert made.complaints == ["wrong header digest", "wrong data digest"]


def test_end_of_stream() -> None:
    made, script = initiator()
    with pytest.raises(ClosedError, match="0 bytes of 48"):
        made.receive()
    script.coming += bytes(10)
    with pytest.raises(ClosedError, match="10 bytes of 48"):
        made.receive()
    assert made.wait_closed() == []
