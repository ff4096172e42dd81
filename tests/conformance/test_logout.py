"""Logout: RFC 7143 4.2.6, 11.14, 11.15."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.live_target import TARGET, LiveTarget


@pytest.mark.parametrize("reason", [0, 1], ids=["session", "connection"])
def test_the_connection_is_closed_after_the_response(initiator: Initiator, reason: int) -> None:
    assert initiator.logout(reason) == 0
    assert initiator.wait_closed() == []


def test_the_session_is_gone(live: LiveTarget, initiator: Initiator) -> None:
    initiator.logout()
    initiator.wait_closed()
    initiator.close()
    assert initiator.name not in live.names(f"targets/iscsi/{TARGET}/sessions")


def test_a_connection_that_is_none(initiator: Initiator) -> None:
    assert initiator.logout(1, cid=77) == 1
    assert initiator.ping().opcode == wire.NOP_IN


def test_recovery_is_not_supported_at_level_0(initiator: Initiator) -> None:
    """11.15.1: code 2, as the operational ErrorRecoveryLevel says."""
    assert initiator.logout(2) == 2
    assert initiator.ping().opcode == wire.NOP_IN


def test_commands_under_way_are_ended_without_an_answer(initiator: Initiator) -> None:
    initiator.answer_r2ts = False
    for _ in range(3):
        initiator.issue(
            "2a000000000000001000", data_out=bytes(8192), immediate_data=0, unsolicited=0
        )
    initiator.ping()
    assert initiator.logout() == 0
    assert initiator.wait_closed() == []


def test_nothing_is_taken_after_a_logout(initiator: Initiator) -> None:
    """11.14: what comes behind it is neither executed nor answered."""
    initiator.send(initiator.request(wire.LOGOUT_REQUEST, {"cid": initiator.cid}))
    write = initiator.prepare("2a000000000000000100", data_out=b"!" * 512)
    initiator.send(write.command)
    assert [pdu.opcode for pdu in initiator.wait_closed()] == [wire.LOGOUT_RESPONSE]


def test_what_came_after_a_logout_was_not_written(log_in: LogIn) -> None:
    one = log_in()
    one.command("2a000000000000000100", data_out=b"." * 512)
    one.send(one.request(wire.LOGOUT_REQUEST, {"cid": one.cid}))
    one.send(one.prepare("2a000000000000000100", data_out=b"!" * 512).command)
    one.wait_closed()
    assert log_in().command("28000000000000000100", expect=512).data == b"." * 512


def test_a_numbered_logout_waits_for_the_commands_before_it(initiator: Initiator) -> None:
    task = initiator.prepare("000000000000")
    request = initiator.request(wire.LOGOUT_REQUEST, {"cid": initiator.cid})
    request.header[0] &= 0x3F
    initiator.send(request)
    assert initiator.ping()["exp_cmd_sn"] == task.command["cmd_sn"]
    initiator.send(task.command)
    assert [pdu.opcode for pdu in initiator.wait_closed()] == [
        wire.SCSI_RESPONSE,
        wire.LOGOUT_RESPONSE,
    ]


def test_times_are_what_was_negotiated_for_level_0(initiator: Initiator) -> None:
    request = initiator.request(wire.LOGOUT_REQUEST, {"cid": initiator.cid})
    answer = initiator.exchange(request)
    assert (answer["time2wait"], answer["time2retain"]) == (0, 0)
    assert answer["ahs_length"] == answer["data_length"] == 0
