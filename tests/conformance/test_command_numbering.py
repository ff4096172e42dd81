"""CmdSN, ExpCmdSN and MaxCmdSN, StatSN: RFC 7143 4.2.2, 11.4.9 to 11.4.11."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import FINAL, NO_TAG
from tests.support.live_target import TARGET, LiveTarget

ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5
READY = "000000000000"
WRITE_10 = "2a000000000000001000"
NARROW = "iqn.2005-03.org.example:window"


@pytest.fixture(scope="module")
def narrow(live: LiveTarget) -> str:
    """A target whose window is four commands."""
    live.add_target(NARROW, "QueuedCommands=4", luns=2)
    return NARROW


def test_the_window_that_the_login_told_is_kept(live: LiveTarget, connect: Connect) -> None:
    """MaxCmdSN never goes back, however few commands are allowed."""
    name = "iqn.2005-03.org.example:single"
    live.add_target(name, "QueuedCommands=1")
    initiator = connect()
    initiator.login(name)
    window = range(initiator.exp_cmd_sn, initiator.max_cmd_sn + 1)
    # The first one is under way when the others come.
    write = initiator.prepare(WRITE_10, data_out=bytes(8192), immediate_data=0, unsolicited=0)
    others = [initiator.prepare(READY) for _ in window[1:]]
    initiator.send_bytes(b"".join(task.command.raw for task in (write, *others)))
    assert [initiator.wait(task).done for task in (*others, write)] == [True] * len(window)


def test_exp_cmd_sn_is_the_next_one_due(initiator: Initiator) -> None:
    for _ in range(5):
        before = initiator.exp_cmd_sn
        task = initiator.command(READY)
        assert task.answer["exp_cmd_sn"] == before + 1 == task.command["cmd_sn"] + 1


def test_immediate_requests_use_up_no_cmd_sn(initiator: Initiator) -> None:
    before = initiator.exp_cmd_sn
    assert initiator.command(READY, immediate=True).answer["exp_cmd_sn"] == before
    assert initiator.ping()["exp_cmd_sn"] == before
    assert initiator.command(READY).answer["exp_cmd_sn"] == before + 1


def test_immediate_requests_are_delivered_whatever_their_cmd_sn(initiator: Initiator) -> None:
    far = initiator.max_cmd_sn + 1000
    assert initiator.command(READY, immediate=True, cmd_sn=far).status == 0


def test_commands_are_executed_in_the_order_of_their_cmd_sn(initiator: Initiator) -> None:
    """The write with the higher CmdSN wins, in any order of arrival."""
    first = initiator.prepare(WRITE_10[:-4] + "0100", data_out=b"1" * 512)
    second = initiator.prepare(WRITE_10[:-4] + "0100", data_out=b"2" * 512)
    initiator.send(second.command)
    assert initiator.ping()["exp_cmd_sn"] == first.command["cmd_sn"]
    assert not second.done
    initiator.send(first.command)
    initiator.wait(first)
    initiator.wait(second)
    assert initiator.command("28000000000000000100", expect=512).data == b"2" * 512


def test_there_are_no_holes_in_what_is_acknowledged(initiator: Initiator) -> None:
    tasks = [initiator.prepare(READY) for _ in range(4)]
    for task in reversed(tasks[1:]):
        initiator.send(task.command)
    assert initiator.ping()["exp_cmd_sn"] == tasks[0].command["cmd_sn"]
    initiator.send(tasks[0].command)
    for task in tasks:
        initiator.wait(task)
    assert initiator.exp_cmd_sn == tasks[-1].command["cmd_sn"] + 1


@pytest.mark.parametrize("ahead", [-2, 100000, 0x7FFFFFFF])
def test_commands_outside_the_window_are_ignored(initiator: Initiator, ahead: int) -> None:
    before = initiator.exp_cmd_sn
    task = initiator.prepare(READY, immediate=False, cmd_sn=initiator.exp_cmd_sn + ahead)
    initiator.cmd_sn = before
    initiator.send(task.command)
    assert initiator.ping()["exp_cmd_sn"] == before
    assert not task.done
    assert initiator.rejects == []


def test_duplicates_in_the_window_are_ignored(initiator: Initiator) -> None:
    first = initiator.prepare(READY)
    early = initiator.prepare(READY)
    for _ in range(3):
        initiator.send(early.command)
    initiator.send(first.command)
    initiator.wait(first)
    initiator.wait(early)
    # Had a copy been executed, the initiator would complain of a PDU of a task that is over.
    assert initiator.ping()["exp_cmd_sn"] == early.command["cmd_sn"] + 1
    assert (initiator.complaints, initiator.rejects) == ([], [])


def test_a_retried_command_that_was_executed_is_ignored(initiator: Initiator) -> None:
    task = initiator.command(READY)
    initiator.send(task.command)
    assert initiator.ping()["exp_cmd_sn"] == task.command["cmd_sn"] + 1
    assert initiator.rejects == []


def test_a_retry_of_a_command_in_progress_is_ignored(initiator: Initiator) -> None:
    initiator.answer_r2ts = False
    task = initiator.issue(WRITE_10, data_out=bytes(4096 * 2), immediate_data=512, unsolicited=0)
    while not task.r2ts:
        initiator.pump()
    initiator.send(task.command)
    initiator.ping()
    assert (len(task.r2ts), initiator.rejects) == (1, [])
    initiator.answer_r2t(task, task.r2ts[0])
    initiator.wait(task)


def test_the_window_closes_at_queued_commands_and_opens_again(
    connect: Connect, narrow: str
) -> None:
    initiator = connect()
    initiator.login(narrow)
    initiator.command(READY)
    initiator.answer_r2ts = False
    tasks = [
        initiator.issue(WRITE_10, data_out=bytes(8192), immediate_data=0, unsolicited=0)
        for _ in range(4)
    ]
    while not all(task.r2ts for task in tasks):
        initiator.pump()
    assert initiator.max_cmd_sn == initiator.exp_cmd_sn - 1
    # A command beyond a closed window is ignored.
    beyond = initiator.prepare(READY)
    initiator.send(beyond.command)
    assert initiator.ping()["exp_cmd_sn"] == beyond.command["cmd_sn"]
    for task in tasks:
        initiator.answer_r2t(task, task.r2ts[0])
        initiator.wait(task)
    assert initiator.max_cmd_sn - initiator.exp_cmd_sn + 1 == 4
    initiator.send(beyond.command)
    assert initiator.wait(beyond).status == 0


def test_a_window_that_opens_by_itself_is_told_by_a_nop_in(
    live: LiveTarget, initiator: Initiator
) -> None:
    before = initiator.max_cmd_sn
    live.write(f"targets/iscsi/{TARGET}/QueuedCommands", "48\n")
    try:
        ping = initiator.pump()
        assert (ping.opcode, ping["itt"], ping["ttt"]) == (wire.NOP_IN, NO_TAG, NO_TAG)
        assert ping["max_cmd_sn"] == before + 16
    finally:
        live.write(f"targets/iscsi/{TARGET}/QueuedCommands", "32\n")


def test_a_narrower_window_takes_nothing_back(live: LiveTarget, log_in: LogIn) -> None:
    initiator = log_in()
    promised = initiator.max_cmd_sn
    live.write(f"targets/iscsi/{TARGET}/QueuedCommands", "2\n")
    try:
        # The initiator complains where MaxCmdSN goes back.
        while initiator.exp_cmd_sn != promised:
            assert initiator.command(READY).answer["max_cmd_sn"] >= promised
        initiator.command(READY)
        assert initiator.max_cmd_sn - initiator.exp_cmd_sn + 1 == 2
    finally:
        live.write(f"targets/iscsi/{TARGET}/QueuedCommands", "32\n")


def test_stat_sn_advances_by_one_for_each_status(initiator: Initiator) -> None:
    """The initiator complains of any StatSN that is not the next one."""
    seen = [
        initiator.command(READY).answer["stat_sn"],
        initiator.ping()["stat_sn"],
        initiator.command("28000000000000000800", expect=4096).answer["stat_sn"],
    ]
    assert seen == list(range(seen[0], seen[0] + 3))


def test_r2ts_and_unasked_nop_ins_use_up_no_stat_sn(initiator: Initiator) -> None:
    first = initiator.command(READY).answer["stat_sn"]
    task = initiator.command(WRITE_10, data_out=bytes(8192), immediate_data=0, unsolicited=0)
    assert task.r2ts[0]["stat_sn"] == task.answer["stat_sn"] == first + 1


def test_one_immediate_function_and_one_other_request_always_fit(
    connect: Connect, narrow: str
) -> None:
    """4.2.2.1: however much is under way, one of each is taken."""
    initiator = connect()
    initiator.login(narrow)
    initiator.command(READY)
    initiator.answer_r2ts = False
    tasks = [
        initiator.issue(
            WRITE_10, data_out=bytes(8192), immediate_data=0, unsolicited=0, immediate=number > 3
        )
        for number in range(40)
    ]
    initiator.ping()
    refused = [task for task in tasks if task.done]
    assert {task.answer["reason"] for task in refused} == {6}
    assert initiator.task_management(ABORT_TASK, task=tasks[0]) == 0
    # Each of these waits for the data of the commands.
    for _ in range(20):
        reset = {"flags": FINAL | LOGICAL_UNIT_RESET, "referenced_tag": NO_TAG}
        initiator.send(initiator.request(wire.TASK_REQUEST, reset))
    initiator.ping()
    assert len(initiator.rejects) == len(refused) + 8
    answer = initiator.command(READY, lun=1, immediate=True).answer
    assert answer.opcode == wire.SCSI_RESPONSE


def test_commands_of_two_sessions_are_numbered_apart(log_in: LogIn) -> None:
    one, other = log_in(), log_in()
    for _ in range(3):
        one.command(READY)
    assert one.exp_cmd_sn == other.exp_cmd_sn + 3
    other.command(READY)


def test_numbered_requests_of_every_kind_take_their_turn(initiator: Initiator) -> None:
    """NOP-Out, text and task management with a CmdSN use it up."""
    before = initiator.exp_cmd_sn
    requests = [
        initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}),
        initiator.request(wire.TEXT_REQUEST, {"ttt": NO_TAG}),
        initiator.request(wire.TASK_REQUEST, {"flags": FINAL | 5, "referenced_tag": NO_TAG}),
    ]
    for number, request in enumerate(requests):
        request.header[0] &= 0x3F
        request["cmd_sn"] = before + number
    for request in reversed(requests):
        initiator.send(request)
    while not all(request["itt"] in initiator.answers for request in requests):
        initiator.pump()
    initiator.cmd_sn = before + 3
    assert initiator.ping()["exp_cmd_sn"] == before + 3
