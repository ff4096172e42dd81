"""iSCSIProtocolLevel and what depends on it: RFC 7143 13.24, RFC 7144."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_wire import FINAL
from tests.support.live_target import TARGET

QUERY_TASK, QUERY_TASK_SET, I_T_NEXUS_RESET, QUERY_ASYNCHRONOUS_EVENT = 9, 10, 11, 12
COMPLETE, SUCCEEDED, REJECTED = 0, 7, 255
READY = "000000000000"


@pytest.fixture
def second(log_in: LogIn) -> Initiator:
    """An initiator that has negotiated level 2."""
    return log_in(keys=[("iSCSIProtocolLevel", "2")])


def waiting_write(initiator: Initiator, lun: int = 0) -> Task:
    initiator.answer_r2ts = False
    task = initiator.issue(
        "2a000000000000001000", lun=lun, data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    while not task.r2ts:
        initiator.pump()
    return task


@pytest.mark.parametrize(
    ("offered", "answer"), [("0", "0"), ("1", "1"), ("2", "2"), ("3", "2"), ("31", "2")]
)
def test_the_lower_level_is_agreed_on(connect: Connect, offered: str, answer: str) -> None:
    pairs = connect().login(TARGET, keys=[("iSCSIProtocolLevel", offered)])
    assert dict(pairs)["iSCSIProtocolLevel"] == answer


@pytest.mark.parametrize(
    "function", [QUERY_TASK, QUERY_TASK_SET, I_T_NEXUS_RESET, QUERY_ASYNCHRONOUS_EVENT]
)
def test_new_functions_need_level_2(initiator: Initiator, function: int) -> None:
    assert initiator.task_management(function) in (COMPLETE, REJECTED)
    assert initiator.task_management(QUERY_TASK_SET) == REJECTED
    assert initiator.command(READY).status == 0


@pytest.mark.parametrize("function", [QUERY_TASK, QUERY_TASK_SET, QUERY_ASYNCHRONOUS_EVENT])
def test_new_functions_get_no_reject_at_level_2(second: Initiator, function: int) -> None:
    assert second.task_management(function) == COMPLETE
    assert second.rejects == []


def test_query_task(second: Initiator) -> None:
    task = waiting_write(second)
    assert second.task_management(QUERY_TASK, task=task) == SUCCEEDED
    # 6.3: the answer to the task may follow.
    second.answer_r2t(task, task.r2ts[0])
    assert second.wait(task).status == 0
    assert second.task_management(QUERY_TASK, task=task) == COMPLETE


def test_query_task_of_an_immediate_task(second: Initiator) -> None:
    second.answer_r2ts = False
    task = second.issue(
        "2a000000000000001000",
        data_out=bytes(8192),
        immediate_data=0,
        unsolicited=0,
        immediate=True,
    )
    while not task.r2ts:
        second.pump()
    answer = second.task_management(QUERY_TASK, task=task, ref_cmd_sn=second.cmd_sn)
    assert answer == SUCCEEDED
    assert second.task_management(QUERY_TASK, task=task, ref_cmd_sn=1 << 31) == REJECTED


def test_query_task_is_not_about_task_management(second: Initiator) -> None:
    waiting_write(second)
    reset = second.request(wire.TASK_REQUEST, {"flags": FINAL | 5, "referenced_tag": 0xFFFFFFFF})
    second.send(reset)
    assert second.task_management(QUERY_TASK, referenced_tag=reset["itt"]) == REJECTED


def test_query_task_set(second: Initiator) -> None:
    waiting_write(second)
    assert second.task_management(QUERY_TASK_SET) == SUCCEEDED
    assert second.task_management(QUERY_TASK_SET, lun=1) == COMPLETE


def test_query_asynchronous_event_tells_a_pending_unit_attention(
    log_in: LogIn, second: Initiator
) -> None:
    assert log_in().task_management(5) == 0
    fields: dict[str, int | bytes] = {
        "flags": FINAL | QUERY_ASYNCHRONOUS_EVENT,
        "referenced_tag": 0xFFFFFFFF,
    }
    answer = second.exchange(second.request(wire.TASK_REQUEST, fields))
    assert answer["response"] == SUCCEEDED
    depth, key, code, qualifier = answer.header[8] >> 4, answer.header[8] & 15, *answer.header[9:11]
    task = second.command(READY)
    assert (key, code, qualifier) == (6, task.sense[12], task.sense[13])
    assert depth == 1


def test_i_t_nexus_reset_drops_the_session(log_in: LogIn, second: Initiator) -> None:
    other = log_in()
    waiting_write(second)
    second.answer_r2ts = True
    request = second.request(
        wire.TASK_REQUEST, {"flags": FINAL | I_T_NEXUS_RESET, "referenced_tag": 0xFFFFFFFF}
    )
    second.send(request)
    task = second.tasks[max(second.tasks)]
    second.answer_r2t(task, task.r2ts[0])
    # The task may have been done in time; the response is the last that comes, if it comes.
    *before, last = [pdu.opcode for pdu in second.wait_closed()]
    assert last == wire.TASK_RESPONSE
    assert before in ([], [wire.SCSI_RESPONSE])
    assert other.command(READY).status == 0


@pytest.mark.parametrize(
    ("level", "descriptor"), [(None, 0x0960), ("1", 0x0961), ("2", 0x0962), ("9", 0x0962)]
)
def test_inquiry_tells_the_level(log_in: LogIn, level: str | None, descriptor: int) -> None:
    """RFC 7144 4.2: the version descriptor is the base and the level that was negotiated."""
    keys = [] if level is None else [("iSCSIProtocolLevel", level)]
    data = log_in(keys=keys).command("120000006000", expect=96).data
    descriptors = [int.from_bytes(data[at : at + 2], "big") for at in range(58, 74, 2)]
    assert [value for value in descriptors if value & 0xFFE0 == 0x0960] == [descriptor]


@pytest.mark.parametrize("level", ["1", "2"])
def test_the_priority_of_a_command_does_not_matter(log_in: LogIn, level: str) -> None:
    """RFC 7144 5.1: ignored at level 1, and without effect here at level 2."""
    initiator = log_in(keys=[("iSCSIProtocolLevel", level)])
    task = initiator.prepare(READY)
    task.command.header[2] = 0x0F
    initiator.send(task.command)
    assert initiator.wait(task).status == 0


def test_the_status_qualifier_is_0(second: Initiator) -> None:
    answer = second.command("ff0000000000").answer
    assert answer.opcode == wire.SCSI_RESPONSE
    assert answer["snack_tag"] == 0
