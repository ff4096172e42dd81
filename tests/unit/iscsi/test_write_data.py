"""Data of write commands: immediate, unsolicited and solicited, and its faults."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.keys import Digest
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.engine import BUSY, Engine, command, data_out, nop_out
from tests.support.iscsi_wire import NO_TAG, Pdu
from tests.support.write_data import (
    AMOUNT,
    BASE,
    CRC,
    DATA,
    ORDER,
    UNEXPECTED,
    answer_r2t,
    r2ts,
    sense_of,
)


@pytest.fixture
def engine() -> Engine:
    return Engine(BASE)


# Write data


def test_all_data_is_immediate(engine: Engine) -> None:
    engine.feed(command(write=100, data=DATA[:100]))
    ((task, data),) = engine.host.complete
    assert data == DATA[:100]
    engine.host.end(task)
    assert engine.one()["status"] == 0
    engine.check_accounts()


def test_immediate_unsolicited_and_solicited_data(engine: Engine) -> None:
    engine.feed(
        command(write=10000, data=DATA[:1000], final=False),
        data_out(1, DATA[1000:1500], offset=1000, final=False),
        data_out(1, DATA[1500:2048], offset=1500, data_sn=1),
    )
    expected = [(2048, 4096, 0), (6144, 3856, 1)]
    for offset, length, number in expected:
        (r2t,) = r2ts(engine)
        assert (r2t["buffer_offset"], r2t["desired_length"]) == (offset, length)
        assert (r2t["r2t_sn"], r2t["itt"], r2t["stat_sn"]) == (number, 1, 100)
        assert r2t["ttt"] != NO_TAG
        engine.feed(*answer_r2t(r2t, size=1000))
    ((_, data),) = engine.host.complete
    assert data == DATA[:10000]
    engine.host.finish(1)
    response = engine.one()
    # R2Ts do not count (RFC 7143 11.4.8).
    assert (response["status"], response["exp_data_sn"]) == (0, 0)
    engine.check_accounts()


@pytest.mark.parametrize("outstanding", [1, 2, 4])
def test_several_r2ts_outstanding(outstanding: int) -> None:
    engine = Engine(replace(BASE, max_burst_length=1024, max_outstanding_r2t=outstanding))
    engine.feed(command(write=8192))
    pending = r2ts(engine)
    assert len(pending) == outstanding
    while pending:
        # Whatever the order in which they are answered, there are never more.
        engine.feed(*answer_r2t(pending.pop(), size=300))
        pending += r2ts(engine)
        assert len(pending) <= outstanding
    assert engine.host.complete[0][1] == DATA[:8192]
    engine.host.finish(1)
    engine.out()
    engine.check_accounts()


def test_data_of_several_commands_is_interleaved(engine: Engine) -> None:
    engine.feed(*(command(itt, cmd_sn=itt, write=4096) for itt in (1, 2, 3)))
    sequences = [answer_r2t(r2t, size=1500) for r2t in r2ts(engine)]
    for row in zip(*sequences, strict=True):
        engine.feed(*reversed(row))
    assert [(task.itt, data) for task, data in engine.host.complete] == [
        (itt, DATA[:4096]) for itt in (3, 2, 1)
    ]


def test_data_pdus_in_any_order_where_that_was_negotiated() -> None:
    engine = Engine(replace(BASE, data_pdu_in_order=0))
    for number, order in enumerate(itertools.permutations(range(4)), 1):
        engine.feed(command(number, cmd_sn=number, write=4096))
        (r2t,) = r2ts(engine)
        pdus = answer_r2t(r2t, size=1024)
        shuffled = [pdus[place] for place in order]
        for data_sn, pdu in enumerate(shuffled):
            pdu["data_sn"] = data_sn
            pdu["flags"] = 0x80 if data_sn == 3 else 0
        engine.feed(*shuffled)
        assert engine.host.complete[-1][1] == DATA[:4096]
        engine.host.finish(number)
        engine.out()
    engine.check_accounts()


@pytest.mark.parametrize("cut", [1, 48, 100, 5000, 9000, 10000])
def test_large_data_is_received_where_it_belongs(cut: int) -> None:
    """Redirected or not: the same data, and the memory is given back once."""
    engine = Engine(replace(BASE, max_burst_length=65536, first_burst_length=65536))
    data = bytes(range(256)) * 240
    engine.feed(command(write=len(data)))
    (r2t,) = r2ts(engine)
    pdu = data_out(1, data, ttt=r2t["ttt"])
    engine.feed_bytes(engine.encode(pdu), [cut])
    assert engine.host.complete[0][1] == data
    engine.host.finish(1)
    engine.check_accounts()


def test_what_a_command_does_not_need_is_neither_asked_for_nor_kept(engine: Engine) -> None:
    engine.host.needs = lambda task: 512
    engine.feed(command(1, cmd_sn=1, write=2048, data=DATA[:2048]))
    engine.feed(command(2, cmd_sn=2, write=8192))
    (r2t,) = r2ts(engine)
    assert r2t["desired_length"] == 512
    assert engine.host.complete[0][1] == DATA[:512]


def test_a_command_that_needs_more_than_is_expected_gets_what_is_expected(
    engine: Engine,
) -> None:
    engine.host.needs = lambda task: 8192
    engine.feed(command(write=512, data=DATA[:512]))
    assert engine.host.complete[0][1] == DATA[:512]


def test_a_write_that_needs_no_data(engine: Engine) -> None:
    engine.host.needs = lambda task: 0
    engine.feed(command(write=512))
    assert engine.host.complete[0][1] == b""
    assert engine.host.memory.taken == 0


def test_a_write_of_nothing(engine: Engine) -> None:
    engine.feed(command(flags=0xA1, expected_length=0))
    assert engine.host.complete[0][1] == b""


def test_there_is_no_memory(engine: Engine) -> None:
    engine.host.out_of_memory = True
    engine.feed(command(write=512, data=DATA[:512]))
    assert engine.one()["status"] == BUSY
    engine.check_accounts()


# Memory that write data may fill


def test_data_is_asked_for_as_memory_allows() -> None:
    """QueuedCommands x MaxBurstLength, less the first bursts: 4 x (4096 - 512) here."""
    engine = Engine(replace(BASE, first_burst_length=512), depth=4)
    for itt in range(1, 5):
        engine.feed(command(itt, cmd_sn=itt, write=8192))
    pending = r2ts(engine)
    done: list[int] = []
    while pending:
        # One at a time: 8192 bytes fit once.
        assert len(pending) == 1
        engine.feed(*answer_r2t(pending[0]))
        if len(engine.host.complete) > len(done):
            task, data = engine.host.complete[-1]
            assert data == DATA[:8192]
            done.append(task.itt)
            engine.host.end(task)
        pending = [pdu for pdu in engine.out() if pdu.opcode == wire.R2T]
    assert done == [1, 2, 3, 4]
    engine.check_accounts()


def test_one_command_may_need_more_than_there_should_be() -> None:
    engine = Engine(replace(BASE, max_burst_length=512, first_burst_length=512), depth=1)
    engine.feed(command(write=10240))
    while len(engine.host.complete) < 1:
        (r2t,) = r2ts(engine)
        engine.feed(*answer_r2t(r2t))
    assert engine.host.complete[0][1] == DATA


def test_an_aborted_command_gives_its_credit_to_the_next() -> None:
    engine = Engine(replace(BASE, first_burst_length=512, max_burst_length=2048), depth=2)
    engine.feed(command(1, cmd_sn=1, write=8192), command(2, cmd_sn=2, write=8192))
    (r2t,) = r2ts(engine)
    assert r2t["itt"] == 1
    engine.host.end_silently(engine.host.open(1))
    assert [pdu["itt"] for pdu in engine.out() if pdu.opcode == wire.R2T] == [2]
    engine.check_accounts()


# Faults of the data that comes with a command


@pytest.mark.parametrize(
    ("parameters", "pdu", "condition"),
    [
        (replace(BASE, immediate_data=0), command(write=100, data=DATA[:100]), UNEXPECTED),
        (BASE, command(expect=100, data=DATA[:100]), UNEXPECTED),
        (BASE, command(data=DATA[:100]), UNEXPECTED),
        (BASE, command(write=100, data=DATA[:200]), AMOUNT),
    ],
    ids=["immediate-data-no", "read", "neither", "too-much"],
)
def test_data_that_must_not_come_with_the_command(
    parameters: SessionParameters, pdu: Pdu, condition: tuple[int, int, int]
) -> None:
    engine = Engine(parameters)
    engine.feed(pdu)
    assert sense_of(engine.one()) == condition
    assert engine.connection.window.exp_cmd_sn == 2
    engine.check_accounts()


def test_unsolicited_data_that_was_not_agreed_on_is_awaited_and_refused() -> None:
    """RFC 7143 13.11: rejected with the response code; 11.4.2: after the last data."""
    engine = Engine(replace(BASE, initial_r2t=1))
    engine.feed(command(write=2048, final=False))
    assert engine.out() == []
    engine.feed(data_out(1, DATA[:1000], final=False))
    assert engine.out() == []
    engine.feed(data_out(1, DATA[1000:2048], offset=1000, data_sn=1))
    assert sense_of(engine.one()) == UNEXPECTED
    engine.check_accounts()


@pytest.mark.parametrize(
    "pdu",
    [command(write=4096, data=DATA[:2049]), command(expect=512, final=False), command(final=False)],
    ids=["longer-than-first-burst", "announced-by-a-read", "announced-by-neither"],
)
def test_format_errors_end_the_connection(engine: Engine, pdu: Pdu) -> None:
    with pytest.raises(ProtocolError):
        engine.feed(pdu)
    engine.check_accounts()


# Faults of data that comes later


def begin(engine: Engine, *, write: int = 4096) -> Pdu:
    engine.feed(command(write=write))
    (r2t,) = r2ts(engine)
    return r2t


@pytest.mark.parametrize(
    ("data_sn", "offset", "length", "condition"),
    [
        (1, 0, 4096, CRC),
        (0, 1, 4095, ORDER),
        (0, 0, 4095, AMOUNT),
        (0, 0, 4097, AMOUNT),
        (0, 4096, 100, AMOUNT),
        (0, 0xFFFFFF00, 100, AMOUNT),
    ],
    ids=["datasn", "order", "short", "long", "outside", "far-outside"],
)
def test_faults_of_solicited_data(
    engine: Engine, data_sn: int, offset: int, length: int, condition: tuple[int, int, int]
) -> None:
    r2t = begin(engine)
    engine.feed(data_out(1, DATA[:length], ttt=r2t["ttt"], data_sn=data_sn, offset=offset))
    assert sense_of(engine.one()) == condition
    engine.check_accounts()


def test_the_answer_to_a_fault_waits_for_the_rest_of_the_data(engine: Engine) -> None:
    r2t = begin(engine)
    pdus = answer_r2t(r2t, size=1024)
    pdus[1]["data_sn"] = 7
    engine.feed(*pdus[:3])
    assert engine.out() == []
    assert engine.host.memory.in_use == 0
    engine.feed(pdus[3])
    assert sense_of(engine.one()) == CRC
    engine.check_accounts()


def test_the_answer_waits_for_all_r2ts() -> None:
    engine = Engine(replace(BASE, max_burst_length=1024, max_outstanding_r2t=4))
    engine.feed(command(write=8192))
    first, second, third, fourth = r2ts(engine)
    spoiled = answer_r2t(second)
    spoiled[0]["data_sn"] = 1
    engine.feed(*spoiled, *answer_r2t(first), *answer_r2t(fourth))
    assert engine.out() == []
    engine.feed(*answer_r2t(third))
    assert sense_of(engine.one()) == CRC
    engine.check_accounts()


def test_data_with_an_unknown_transfer_tag_is_rejected_and_the_task_goes_on(
    engine: Engine,
) -> None:
    r2t = begin(engine)
    engine.feed(data_out(1, DATA[:10], ttt=r2t["ttt"] + 1))
    assert engine.one()["reason"] == RejectReason.INVALID_PDU_FIELD
    engine.feed(*answer_r2t(r2t))
    assert engine.host.complete[0][1] == DATA[:4096]


def test_data_for_another_lun_is_rejected_and_the_task_goes_on(engine: Engine) -> None:
    r2t = begin(engine)
    engine.feed(data_out(1, DATA[:10], ttt=r2t["ttt"], lun=1))
    assert engine.one()["reason"] == RejectReason.INVALID_PDU_FIELD
    engine.feed(*answer_r2t(r2t))
    assert engine.host.complete[0][1] == DATA[:4096]


def test_unsolicited_data_that_was_not_announced_is_a_fault(engine: Engine) -> None:
    r2t = begin(engine)
    engine.feed(data_out(1, DATA[:10]))
    engine.feed(*answer_r2t(r2t))
    assert sense_of(engine.one()) == UNEXPECTED
    engine.check_accounts()


def test_data_of_no_task_is_dropped(engine: Engine) -> None:
    engine.feed(data_out(99, DATA[:100]), data_out(98, DATA, ttt=5))
    assert engine.out() == []


@pytest.mark.parametrize("reads", [True, False], ids=["read", "write"])
def test_data_for_a_command_that_executes_does_not_touch_it(engine: Engine, reads: bool) -> None:
    """Its memory is still in use, maybe by another thread."""
    if reads:
        engine.feed(command(expect=512))
    else:
        engine.feed(command(write=512, data=DATA[:512]))
    engine.feed(data_out(1, b"x" * 512))
    assert engine.one()["reason"] == RejectReason.PROTOCOL_ERROR
    assert not engine.host.faults
    engine.host.finish(1, data=bytes(512) if reads else None)
    engine.check_accounts()


# Digests


def with_digests() -> Engine:
    return Engine(replace(BASE, header_digest=Digest.CRC32C, data_digest=Digest.CRC32C))


def test_everything_with_digests() -> None:
    engine = with_digests()
    engine.feed(command(1, cmd_sn=1, write=4096, data=DATA[:1001]))
    (r2t,) = r2ts(engine)
    engine.feed(*answer_r2t(r2t, size=999))
    assert engine.host.complete[0][1] == DATA[:4096]
    engine.host.finish(1)
    engine.feed(command(2, cmd_sn=2, expect=513), nop_out(data=b"abc"))
    engine.host.finish(2, data=DATA[:513])
    assert [pdu.data for pdu in engine.out()] == [b"", b"abc", DATA[:513]]
    engine.check_accounts()


def test_a_data_digest_error_in_write_data() -> None:
    engine = with_digests()
    r2t = begin(engine)
    first, second = answer_r2t(r2t, size=2048)
    engine.feed_bytes(engine.encode(first, spoil_data=True))
    reject = engine.one()
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, RejectReason.DATA_DIGEST_ERROR)
    assert reject.data == bytes(first.header)
    engine.feed(second)
    assert sense_of(engine.one()) == CRC
    engine.check_accounts()


def test_a_data_digest_error_in_the_last_write_data() -> None:
    engine = with_digests()
    (pdu,) = answer_r2t(begin(engine))
    engine.feed_bytes(engine.encode(pdu, spoil_data=True))
    reject, response = engine.out()
    assert reject["reason"] == RejectReason.DATA_DIGEST_ERROR
    assert sense_of(response) == CRC
    engine.check_accounts()


def test_a_data_digest_error_in_immediate_data() -> None:
    engine = with_digests()
    engine.feed_bytes(engine.encode(command(write=100, data=DATA[:100]), spoil_data=True))
    reject, response = engine.out()
    assert reject["reason"] == RejectReason.DATA_DIGEST_ERROR
    assert sense_of(response) == CRC
    # The next command is not affected, although it has no data segment.
    engine.feed(command(2, cmd_sn=2, expect=10))
    assert engine.host.begun[-1].itt == 2
    assert not engine.connection.closing


def test_a_header_digest_error_ends_the_connection() -> None:
    engine = with_digests()
    with pytest.raises(ProtocolError, match="header digest"):
        engine.feed_bytes(engine.encode(command(), spoil_header=True))
