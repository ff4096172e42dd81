"""Order, windows and everything that is no SCSI command, through the whole engine."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.keys import Digest
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.transmit import HIGH_WATER
from tests.support import iscsi_wire as wire
from tests.support.engine import (
    Engine,
    command,
    data_out,
    function,
    logout,
    nop_out,
    text,
)
from tests.support.iscsi_wire import CONTINUE, FINAL, NO_TAG, Pdu

DATA = bytes(range(256)) * 20


@pytest.fixture
def engine() -> Engine:
    return Engine()


def begun(engine: Engine) -> list[int]:
    return [task.itt for task in engine.host.begun]


# Order (RFC 7143 4.2.2.1)


@pytest.mark.parametrize("cmd_sn", [0, 0xFFFFFFFF, 0x80000000, 9, 10, 0x7FFFFFFF, 0x80000001])
def test_outside_the_window_requests_are_ignored(engine: Engine, cmd_sn: int) -> None:
    engine.feed(
        command(1, cmd_sn=cmd_sn),
        nop_out(2, cmd_sn=cmd_sn, immediate=False),
        text(b"", 3, cmd_sn=cmd_sn, immediate=False),
        function(1, 4, cmd_sn=cmd_sn, immediate=False),
        logout(itt=5, cmd_sn=cmd_sn, immediate=False),
    )
    assert engine.out() == []
    assert begun(engine) == []
    assert engine.connection.window.exp_cmd_sn == 1


@pytest.mark.parametrize(
    "order", [[3, 2, 1], [2, 3, 1], [3, 1, 2], [8, 7, 6, 5, 4, 3, 2, 1]], ids=str
)
def test_early_commands_wait_for_their_turn(engine: Engine, order: list[int]) -> None:
    engine.feed(*(command(number, cmd_sn=number) for number in order))
    assert begun(engine) == sorted(order)
    assert engine.connection.window.exp_cmd_sn == len(order) + 1
    engine.check_accounts()


def test_duplicates_of_early_commands_are_ignored(engine: Engine) -> None:
    engine.feed(command(2, cmd_sn=2), command(99, cmd_sn=2), command(1, cmd_sn=1))
    assert begun(engine) == [1, 2]


def test_all_kinds_of_requests_wait(engine: Engine) -> None:
    engine.feed(
        nop_out(5, b"five", cmd_sn=5, immediate=False),
        text(b"A=b\0", 4, cmd_sn=4, immediate=False),
        command(3, cmd_sn=3, write=4, data=b"data"),
        function(5, 2, cmd_sn=2, immediate=False),
    )
    assert engine.out() == []
    engine.feed(command(1, cmd_sn=1))
    assert [pdu["itt"] for pdu in engine.out()] == [4, 5]
    assert [request.itt for request in engine.host.functions] == [2]
    assert engine.host.complete[-1][1] == b"data"


def test_data_of_an_early_command_is_kept_with_it(engine: Engine) -> None:
    engine.feed(
        command(2, cmd_sn=2, write=1000, data=DATA[:10], final=False),
        data_out(2, DATA[10:500], offset=10, final=False),
        data_out(2, DATA[500:1000], offset=500, data_sn=1),
        command(1, cmd_sn=1),
    )
    assert [(task.itt, data) for task, data in engine.host.complete] == [
        (1, b""),
        (2, DATA[:1000]),
    ]
    engine.check_accounts()


def test_an_early_command_may_not_bring_data_without_end() -> None:
    engine = Engine(
        SessionParameters(initial_r2t=0, first_burst_length=1024, max_recv_data_segment_length=8192)
    )
    engine.feed(command(2, cmd_sn=2, write=100_000, final=False))
    engine.feed(data_out(2, bytes(1024), final=False))
    with pytest.raises(ProtocolError, match="FirstBurstLength"):
        engine.feed(data_out(2, b"x", offset=1024, data_sn=1))


@pytest.mark.parametrize("piece", [0, 1])
def test_an_early_command_may_not_bring_pieces_without_end(piece: int) -> None:
    """Each of them costs more memory than its data."""
    engine = Engine(SessionParameters(initial_r2t=0, first_burst_length=65536))
    engine.feed(command(2, cmd_sn=2, write=65536, final=False))
    pieces = [
        data_out(2, bytes(piece), offset=n * piece, data_sn=n, final=False) for n in range(200)
    ]
    engine.feed(*pieces[:128])
    with pytest.raises(ProtocolError, match="pieces"):
        engine.feed(*pieces[128:])


def test_early_requests_are_copied(engine: Engine) -> None:
    """The buffer that they arrived in is used again."""
    engine.feed(command(2, cmd_sn=2, write=100, data=DATA[:100]))
    for _ in range(100):
        engine.feed(nop_out(7, bytes(4000)))
        engine.out()
    engine.feed(command(1, cmd_sn=1))
    assert engine.host.complete[-1][1] == DATA[:100]


def test_a_bad_digest_of_an_early_request_is_remembered() -> None:
    engine = Engine(SessionParameters(data_digest=Digest.CRC32C))
    engine.feed_bytes(
        engine.encode(command(2, cmd_sn=2, write=4, data=b"data"), spoil_data=True)
        + engine.encode(command(3, cmd_sn=3, write=4, data=b"good"))
        + engine.encode(command(1, cmd_sn=1))
    )
    assert [data for _, data in engine.host.complete] == [b"", b"good"]
    assert [pdu.opcode for pdu in engine.out()] == [wire.REJECT, wire.SCSI_RESPONSE]


def test_the_numbers_wrap() -> None:
    engine = Engine(cmd_sn=0xFFFFFFFE, depth=4)
    for number in range(8):
        engine.feed(command(number, cmd_sn=0xFFFFFFFE + number))
        engine.host.finish(number)
    assert begun(engine) == list(range(8))
    last = engine.out()[-1]
    assert (last["exp_cmd_sn"], last["max_cmd_sn"]) == (6, 9)


def test_the_fast_path_wraps_and_respects_a_closed_window() -> None:
    engine = Engine(cmd_sn=0, depth=1)
    engine.host.on_fast = lambda itt, data: True
    engine.feed(command(1, cmd_sn=0), command(2, cmd_sn=1))
    assert engine.host.fast_commands == 2
    engine.host.on_fast = lambda itt, data: False
    engine.feed(command(3, cmd_sn=2), command(4, cmd_sn=3))
    # The window is closed: the second one is ignored.
    assert begun(engine) == [3]


def test_the_window_closes_under_load_and_opens_again() -> None:
    engine = Engine(depth=3)
    engine.feed(*(command(number, cmd_sn=number) for number in range(1, 6)))
    assert begun(engine) == [1, 2, 3]
    assert engine.connection.window.max_cmd_sn == 3
    engine.host.finish(2)
    assert engine.one()["max_cmd_sn"] == 4
    engine.feed(*(command(number, cmd_sn=number) for number in range(4, 6)))
    assert begun(engine) == [1, 2, 3, 4]
    for itt in (1, 3, 4):
        engine.host.finish(itt)
    assert [pdu["max_cmd_sn"] for pdu in engine.out()] == [5, 6, 7]
    engine.check_accounts()


def test_the_window_opens_by_a_nop_in_when_a_command_ends_silently() -> None:
    engine = Engine(depth=1)
    engine.feed(command(1, cmd_sn=1))
    engine.host.end_silently(engine.host.open(1))
    nop = engine.one()
    assert (nop.opcode, nop["itt"], nop["ttt"], nop["max_cmd_sn"]) == (
        wire.NOP_IN,
        NO_TAG,
        NO_TAG,
        2,
    )


# Rejects (RFC 7143 7.3): the CmdSN is still due


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (command(1, cmd_sn=1, attribute=7), RejectReason.PROTOCOL_ERROR),
        (text(b"no equals sign\0", cmd_sn=1, immediate=False), RejectReason.PROTOCOL_ERROR),
        (
            text(flags=FINAL | CONTINUE, cmd_sn=1, immediate=False),
            RejectReason.PROTOCOL_ERROR,
        ),
        (logout(9, cmd_sn=1, immediate=False), RejectReason.PROTOCOL_ERROR),
        (function(5, NO_TAG, cmd_sn=1, immediate=False), RejectReason.INVALID_PDU_FIELD),
    ],
    ids=["attribute", "text", "text-flags", "logout-reason", "tag"],
)
def test_a_rejected_request_leaves_a_gap(engine: Engine, pdu: Pdu, reason: RejectReason) -> None:
    engine.host.text_fault = ProtocolError("no")
    engine.feed(pdu, command(2, cmd_sn=2))
    reject = engine.one()
    assert (reject.opcode, reject["reason"], reject["exp_cmd_sn"]) == (wire.REJECT, reason, 1)
    assert reject.data == bytes(pdu.header)
    assert begun(engine) == []
    engine.feed(command(1, cmd_sn=1))
    assert begun(engine) == [1, 2]


def test_an_early_request_that_is_rejected_has_to_come_again(engine: Engine) -> None:
    engine.feed(command(2, cmd_sn=2, attribute=7), command(3, cmd_sn=3), command(1, cmd_sn=1))
    assert begun(engine) == [1]
    assert engine.one()["exp_cmd_sn"] == 2
    engine.feed(command(2, cmd_sn=2))
    assert begun(engine) == [1, 2, 3]


@pytest.mark.parametrize("opcode", [0x07, 0x0F, 0x11, 0x1C, 0x20, 0x25, 0x31, 0x3F])
@pytest.mark.parametrize("immediate", [True, False])
def test_unknown_opcodes_are_rejected(engine: Engine, opcode: int, immediate: bool) -> None:
    engine.feed(Pdu.make(opcode, immediate=immediate), command(1, cmd_sn=1))
    assert engine.one()["reason"] == RejectReason.COMMAND_NOT_SUPPORTED
    assert begun(engine) == [1]


def test_snack_is_not_supported(engine: Engine) -> None:
    engine.feed(Pdu.make(wire.SNACK, flags=FINAL, itt=NO_TAG, ttt=NO_TAG))
    assert engine.one()["reason"] == RejectReason.COMMAND_NOT_SUPPORTED


def test_a_second_login_ends_the_connection(engine: Engine) -> None:
    engine.feed(Pdu.make(wire.LOGIN_REQUEST, data=b"A=b\0", immediate=True), command(1))
    assert engine.one()["reason"] == RejectReason.PROTOCOL_ERROR
    assert engine.connection.closing
    assert begun(engine) == []


@pytest.mark.parametrize(
    "pdu",
    [
        Pdu.make(wire.NOP_OUT, immediate=True, ahs=bytes(4)),
        Pdu.make(wire.DATA_OUT, ahs=bytes(4)),
        Pdu.make(wire.TEXT_REQUEST, immediate=True, ahs=bytes(4)),
        Pdu.make(wire.TASK_REQUEST, immediate=True, data=b"data"),
        Pdu.make(wire.LOGOUT_REQUEST, immediate=True, data=b"data"),
        Pdu.make(wire.SNACK, data=b"data"),
        Pdu.make(wire.NOP_OUT, itt=NO_TAG, ttt=NO_TAG, cmd_sn=1),
    ],
    ids=["nop-ahs", "data-ahs", "text-ahs", "tmf-data", "logout-data", "snack-data", "nop-itt"],
)
def test_format_errors_end_the_connection(engine: Engine, pdu: Pdu) -> None:
    with pytest.raises(ProtocolError):
        engine.feed(pdu)


# NOP-Out (RFC 7143 11.18)


@pytest.mark.parametrize("immediate", [True, False])
def test_a_ping_is_answered_with_its_data(engine: Engine, immediate: bool) -> None:
    pdu = nop_out(9, b"hello", cmd_sn=1, immediate=immediate)
    pdu["lun"] = b"\0\1"
    engine.feed(pdu)
    nop = engine.one()
    assert (nop.opcode, nop["itt"], nop["ttt"], nop.data) == (wire.NOP_IN, 9, NO_TAG, b"hello")
    assert nop["exp_cmd_sn"] == (1 if immediate else 2)
    # Reserved if there is no transfer tag.
    assert nop.blob("lun") == bytes(8)


def test_a_long_ping_is_cut_to_what_the_initiator_takes(engine: Engine) -> None:
    engine.feed(nop_out(9, bytes(20_000)))
    assert len(engine.one().data) == 8192


def test_our_ping_and_its_answer(engine: Engine) -> None:
    engine.connection.send_ping()
    nop = engine.one()
    assert (nop["itt"], nop.data) == (NO_TAG, b"")
    assert nop["ttt"] != NO_TAG
    assert engine.connection.ping == nop["ttt"]
    engine.feed(nop_out(NO_TAG, ttt=nop["ttt"] + 1))
    assert engine.connection.ping is not None
    engine.feed(nop_out(NO_TAG, ttt=nop["ttt"]))
    assert engine.connection.ping is None
    assert engine.out() == []


def test_a_ping_with_a_bad_digest_is_rejected() -> None:
    engine = Engine(SessionParameters(data_digest=Digest.CRC32C))
    pdu = nop_out(9, b"hello", cmd_sn=1, immediate=False)
    engine.feed_bytes(engine.encode(pdu, spoil_data=True))
    reject = engine.one()
    assert (reject["reason"], reject["exp_cmd_sn"]) == (RejectReason.DATA_DIGEST_ERROR, 1)
    engine.feed(pdu)
    assert engine.one().data == b"hello"


# Text; what may be in it is the host's business


def test_text_is_answered(engine: Engine) -> None:
    engine.feed(text(b"A=b\0", cmd_sn=1, immediate=False))
    answer = engine.one()
    assert (answer.opcode, answer.flags, answer["ttt"]) == (wire.TEXT_RESPONSE, FINAL, NO_TAG)
    assert (answer.data, answer["exp_cmd_sn"]) == (b"A=b\0", 2)
    assert engine.host.concluded == 1


def test_a_long_answer_is_fetched_in_parts(engine: Engine) -> None:
    engine.host.text_answer = bytes(20_000)
    engine.feed(text(b"A=b\0"))
    parts = [engine.one()]
    while not parts[-1].flags & FINAL:
        assert parts[-1].flags == CONTINUE
        engine.feed(text(b"", ttt=parts[-1]["ttt"]))
        parts.append(engine.one())
    assert [len(part.data) for part in parts] == [8192, 8192, 3616]
    assert [part["stat_sn"] for part in parts] == [100, 101, 102]


def test_a_refused_text_is_rejected_with_its_reason(engine: Engine) -> None:
    engine.host.text_fault = ProtocolError("no", RejectReason.INVALID_PDU_FIELD)
    engine.feed(text(b"A=b\0"))
    assert engine.one()["reason"] == RejectReason.INVALID_PDU_FIELD


# Logout (RFC 7143 11.14)


@pytest.mark.parametrize(
    ("reason", "cid", "response", "closes"),
    [(0, 0, 0, True), (1, 7, 0, True), (1, 8, 1, False), (2, 7, 2, False)],
    ids=["session", "connection", "other-connection", "recovery"],
)
def test_logout(engine: Engine, reason: int, cid: int, response: int, closes: bool) -> None:
    engine.feed(logout(reason, cid=cid, cmd_sn=1, immediate=False))
    answer = engine.one()
    assert (answer.opcode, answer["response"]) == (wire.LOGOUT_RESPONSE, response)
    assert answer["exp_cmd_sn"] == 2
    assert engine.connection.closing is closes
    assert engine.host.logouts == closes


def test_after_logout_nothing_is_looked_at_or_sent(engine: Engine) -> None:
    engine.feed(command(1, cmd_sn=1), logout(), command(2, cmd_sn=2), nop_out())
    assert engine.connection.process()
    engine.host.finish(1)
    engine.connection.send_ping()
    assert engine.one().opcode == wire.LOGOUT_RESPONSE
    assert begun(engine) == [1]
    engine.check_accounts()


# Discovery sessions (RFC 7143 4.3)


@pytest.mark.parametrize(
    "pdu",
    [command(), nop_out(), function(5), data_out(), logout(1), logout(2)],
    ids=["command", "nop", "function", "data", "logout-connection", "logout-recovery"],
)
def test_a_discovery_session_takes_nothing_but_text_and_logout(pdu: Pdu) -> None:
    engine = Engine(discovery=True)
    engine.feed(pdu)
    assert engine.one().opcode == wire.REJECT
    engine.feed(text(b"SendTargets=All\0"))
    assert engine.one().opcode == wire.TEXT_RESPONSE
    engine.feed(logout())
    assert engine.one().opcode == wire.LOGOUT_RESPONSE


# Flow control


def test_no_request_is_looked_at_while_much_waits_to_be_sent() -> None:
    parameters = SessionParameters(
        max_recv_data_segment_length=65536, max_xmit_data_segment_length=65536
    )
    engine = Engine(parameters, capacity=1 << 20)
    pings = b"".join(nop_out(itt, bytes(60_000)).raw for itt in range(1, 12))
    engine.rx.feed(pings)
    assert not engine.connection.process()
    assert not engine.connection.replies.has_room()
    assert HIGH_WATER <= engine.tx.pending < HIGH_WATER + 65536
    answered = len(engine.out())
    assert engine.connection.replies.has_room()
    assert engine.connection.process() is False
    answered += len(engine.out())
    assert engine.connection.process()
    assert answered + len(engine.out()) == 11


def test_requests_are_looked_at_however_much_is_read(engine: Engine) -> None:
    """What is read may take for ever; who needs more memory waits for it elsewhere."""
    replies, told = engine.connection.replies, []
    replies.reading = replies.reading_limit
    engine.rx.feed(command(1).raw)
    assert engine.connection.process()
    assert begun(engine) == [1]
    replies.has_read(1)
    replies.less_is_read = lambda: told.append(replies.reading)
    replies.has_read(2)
    assert told == [replies.reading_limit - 3]


def test_the_limits_follow_the_queue_depth(engine: Engine) -> None:
    engine.connection.set_queue_depth(2)
    assert engine.connection.replies.reading_limit == 2 * engine.parameters.max_burst_length
    engine.feed(*(command(itt, cmd_sn=itt) for itt in range(1, 20)))
    # The eight that had been promised.
    assert begun(engine) == list(range(1, 9))
    for itt in range(1, 9):
        engine.host.finish(itt)
    assert engine.out()[-1]["max_cmd_sn"] == 10
    engine.check_accounts()


def test_dropping_twice_is_dropping_once(engine: Engine) -> None:
    engine.feed(command(1, cmd_sn=1, write=100, final=False), command(3, cmd_sn=3))
    engine.connection.drop()
    engine.connection.drop()
    engine.check_accounts()
    assert engine.connection.process()


def test_parameters_that_matter_are_looked_at_for_each_command(engine: Engine) -> None:
    engine.connection.agree(replace(engine.parameters, immediate_data=0))
    engine.feed(command(write=4, data=b"data"))
    assert engine.one()["status"] == 2


def test_the_memory_of_a_connection_is_free_when_nobody_refers_to_it() -> None:
    """Without a search for cycles: strangers come and go quicker than that is done."""
    engine = Engine()
    engine.feed(command(1, cmd_sn=1, write=4096, data=bytes(512)), function(5, cmd_sn=2))
    engine.drop()
    # What other hosts do not keep.
    host = engine.host
    host.connection = None
    host.begun, host.complete, host.functions = [], [], []
    host.ended.clear()
    connection, functions = weakref.ref(engine.connection), weakref.ref(engine.connection.functions)
    gc.disable()
    try:
        del engine
        assert connection() is None
        assert functions() is None
    finally:
        gc.enable()
