"""Reject: RFC 7143 7.3, 11.17."""

from __future__ import annotations

import pytest

from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import FINAL, NO_TAG, Pdu

READY = "000000000000"


@pytest.mark.parametrize("opcode", [0x07, 0x0F, 0x11, 0x1C, 0x1E, 0x20, 0x3E, 0x3F])
def test_opcodes_that_are_none_of_an_initiator(initiator: Initiator, opcode: int) -> None:
    initiator.send(Pdu.make(opcode, itt=0x99, immediate=True))
    reject = initiator.pump()
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, 5)
    assert initiator.command(READY).status == 0


def test_a_reject_holds_the_header_that_it_is_about(initiator: Initiator) -> None:
    request = initiator.request(wire.LOGOUT_REQUEST, {"flags": FINAL | 0x55})
    answer = initiator.exchange(request)
    assert answer.opcode == wire.REJECT
    assert answer.data == bytes(request.header)
    assert (answer["itt"], answer.flags) == (NO_TAG, FINAL)


def test_snack_is_not_supported_at_level_0(initiator: Initiator) -> None:
    task = initiator.command("28000000000000000800", expect=4096)
    initiator.send(initiator.request(wire.SNACK, {"itt": task.itt, "ttt": NO_TAG}))
    assert initiator.pump()["reason"] == 5
    assert initiator.command(READY).status == 0


@pytest.mark.parametrize("attribute", [5, 6, 7])
def test_reserved_task_attributes_are_a_protocol_error(
    initiator: Initiator, attribute: int
) -> None:
    task = initiator.command(READY, attribute=attribute, immediate=True)
    assert (task.answer.opcode, task.answer["reason"]) == (wire.REJECT, 4)


def test_reserved_logout_reasons_are_a_protocol_error(initiator: Initiator) -> None:
    request = initiator.request(wire.LOGOUT_REQUEST, {"flags": FINAL | 3})
    assert initiator.exchange(request)["reason"] == 4


def test_reserved_additional_headers_are_a_protocol_error(initiator: Initiator) -> None:
    task = initiator.command(READY, ahs=bytes.fromhex("0005170000000000"), immediate=True)
    assert (task.answer.opcode, task.answer["reason"]) == (wire.REJECT, 4)


@pytest.mark.parametrize("ahs", ["ffff010000000000", "0001010000050200", "0000000000000000"])
def test_malformed_additional_headers(initiator: Initiator, ahs: str) -> None:
    task = initiator.command(READY, ahs=bytes.fromhex(ahs), immediate=True)
    assert task.answer.opcode == wire.REJECT


def test_the_reserved_task_tag(initiator: Initiator) -> None:
    initiator.issue(READY, itt=NO_TAG, immediate=True)
    assert initiator.pump()["reason"] == 9


def test_a_tag_in_use(initiator: Initiator) -> None:
    """7.3: the task with this tag continues."""
    initiator.answer_r2ts = False
    task = initiator.issue(
        "2a000000000000001000", data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    while not task.r2ts:
        initiator.pump()
    initiator.send(
        Pdu.make(wire.SCSI_COMMAND, itt=task.itt, immediate=True, flags=FINAL, cdb=bytes(6))
    )
    reject = initiator.receive()
    initiator.note_numbers(reject)
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, 7)
    initiator.answer_r2t(task, task.r2ts[0])
    assert initiator.wait(task).status == 0


def test_a_rejected_command_leaves_its_number_due(initiator: Initiator) -> None:
    """7.3: its CmdSN does not count as received, and can be sent again."""
    task = initiator.command(READY, attribute=7)
    assert task.answer.opcode == wire.REJECT
    due = task.command["cmd_sn"]
    assert task.answer["exp_cmd_sn"] == due
    later = initiator.issue(READY)
    assert initiator.ping()["exp_cmd_sn"] == due
    assert not later.done
    again = initiator.prepare(READY, cmd_sn=due)
    initiator.cmd_sn -= 1
    initiator.send(again.command)
    assert initiator.wait(again).status == 0
    assert initiator.wait(later).status == 0


def test_data_for_a_command_that_needs_none_does_not_touch_it(initiator: Initiator) -> None:
    """7.3: a Reject of a data PDU ends no task."""
    initiator.answer_r2ts = False
    task = initiator.issue(
        "2a000000000000001000", data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    while not task.r2ts:
        initiator.pump()
    initiator.send(Pdu.make(wire.DATA_OUT, itt=task.itt, ttt=0x999, data=b"1234", flags=FINAL))
    initiator.ping()
    assert [pdu["reason"] for pdu in initiator.rejects] == [9]
    initiator.answer_r2t(task, task.r2ts[0])
    assert initiator.wait(task).status == 0


@pytest.mark.logs("segment that it never has")
@pytest.mark.parametrize("opcode", [wire.TASK_REQUEST, wire.LOGOUT_REQUEST, wire.SNACK])
def test_requests_that_never_have_data(initiator: Initiator, opcode: int) -> None:
    """11.5.2, 11.14.2: a format error (7.7)."""
    initiator.send(initiator.request(opcode, {}, data=b"1234"))
    assert initiator.wait_closed() == []


def test_reserved_bits_and_fields_do_not_matter(initiator: Initiator) -> None:
    """11: a receiver ignores them."""
    task = initiator.prepare(READY)
    task.command.header[0] |= 0x80
    task.command.header[1] |= 0x18
    task.command.header[2:4] = b"\xff\xff"
    initiator.send(task.command)
    assert initiator.wait(task).status == 0
