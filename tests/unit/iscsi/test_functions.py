"""Task management: the referenced task, and the waits before a function (RFC 7143 4.2.3, 11.6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scstfs.iscsi.codes import TaskFunction, TaskResponse
from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.functions import PATIENCE
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.task import ManagementFunction
from tests.support import iscsi_wire as wire
from tests.support.engine import (
    CHECK_CONDITION,
    Engine,
    command,
    complete,
    data_out,
    function,
    nop_out,
)
from tests.support.iscsi_wire import NO_TAG, Pdu

DATA = bytes(range(256)) * 20
ABORT, ABORT_SET, CLEAR_ACA, CLEAR_SET = 1, 2, 3, 4
LUN_RESET, WARM, COLD, REASSIGN, QUERY, QUERY_SET, NEXUS_RESET, QUERY_EVENT = range(5, 13)

COMPLETE = TaskResponse.FUNCTION_COMPLETE
NO_TASK = TaskResponse.TASK_DOES_NOT_EXIST
REJECTED = TaskResponse.FUNCTION_REJECTED
SUCCEEDED = TaskResponse.FUNCTION_SUCCEEDED


@pytest.fixture
def engine() -> Engine:
    return Engine()


def completing(engine: Engine) -> Callable[[ManagementFunction], None]:
    """A host that aborts what a function is about and is done at once."""

    def perform(request: ManagementFunction) -> None:
        if request.code == ABORT and request.task is not None:
            if not engine.host.ended[request.task]:
                engine.host.end_silently(request.task)
        elif request.code in (ABORT_SET, CLEAR_SET, LUN_RESET):
            for task in engine.host.open_tasks:
                if task.lun == request.lun:
                    engine.host.end_silently(task)
        elif request.code in (WARM, COLD, NEXUS_RESET):
            engine.host.abort_all()
        complete(request, engine.connection)

    return perform


def response(pdu: Pdu) -> int:
    assert pdu.opcode == wire.TASK_RESPONSE, pdu
    return pdu["response"]


@pytest.mark.parametrize("code", list(TaskFunction), ids=lambda code: code.name)
@pytest.mark.parametrize("immediate", [True, False])
def test_the_host_gets_every_function(engine: Engine, code: TaskFunction, immediate: bool) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(command(7, cmd_sn=1, lun=3))
    about_a_task = code in (ABORT, QUERY)
    engine.feed(
        function(
            code,
            0x55,
            cmd_sn=2,
            lun=3,
            ref=7 if about_a_task else NO_TAG,
            ref_cmd_sn=1,
            immediate=immediate,
        )
    )
    (request,) = engine.host.functions
    assert (request.code, request.itt, request.cmd_sn) == (code, 0x55, 2)
    assert request.lun == b"\0\3" + bytes(6)
    assert (request.task is not None) is about_a_task
    answer = engine.one()
    assert (answer["itt"], response(answer)) == (0x55, COMPLETE)
    assert answer["exp_cmd_sn"] == (2 if immediate else 3)


# Which task


@pytest.mark.parametrize("code", [ABORT, QUERY])
@pytest.mark.parametrize(
    ("ref_cmd_sn", "lun"), [(2, 0), (0, 0), (1, 1)], ids=["newer", "older", "lun"]
)
def test_a_task_that_does_not_fit_the_request(
    engine: Engine, code: int, ref_cmd_sn: int, lun: int
) -> None:
    engine.feed(command(7, cmd_sn=1))
    engine.feed(function(code, cmd_sn=2, ref=7, ref_cmd_sn=ref_cmd_sn, lun=lun))
    assert response(engine.one()) == REJECTED
    assert not engine.host.functions


def test_an_immediate_task_is_named_by_the_cmd_sn_of_the_request(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(command(7, cmd_sn=1, immediate=True), command(8, cmd_sn=1))
    engine.feed(function(ABORT, cmd_sn=2, ref=7, ref_cmd_sn=1))
    assert response(engine.one()) == REJECTED
    engine.feed(function(ABORT, cmd_sn=2, ref=7, ref_cmd_sn=2))
    assert response(engine.one()) == COMPLETE
    assert [task.itt for task in engine.host.open_tasks] == [8]


@pytest.mark.parametrize(
    ("ref_cmd_sn", "expected"),
    [
        (4, NO_TASK),
        (5, COMPLETE),
        (6, COMPLETE),
        (7, NO_TASK),
        (8, NO_TASK),
        (12, NO_TASK),
        (13, NO_TASK),
        (0x80000005, NO_TASK),
    ],
    ids=["received", "due", "next", "own", "newer", "last", "beyond", "far"],
)
def test_abort_of_an_unknown_task(engine: Engine, ref_cmd_sn: int, expected: int) -> None:
    """RFC 7143 11.6.1: in the window and before the request, it counts as received."""
    for number in range(1, 5):
        engine.feed(command(number, cmd_sn=number))
        engine.host.finish(number)
    engine.out()
    engine.feed(function(ABORT, cmd_sn=7, ref=99, ref_cmd_sn=ref_cmd_sn))
    # The answer waits for commands sent before the request (5 and 6, unless aborted).
    for number in (5, 6):
        engine.feed(command(number, cmd_sn=number))
    assert [response(pdu) for pdu in engine.out() if pdu.opcode == wire.TASK_RESPONSE] == [expected]
    received = [task.itt for task in engine.host.begun[4:]]
    assert received == [number for number in (5, 6) if expected != COMPLETE or number != ref_cmd_sn]
    assert engine.connection.window.exp_cmd_sn == 7


def test_abort_of_a_command_that_waits_for_its_turn(engine: Engine) -> None:
    engine.feed(
        command(2, cmd_sn=2, write=100, final=False),
        data_out(2, DATA[:100]),
        command(3, cmd_sn=3),
        function(ABORT, cmd_sn=4, ref=2, ref_cmd_sn=2),
    )
    assert engine.out() == []
    engine.feed(command(1, cmd_sn=1))
    assert [task.itt for task in engine.host.begun] == [1, 3]
    assert response(engine.one()) == COMPLETE
    assert not engine.host.functions


def test_aborting_the_command_that_is_due_lets_the_others_go_on(engine: Engine) -> None:
    engine.feed(command(2, cmd_sn=2), function(ABORT, cmd_sn=3, ref=1, ref_cmd_sn=1))
    assert [task.itt for task in engine.host.begun] == [2]
    assert response(engine.one()) == COMPLETE


def abort(engine: Engine, ref: int, ref_cmd_sn: int) -> int:
    """The answer to ABORT TASK."""
    cmd_sn = engine.connection.window.exp_cmd_sn
    engine.feed(function(ABORT, cmd_sn=cmd_sn, ref=ref, ref_cmd_sn=ref_cmd_sn, immediate=True))
    return response(engine.one())


def test_abort_of_what_was_never_answered(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    for number in (1, 2, 3):
        engine.feed(command(number, cmd_sn=number))
    engine.host.end_silently(engine.host.begun[0])
    engine.host.finish(2)
    engine.out()
    assert abort(engine, 1, 1) == COMPLETE
    assert abort(engine, 2, 2) == NO_TASK
    assert abort(engine, 3, 3) == COMPLETE
    # It is not answered by being aborted.
    assert [abort(engine, number, number) for number in (1, 2, 3)] == [COMPLETE, NO_TASK, COMPLETE]
    # Another command's number or tag.
    assert [abort(engine, 1, 3), abort(engine, 3, 1), abort(engine, 9, 1)] == [NO_TASK] * 3
    # The host decides whether it answers.
    assert [request.task for request in engine.host.functions].count(None) == 3


def test_abort_of_an_immediate_command_that_was_never_answered(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(command(7, cmd_sn=1, immediate=True), command(8, cmd_sn=1, immediate=True))
    engine.host.end_silently(engine.host.begun[0])
    engine.host.finish(8)
    engine.out()
    assert abort(engine, 7, 1) == COMPLETE
    assert abort(engine, 8, 1) == NO_TASK


def test_abort_of_what_never_came(engine: Engine) -> None:
    """Neither for a command that was aborted before it arrived, nor for one that a reset did not
    wait for.
    """
    engine.host.on_function = completing(engine)
    engine.feed(function(ABORT, cmd_sn=2, ref=9, ref_cmd_sn=1, immediate=True))
    assert response(engine.one()) == COMPLETE
    engine.feed(function(WARM, cmd_sn=4, immediate=True))
    assert response(engine.one()) == COMPLETE
    assert engine.connection.window.exp_cmd_sn == 4
    engine.feed(command(4, cmd_sn=4))
    engine.host.finish(4)
    engine.out()
    assert [abort(engine, 9, number) for number in (1, 2, 3)] == [COMPLETE] * 3
    assert [abort(engine, 4, 4), abort(engine, 9, 0)] == [NO_TASK] * 2


@pytest.mark.parametrize(("later", "expected"), [(2047, COMPLETE), (2048, NO_TASK)])
def test_for_how_long_it_is_known_what_was_never_answered(
    engine: Engine, later: int, expected: int
) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(command(1, cmd_sn=1))
    engine.host.end_silently(engine.host.begun[0])
    for number in range(2, 2 + later):
        engine.feed(command(number, cmd_sn=number))
        engine.host.finish(number)
    engine.out()
    assert abort(engine, 1, 1) == expected


def test_query_of_an_unknown_task(engine: Engine) -> None:
    """RFC 7144 6.4.2; a command that is still on the way is not harmed."""
    engine.feed(function(QUERY, cmd_sn=1, ref=9, ref_cmd_sn=1))
    assert response(engine.one()) == COMPLETE
    engine.feed(command(9, cmd_sn=1))
    assert [task.itt for task in engine.host.begun] == [9]


@pytest.mark.parametrize("code", [ABORT, QUERY])
def test_functions_are_no_tasks(engine: Engine, code: int) -> None:
    engine.feed(function(LUN_RESET, 0x100), function(code, 0x101, ref=0x100, ref_cmd_sn=1))
    (answer,) = engine.out()
    assert (answer["itt"], response(answer)) == (0x101, REJECTED)


@pytest.mark.parametrize("itt", [7, 0x100])
def test_a_tag_in_use_is_rejected(engine: Engine, itt: int) -> None:
    engine.feed(command(7, cmd_sn=1), function(LUN_RESET, 0x100, cmd_sn=2))
    engine.feed(function(ABORT_SET, itt, cmd_sn=2))
    assert engine.one()["reason"] == RejectReason.TASK_IN_PROGRESS
    engine.feed(command(0x100, cmd_sn=2))
    assert engine.one()["reason"] == RejectReason.TASK_IN_PROGRESS


# Order


@pytest.mark.parametrize("code", [ABORT_SET, CLEAR_SET, LUN_RESET])
def test_a_function_waits_for_the_commands_before_it(engine: Engine, code: int) -> None:
    """RFC 7143 4.2.3.3: and affects them."""
    engine.host.on_function = completing(engine)
    engine.feed(function(code, cmd_sn=3))
    assert not engine.host.functions
    engine.feed(command(1, cmd_sn=1))
    assert not engine.host.functions
    engine.feed(command(2, cmd_sn=2))
    assert response(engine.out()[-1]) == COMPLETE
    assert engine.host.silent == 2
    engine.check_accounts()


@pytest.mark.parametrize(
    ("code", "tag"), [(NEXUS_RESET, NO_TAG), (0, NO_TAG), (13, NO_TAG), (WARM, 7), (LUN_RESET, 7)]
)
def test_what_is_rejected_has_no_effect(code: int, tag: int) -> None:
    """A command that arrives later is executed, and a write continues."""
    engine = Engine(SessionParameters(protocol_level=1))
    r2t = waiting_write(engine)
    engine.feed(function(code, ref=tag, cmd_sn=3))
    (request,) = engine.host.functions
    assert not request.is_understood
    engine.connection.functions.answer(request.itt, REJECTED)
    assert engine.out() == []
    engine.feed(command(2, cmd_sn=2))
    assert response(engine.one()) == REJECTED
    engine.host.finish(2)
    assert engine.one().opcode == wire.SCSI_RESPONSE
    engine.feed(data_out(1, bytes(r2t["desired_length"]), ttt=r2t["ttt"]))
    assert [task.itt for task, _ in engine.host.complete][-1] == 1


@pytest.mark.parametrize("code", [QUERY, NEXUS_RESET, QUERY_SET, QUERY_EVENT])
def test_what_needs_a_level_that_was_not_agreed_on_is_left_to_the_host(code: int) -> None:
    for level, is_understood in ((1, False), (2, True)):
        engine = Engine(SessionParameters(protocol_level=level))
        engine.feed(
            command(7, cmd_sn=1),
            function(code, ref=7 if code == QUERY else NO_TAG, ref_cmd_sn=1, cmd_sn=2),
        )
        (request,) = engine.host.functions
        assert request.is_understood is is_understood


@pytest.mark.parametrize("code", [WARM, COLD, NEXUS_RESET])
def test_resets_of_everything_do_not_wait(engine: Engine, code: int) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(command(2, cmd_sn=2), function(code, cmd_sn=4))
    answer = engine.one()
    assert (response(answer), answer["exp_cmd_sn"]) == (COMPLETE, 4)
    engine.feed(command(1, cmd_sn=1), command(2, cmd_sn=2), command(3, cmd_sn=3))
    assert not engine.host.begun
    engine.feed(command(4, cmd_sn=4))
    assert [task.itt for task in engine.host.begun] == [4]


@pytest.mark.parametrize("cmd_sn", [0, 10, 0x80000001, 0xFFFFFFFF])
def test_a_reset_does_not_skip_what_cannot_have_been_sent(engine: Engine, cmd_sn: int) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(function(WARM, cmd_sn=cmd_sn))
    assert engine.connection.window.exp_cmd_sn == 1


def test_answers_wait_for_commands_and_keep_their_order(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    engine.feed(function(CLEAR_ACA, 0x101, cmd_sn=3), function(CLEAR_ACA, 0x102, cmd_sn=2))
    engine.feed(function(CLEAR_ACA, 0x103, cmd_sn=1))
    assert [pdu["itt"] for pdu in engine.out()] == [0x103]
    engine.feed(command(1, cmd_sn=1), command(2, cmd_sn=2))
    assert [pdu["itt"] for pdu in engine.out()] == [0x102, 0x101]


def test_an_answer_that_comes_later(engine: Engine) -> None:
    engine.feed(function(LUN_RESET), nop_out())
    assert engine.one().opcode == wire.NOP_IN
    complete(engine.host.functions[0], engine.connection)
    assert response(engine.one()) == COMPLETE
    # A second one belongs to no request.
    complete(engine.host.functions[0], engine.connection)
    assert engine.out() == []


def test_additional_information_goes_into_the_response(engine: Engine) -> None:
    engine.feed(function(QUERY_EVENT))
    engine.connection.functions.answer(0x100, SUCCEEDED, bytes.fromhex("162900"))
    assert engine.one().header[8:12] == bytes.fromhex("16290000")


def test_functions_are_bounded(engine: Engine) -> None:
    engine.feed(*(function(LUN_RESET, itt) for itt in range(1, 100)))
    reasons = {pdu["reason"] for pdu in engine.out()}
    assert reasons == {RejectReason.IMMEDIATE_COMMAND_REJECT}
    assert len(engine.host.functions) == 16


def test_functions_use_up_the_window_until_they_are_answered(engine: Engine) -> None:
    for number in range(1, 12):
        engine.feed(function(LUN_RESET, number, cmd_sn=number, immediate=False))
    assert len(engine.host.functions) == 8
    for request in engine.host.functions:
        complete(request, engine.connection)
    assert engine.out()[-1]["max_cmd_sn"] == 16


def test_a_function_without_an_answer(engine: Engine) -> None:
    engine.host.on_function = lambda request: engine.connection.functions.forget(request.itt)
    engine.feed(command(1, cmd_sn=1, write=8192), function(ABORT_SET, cmd_sn=2))
    engine.feed(nop_out())
    assert wire.TASK_RESPONSE not in [pdu.opcode for pdu in engine.out()]


# Requested data of affected tasks


def waiting_write(engine: Engine, itt: int = 1, *, lun: int = 0) -> Pdu:
    """A write that has an R2T outstanding."""
    cmd_sn = engine.connection.window.exp_cmd_sn
    engine.feed(command(itt, cmd_sn=cmd_sn, write=2048, lun=lun))
    (r2t,) = engine.out()
    assert r2t.opcode == wire.R2T
    return r2t


@pytest.mark.parametrize("code", [ABORT_SET, CLEAR_SET, LUN_RESET, WARM, COLD, NEXUS_RESET])
def test_a_function_waits_for_data_that_was_asked_for(engine: Engine, code: int) -> None:
    """RFC 7143 4.2.3.3: with a valid Target Transfer Tag, the initiator answers."""
    engine.host.on_function = completing(engine)
    r2t = waiting_write(engine)
    engine.feed(function(code, cmd_sn=2))
    assert not engine.host.functions
    engine.feed(data_out(1, DATA[:1000], ttt=r2t["ttt"], final=False))
    assert not engine.host.functions
    # As quickly as possible (11.5.1): less than requested.
    engine.feed(data_out(1, DATA[1000:1010], ttt=r2t["ttt"], offset=1000, data_sn=1))
    assert len(engine.host.functions) == 1
    assert response(engine.out()[-1]) == COMPLETE
    engine.check_accounts()


def test_abort_task_does_not_wait_for_data(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    r2t = waiting_write(engine)
    engine.feed(function(ABORT, cmd_sn=2, ref=1, ref_cmd_sn=1))
    assert response(engine.out()[-1]) == COMPLETE
    engine.feed(data_out(1, DATA[:2048], ttt=r2t["ttt"]))
    assert engine.out() == []
    engine.check_accounts()


def test_tasks_of_other_units_are_not_waited_for(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    waiting_write(engine, 1, lun=1)
    engine.feed(function(LUN_RESET, cmd_sn=2, lun=0))
    assert response(engine.one()) == COMPLETE


def test_no_more_data_is_asked_for_while_a_function_waits() -> None:
    engine = Engine(
        SessionParameters(max_burst_length=1024, first_burst_length=512, max_outstanding_r2t=1)
    )
    engine.host.on_function = completing(engine)
    r2t = waiting_write(engine)
    engine.feed(function(ABORT_SET, cmd_sn=2))
    engine.feed(data_out(1, DATA[:1024], ttt=r2t["ttt"]))
    assert [pdu.opcode for pdu in engine.out()] == [wire.TASK_RESPONSE]
    engine.check_accounts()


@pytest.mark.parametrize("code", [LUN_RESET, WARM])
def test_data_is_asked_for_again_when_nothing_was_aborted(code: int) -> None:
    engine = Engine(
        SessionParameters(max_burst_length=1024, first_burst_length=512, max_outstanding_r2t=1)
    )
    engine.host.on_function = lambda request: engine.connection.functions.answer(
        request.itt, REJECTED
    )
    r2t = waiting_write(engine)
    engine.feed(function(code, cmd_sn=2))
    engine.feed(data_out(1, DATA[:1024], ttt=r2t["ttt"]))
    assert sorted(pdu.opcode for pdu in engine.out()) == [wire.TASK_RESPONSE, wire.R2T]


def test_the_wait_for_data_has_an_end(engine: Engine) -> None:
    engine.host.on_function = completing(engine)
    waiting_write(engine)
    engine.feed(function(ABORT_SET, cmd_sn=2))
    functions = engine.connection.functions
    functions.lose_patience(1000.0)
    functions.lose_patience(1000.0 + PATIENCE - 0.1)
    assert not engine.host.functions
    functions.lose_patience(1000.0 + PATIENCE)
    assert response(engine.out()[-1]) == COMPLETE
    engine.check_accounts()


def test_the_wait_for_commands_has_none(engine: Engine) -> None:
    engine.feed(function(ABORT_SET, cmd_sn=2))
    for now in range(100):
        engine.connection.functions.lose_patience(now)
    assert not engine.host.functions


@pytest.mark.parametrize("code", [ABORT, ABORT_SET])
def test_no_answer_of_a_task_follows_the_response(engine: Engine, code: int) -> None:
    """RFC 7143 11.5.1; here one that waits for data that does not come."""
    engine.host.on_function = completing(engine)
    engine.feed(command(1, cmd_sn=1, write=2048, final=False))
    engine.host.end(engine.host.open(1), CHECK_CONDITION, sense=bytes(18))
    about_a_task = code == ABORT
    engine.feed(function(code, cmd_sn=2, ref=1 if about_a_task else NO_TAG, ref_cmd_sn=1))
    engine.connection.functions.lose_patience(0.0)
    engine.connection.functions.lose_patience(PATIENCE)
    assert response(engine.out()[-1]) == COMPLETE
    engine.feed(data_out(1, DATA[:2048]))
    assert engine.out() == []
    engine.check_accounts()


def test_functions_end_with_the_connection(engine: Engine) -> None:
    engine.feed(function(LUN_RESET))
    engine.drop()
    complete(engine.host.functions[0], engine.connection)
    assert engine.tx.pending == 0
