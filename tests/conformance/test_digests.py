"""Header and data digests: RFC 7143 7.8, 13.1."""

from __future__ import annotations

import random

import pytest

from tests.conformance.conftest import Connect
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import FINAL, NO_TAG
from tests.support.live_target import LiveTarget

DIGESTS = "iqn.2005-03.org.example:digests"
CRC_ERROR = bytes((0x0B, 0x47, 0x05))
DATA = random.Random(13).randbytes(262144)


@pytest.fixture(scope="module")
def target(live: LiveTarget) -> str:
    """A target that can do digests."""
    live.add_target(DIGESTS, "HeaderDigest=CRC32C,None; DataDigest=CRC32C,None")
    return DIGESTS


def log_in(connect: Connect, target: str, header: str, data: str) -> Initiator:
    initiator = connect()
    initiator.login(target, keys=[("HeaderDigest", header), ("DataDigest", data)])
    initiator.command("000000000000")
    return initiator


@pytest.fixture
def initiator(connect: Connect, target: str) -> Initiator:
    return log_in(connect, target, "CRC32C", "CRC32C")


@pytest.mark.parametrize("header", ["None", "CRC32C"])
@pytest.mark.parametrize("data", ["None", "CRC32C"])
def test_every_pdu_has_the_digests_that_were_agreed_on(
    connect: Connect, target: str, header: str, data: str
) -> None:
    """The initiator complains of every wrong digest."""
    initiator = log_in(connect, target, header, data)
    length = 131072
    cdb = bytes.fromhex("2a000000000000010000")
    assert initiator.command(cdb, data_out=DATA[:length]).status == 0
    assert initiator.command(b"\x28" + cdb[1:], expect=length).data == DATA[:length]
    for size in range(1, 6):
        assert initiator.ping(DATA[:size]).data == DATA[:size]
    assert initiator.command("ff0000000000").status == 2
    assert initiator.text([("SendTargets", "")])
    assert initiator.task_management(2) == 0
    assert initiator.logout() == 0


def test_additional_headers_are_covered(initiator: Initiator) -> None:
    ahs = bytes.fromhex("0011010000000000000000000000000000000000")
    # An invalid CDB of 32 bytes: it is refused, which shows that it was read.
    assert initiator.command(b"\x7f" + bytes(15), ahs=ahs).status == 2


def test_login_pdus_have_none(connect: Connect, target: str) -> None:
    initiator = connect()
    keys = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]
    initiator.login_step([*initiator.names(target), *keys])
    response, _ = initiator.login_step(transit=True)
    assert response.flags & 0x83 == 0x83


@pytest.mark.logs("header digest does not match")
def test_a_header_digest_error_ends_the_connection(initiator: Initiator) -> None:
    initiator.send(initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}), spoil_header=True)
    assert initiator.wait_closed() == []


@pytest.mark.parametrize("opcode", [wire.NOP_OUT, wire.TEXT_REQUEST])
def test_a_request_with_a_data_digest_error_is_rejected(initiator: Initiator, opcode: int) -> None:
    request = initiator.request(opcode, {"ttt": NO_TAG}, data=b"A=1\0")
    initiator.send(request, spoil_data=True)
    reject = initiator.pump()
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, 2)
    assert reject.data == bytes(request.header)
    assert initiator.ping().opcode == wire.NOP_IN


def test_a_numbered_request_that_is_rejected_may_come_again(initiator: Initiator) -> None:
    request = initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}, data=b"ping")
    request.header[0] &= 0x3F
    initiator.send(request, spoil_data=True)
    assert initiator.pump()["exp_cmd_sn"] == request["cmd_sn"]
    assert initiator.exchange(request).data == b"ping"
    initiator.cmd_sn += 1


@pytest.mark.parametrize("size", [4096, 65536])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_write_data_with_a_digest_error_ends_the_task_after_the_last_data(
    initiator: Initiator, which: int, size: int
) -> None:
    """7.8: Reject, then CHECK CONDITION when all requested data has come."""
    initiator.answer_r2ts = False
    length = 4 * size
    cdb = bytes.fromhex("2a0000000000") + b"\0" + (length // 512).to_bytes(2, "big") + b"\0"
    task = initiator.issue(cdb, data_out=DATA[:length], immediate_data=0, unsolicited=0)
    while not task.r2ts:
        initiator.pump()
    initiator.data_out_size = size
    pdus = initiator.data_out_pdus(task, 0, length, task.r2ts[0]["ttt"])
    for pdu in pdus:
        assert not task.done
        initiator.send(pdu, spoil_data=pdu is pdus[which])
    initiator.wait(task)
    assert [pdu["reason"] for pdu in initiator.rejects] == [2]
    assert bytes((task.sense[2] & 15, task.sense[12], task.sense[13])) == CRC_ERROR


def test_immediate_data_with_a_digest_error_ends_the_task(initiator: Initiator) -> None:
    """As SCST has it: the command is good and is answered; 7.8 would leave a gap."""
    task = initiator.prepare("2a000000000000000800", data_out=DATA[:4096])
    initiator.send(task.command, spoil_data=True)
    reject = initiator.receive()
    initiator.note_numbers(reject)
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, 2)
    initiator.wait(task)
    assert bytes((task.sense[2] & 15, task.sense[12], task.sense[13])) == CRC_ERROR
    assert initiator.command("000000000000").status == 0


def test_spoilt_data_is_not_written(initiator: Initiator) -> None:
    initiator.command("2a000000000000000800", data_out=DATA[:4096])
    task = initiator.prepare("2a000000000000000800", data_out=DATA[4096:8192])
    initiator.send(task.command, spoil_data=True)
    initiator.note_numbers(initiator.receive())
    initiator.wait(task)
    assert initiator.command("28000000000000000800", expect=4096).data == DATA[:4096]


def test_padding_is_covered_and_0(initiator: Initiator) -> None:
    """The initiator complains of padding that is not zero; ours may be anything."""
    request = initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}, data=b"abcde")
    raw = initiator.encode(request)[:-4]
    raw = raw[:-3] + b"\xff\xff\xff"
    initiator.send_bytes(raw + wire.crc32c(raw[52:]))
    answer = initiator.pump()
    assert (answer.opcode, answer.flags, answer.data) == (wire.NOP_IN, FINAL, b"abcde")
