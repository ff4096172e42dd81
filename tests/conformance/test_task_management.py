"""Task management: RFC 7143 4.2.2.3, 4.2.3, 7.11, 11.5, 11.6."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import ACA, Initiator, Task, lun_bytes
from tests.support.iscsi_wire import FINAL, NO_TAG, Pdu

ABORT_TASK, ABORT_TASK_SET, CLEAR_ACA, CLEAR_TASK_SET = 1, 2, 3, 4
LOGICAL_UNIT_RESET, WARM_RESET, COLD_RESET, TASK_REASSIGN = 5, 6, 7, 8
COMPLETE, NO_TASK, NO_LUN, NO_REASSIGNMENT, REJECTED = 0, 1, 2, 4, 255

READY = "000000000000"
NACA_BEYOND_THE_END = "28007fffffff00000104"
ACA_ACTIVE = 0x30
SYNCHRONIZE_CACHE = "35000000000000000000"


def waiting_write(initiator: Initiator, *, lun: int = 0, immediate: bool = False) -> Task:
    """A write whose data has been requested."""
    initiator.answer_r2ts = False
    task = initiator.issue(
        "2a000000000000001000",
        lun=lun,
        data_out=bytes(8192),
        immediate_data=0,
        unsolicited=0,
        immediate=immediate,
    )
    while not task.r2ts:
        initiator.pump()
    return task


def send_function(initiator: Initiator, function: int, *, lun: int = 0) -> Pdu:
    """A function of which the answer may wait."""
    fields: dict[str, int | bytes] = {
        "flags": FINAL | function,
        "lun": lun_bytes(lun),
        "referenced_tag": NO_TAG,
    }
    request = initiator.request(wire.TASK_REQUEST, fields)
    initiator.send(request)
    return request


def sense(task: Task) -> tuple[int, int, int]:
    assert task.status == 2
    return task.sense[2] & 0x0F, task.sense[12], task.sense[13]


# ABORT TASK


def test_abort_task_ends_a_task_without_an_answer(initiator: Initiator) -> None:
    task = waiting_write(initiator)
    assert initiator.task_management(ABORT_TASK, task=task) == COMPLETE
    # 11.5.1: nothing may follow the response.
    initiator.answer_r2t(task, task.r2ts[0])
    initiator.ping()
    assert not task.done
    # It has not been answered, and may be aborted again.
    assert initiator.task_management(ABORT_TASK, task=task) == COMPLETE


def test_abort_task_of_a_command_that_was_answered(initiator: Initiator) -> None:
    task = initiator.command("000000000000")
    assert initiator.task_management(ABORT_TASK, task=task) == NO_TASK


def test_abort_task_of_an_immediate_task(initiator: Initiator) -> None:
    """11.5.5: RefCmdSN is the CmdSN of the request itself."""
    task = waiting_write(initiator, immediate=True)
    assert initiator.task_management(ABORT_TASK, task=task, ref_cmd_sn=1 << 31) == REJECTED
    answer = initiator.task_management(ABORT_TASK, task=task, ref_cmd_sn=initiator.cmd_sn)
    assert answer == COMPLETE


def test_abort_task_of_a_task_that_is_over(initiator: Initiator) -> None:
    task = initiator.command(READY)
    assert initiator.task_management(ABORT_TASK, task=task) == NO_TASK


def test_abort_task_of_a_command_that_has_not_come(initiator: Initiator) -> None:
    """7.11: it counts as received, and is ignored when it comes."""
    lost = initiator.prepare("2a000000000000000100", data_out=b"?" * 512)
    assert initiator.task_management(ABORT_TASK, task=lost) == COMPLETE
    assert initiator.exp_cmd_sn == lost.command["cmd_sn"] + 1
    initiator.send(lost.command)
    assert initiator.command("28000000000000000100", expect=512).data != b"?" * 512
    assert not lost.done


def test_abort_task_of_a_command_outside_the_window(initiator: Initiator) -> None:
    answer = initiator.task_management(
        ABORT_TASK, referenced_tag=0x5555, ref_cmd_sn=initiator.max_cmd_sn + 5
    )
    assert answer == NO_TASK


@pytest.mark.parametrize("what", ["lun", "ref_cmd_sn"])
def test_abort_task_has_to_agree_with_its_task(initiator: Initiator, what: str) -> None:
    task = waiting_write(initiator)
    wrong: int | bytes = lun_bytes(1) if what == "lun" else task.command["cmd_sn"] + 7
    assert initiator.task_management(ABORT_TASK, task=task, **{what: wrong}) == REJECTED
    initiator.answer_r2t(task, task.r2ts[0])
    assert initiator.wait(task).status == 0


def test_task_management_is_not_aborted(initiator: Initiator) -> None:
    waiting_write(initiator)
    reset = send_function(initiator, LOGICAL_UNIT_RESET)
    assert initiator.task_management(ABORT_TASK, referenced_tag=reset["itt"]) == REJECTED


# Functions about several tasks (4.2.3.3)


@pytest.mark.parametrize("function", [ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET])
def test_functions_wait_for_the_data_that_was_asked_for(
    initiator: Initiator, function: int
) -> None:
    task = waiting_write(initiator)
    request = send_function(initiator, function)
    initiator.ping()
    assert request["itt"] not in initiator.answers
    initiator.answer_r2t(task, task.r2ts[0])
    while request["itt"] not in initiator.answers:
        initiator.pump()
    assert initiator.answers[request["itt"]]["response"] == COMPLETE
    # Either the task was done before, or it has no more effect.
    was_done = task.done
    initiator.ping()
    assert task.done == was_done


@pytest.mark.slow
def test_the_wait_for_data_has_an_end(initiator: Initiator) -> None:
    """Many initiators send none after they have given a task up."""
    task = waiting_write(initiator)
    assert initiator.task_management(ABORT_TASK_SET) == COMPLETE
    initiator.answer_r2t(task, task.r2ts[0])
    assert initiator.command(READY).status == 0
    assert not task.done


@pytest.mark.parametrize("function", [ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET])
def test_functions_wait_for_the_commands_before_them(initiator: Initiator, function: int) -> None:
    first = initiator.prepare(READY)
    request = send_function(initiator, function)
    initiator.ping()
    assert request["itt"] not in initiator.answers
    initiator.send(first.command)
    while request["itt"] not in initiator.answers:
        initiator.pump()


def test_target_scoped_functions_plug_what_has_not_come(initiator: Initiator) -> None:
    lost = [initiator.prepare(READY) for _ in range(3)]
    assert initiator.task_management(WARM_RESET) == COMPLETE
    assert initiator.exp_cmd_sn == lost[-1].command["cmd_sn"] + 1
    initiator.send(lost[0].command)
    initiator.ping()
    assert not lost[0].done


@pytest.mark.parametrize(
    "function", [ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET, WARM_RESET]
)
def test_no_answer_of_a_task_follows_the_response(initiator: Initiator, function: int) -> None:
    """4.2.2.3.2: the response is fenced, whatever the worker threads do."""
    tasks = []
    for _ in range(8):
        tasks.append(initiator.issue("2a000000000000000800", data_out=bytes(4096)))
        tasks.append(initiator.issue(SYNCHRONIZE_CACHE))
        tasks.append(initiator.issue("28000000000000000800", expect=4096))
    assert initiator.task_management(function) == COMPLETE
    before = [task.done for task in tasks]
    # Whatever were to follow would be there before the answer to this.
    initiator.command(READY)
    initiator.ping()
    assert [task.done for task in tasks] == before


def test_tasks_of_other_units_are_not_touched(initiator: Initiator) -> None:
    task = waiting_write(initiator, lun=1)
    assert initiator.task_management(LOGICAL_UNIT_RESET) == COMPLETE
    initiator.answer_r2t(task, task.r2ts[0])
    assert initiator.wait(task).status == 0


def test_abort_task_set_leaves_other_sessions_alone(log_in: LogIn) -> None:
    one, other = log_in(), log_in()
    task = waiting_write(other)
    assert one.task_management(ABORT_TASK_SET) == COMPLETE
    other.answer_r2t(task, task.r2ts[0])
    assert other.wait(task).status == 0


def test_a_reset_is_told_to_every_session(log_in: LogIn) -> None:
    one, other = log_in(), log_in()
    assert one.task_management(LOGICAL_UNIT_RESET) == COMPLETE
    for initiator in (one, other):
        key, code, _ = sense(initiator.command(READY))
        assert (key, code) == (6, 0x29)


# Logical units


def test_a_unit_that_does_not_exist(initiator: Initiator) -> None:
    for function in (ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET):
        assert initiator.task_management(function, lun=99) == NO_LUN


def test_clear_aca(log_in: LogIn) -> None:
    """10.2: a command with the NACA bit that fails stops its nexus until CLEAR ACA."""
    one, other = log_in(), log_in()
    assert one.command(NACA_BEYOND_THE_END, expect=512).status == 2
    assert one.command(READY).status == ACA_ACTIVE
    assert one.command(READY, attribute=ACA).status == 0
    # Task sets are apart (TST=1): the other session has no such condition to clear.
    assert other.task_management(CLEAR_ACA) == COMPLETE
    assert one.command(READY).status == ACA_ACTIVE
    assert one.task_management(CLEAR_ACA) == COMPLETE
    assert one.command(READY).status == 0
    assert one.task_management(CLEAR_ACA) == COMPLETE


def test_tasks_are_not_reassigned(initiator: Initiator) -> None:
    """7.2.2, at ErrorRecoveryLevel 0."""
    task = waiting_write(initiator)
    assert initiator.task_management(TASK_REASSIGN, task=task) == NO_REASSIGNMENT
    initiator.answer_r2t(task, task.r2ts[0])
    assert initiator.wait(task).status == 0


@pytest.mark.parametrize("function", [0, 13, 0x7F])
def test_reserved_functions_are_rejected(initiator: Initiator, function: int) -> None:
    assert initiator.task_management(function) == REJECTED


def test_a_referenced_tag_where_there_is_none(initiator: Initiator) -> None:
    """11.5.4."""
    assert initiator.task_management(LOGICAL_UNIT_RESET, referenced_tag=5) == REJECTED


def test_a_numbered_function_takes_its_turn(initiator: Initiator) -> None:
    first = initiator.prepare(READY)
    request = initiator.request(
        wire.TASK_REQUEST, {"flags": FINAL | ABORT_TASK_SET, "referenced_tag": NO_TAG}
    )
    request.header[0] &= 0x3F
    initiator.cmd_sn += 1
    initiator.send(request)
    initiator.ping()
    assert request["itt"] not in initiator.answers
    initiator.send(first.command)
    initiator.wait(first)
    while request["itt"] not in initiator.answers:
        initiator.pump()
    assert initiator.exp_cmd_sn == request["cmd_sn"] + 1


def test_a_cold_reset_ends_all_connections(connect: Connect, log_in: LogIn) -> None:
    one, other = log_in(), log_in()
    assert one.task_management(COLD_RESET) == COMPLETE
    for initiator in (one, other):
        assert initiator.wait_closed() == []
