"""SCSI commands and their data, through the whole engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.task import IscsiTask
from tests.support import iscsi_wire as wire
from tests.support.engine import CHECK_CONDITION, Engine, command, data_out, nop_out
from tests.support.iscsi_wire import NO_TAG, READ, WRITE, Pdu
from tests.support.write_data import BASE, DATA, r2ts


@pytest.fixture
def engine() -> Engine:
    return Engine(BASE)


# What a command says


def test_a_command_as_the_host_gets_it(engine: Engine) -> None:
    cdb = bytes(range(16))
    engine.feed(command(0x1234, cmd_sn=1, expect=512, lun=3, attribute=3, cdb=cdb))
    (task,) = engine.host.begun
    assert (task.itt, task.cmd_sn, task.expected, task.attribute) == (0x1234, 1, 512, 3)
    assert (task.lun, task.cdb) == (b"\0\3" + bytes(6), cdb)
    assert (task.reads, task.writes, task.immediate) == (True, False, False)
    assert engine.host.complete == [(task, b"")]
    engine.host.finish(0x1234, data=bytes(512))
    assert engine.one().flags == 0x81
    engine.check_accounts()


def test_an_extended_cdb_is_put_together(engine: Engine) -> None:
    ahs = bytes.fromhex("0005 01 00 a1a2a3a4")
    engine.feed(command(cdb=b"\x7f" + bytes(15), ahs=ahs))
    assert engine.host.begun[0].cdb == b"\x7f" + bytes(15) + bytes.fromhex("a1a2a3a4")


@pytest.mark.parametrize(
    "ahs", ["0005 01 00 a1a2a3a4 0005 01 00 a1a2a3a4", "ffff 01 00", "0001 09 00"], ids=str
)
def test_a_malformed_additional_header_is_rejected(engine: Engine, ahs: str) -> None:
    engine.feed(command(ahs=bytes.fromhex(ahs)))
    assert engine.one()["reason"] in (
        RejectReason.INVALID_PDU_FIELD,
        RejectReason.PROTOCOL_ERROR,
    )
    assert not engine.host.begun


@pytest.mark.parametrize("attribute", [5, 6, 7])
def test_reserved_task_attributes_are_a_protocol_error(engine: Engine, attribute: int) -> None:
    engine.feed(command(attribute=attribute))
    assert engine.one()["reason"] == RejectReason.PROTOCOL_ERROR
    assert not engine.host.begun


def test_a_tag_in_use_is_rejected_and_the_task_goes_on(engine: Engine) -> None:
    engine.feed(command(5, cmd_sn=1), command(5, cmd_sn=2))
    assert engine.one()["reason"] == RejectReason.TASK_IN_PROGRESS
    engine.host.finish(5)
    assert engine.one()["status"] == 0
    engine.feed(command(5, cmd_sn=2))
    assert len(engine.host.begun) == 2


def test_the_reserved_tag_is_rejected(engine: Engine) -> None:
    engine.feed(command(NO_TAG))
    assert engine.one()["reason"] == RejectReason.INVALID_PDU_FIELD


def test_fast_commands_never_become_tasks(engine: Engine) -> None:
    connection = engine.connection

    def fast(itt: int, data: memoryview) -> bool:
        connection.replies.nop_in(itt, NO_TAG, bytes(8))
        return True

    engine.host.on_fast = fast
    engine.feed(*(command(itt, cmd_sn=itt) for itt in range(1, 40)))
    found = engine.out()
    assert [pdu["exp_cmd_sn"] for pdu in found] == list(range(2, 41))
    assert [pdu["max_cmd_sn"] for pdu in found] == list(range(9, 48))
    assert not engine.host.begun


def test_a_declined_fast_command_leaves_the_numbers_as_they_were(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    connection = engine.connection

    def fast(itt: int, data: memoryview) -> bool:
        seen.append((connection.window.exp_cmd_sn, connection.window.max_cmd_sn))
        return False

    engine.host.on_fast = fast
    engine.feed(command(1, cmd_sn=1, attribute=7))
    assert seen == [(2, 9)]
    reject = engine.one()
    assert (reject["exp_cmd_sn"], reject["max_cmd_sn"]) == (1, 8)


@pytest.mark.parametrize(
    "pdu",
    [
        command(1, cmd_sn=2),
        command(1, cmd_sn=0),
        command(1, cmd_sn=1, ahs=bytes.fromhex("0005 01 00 a1a2a3a4")),
        command(1, cmd_sn=1, immediate=True),
    ],
    ids=["early", "late", "ahs", "immediate"],
)
def test_what_is_out_of_the_ordinary_is_not_fast(engine: Engine, pdu: Pdu) -> None:
    engine.host.on_fast = lambda itt, data: pytest.fail("fast")
    engine.feed(pdu)


def test_immediate_commands_use_up_no_cmd_sn(engine: Engine) -> None:
    engine.feed(command(1, cmd_sn=1, immediate=True), command(2, cmd_sn=1))
    assert [task.itt for task in engine.host.begun] == [1, 2]
    assert engine.host.begun[0].immediate
    assert engine.connection.window.exp_cmd_sn == 2


def test_immediate_commands_are_bounded(engine: Engine) -> None:
    engine.feed(*(command(itt, immediate=True) for itt in range(1, 100)))
    rejects = engine.out()
    assert {pdu["reason"] for pdu in rejects} == {RejectReason.IMMEDIATE_COMMAND_REJECT}
    assert len(engine.host.begun) == 16
    assert len(rejects) == 83


# Ends


def test_a_host_that_ends_commands_at_once(engine: Engine) -> None:
    """Before it requests data; data on the way is received and dropped."""

    def refuse(task: IscsiTask) -> None:
        engine.host.end(task, CHECK_CONDITION, sense=bytes(18))

    engine.host.on_command = refuse
    engine.feed(
        command(1, cmd_sn=1, expect=512),
        command(2, cmd_sn=2, write=100, data=DATA[:100]),
        command(3, cmd_sn=3, write=4096),
        command(4, cmd_sn=4, write=4096, data=DATA[:10], final=False),
    )
    assert [pdu["itt"] for pdu in engine.out()] == [1, 2, 3]
    engine.feed(data_out(4, DATA[10:2048], offset=10))
    assert [pdu["itt"] for pdu in engine.out()] == [4]
    assert engine.host.memory.taken == 0
    engine.check_accounts()


def test_an_aborted_command_forgets_its_data(engine: Engine) -> None:
    engine.feed(command(write=4096, final=False))
    engine.host.end_silently(engine.host.open(1))
    assert [pdu.opcode for pdu in engine.out()] == [wire.NOP_IN]
    engine.feed(data_out(1, DATA[:2048]), command(1, cmd_sn=2, write=10, data=DATA[:10]))
    assert engine.host.complete[-1][1] == DATA[:10]
    engine.host.finish(1)
    engine.check_accounts()


def test_dropping_the_connection_keeps_memory_that_the_host_uses(engine: Engine) -> None:
    """A thread may be writing it to a disk."""
    engine.feed(command(1, cmd_sn=1, write=512, data=DATA[:512]))
    engine.feed(command(2, cmd_sn=2, write=4096))
    engine.connection.drop()
    assert engine.host.memory.in_use == 512 + 4096
    buffer = engine.host.open(1).transfer
    assert buffer is not None
    assert bytes(buffer.buffer) == DATA[:512]
    engine.host.finish(1)
    assert engine.tx.pending == 0
    engine.check_accounts()


def test_dropping_the_connection_while_data_is_received_directly() -> None:
    engine = Engine(replace(BASE, max_burst_length=65536, first_burst_length=65536))
    engine.feed(command(write=60000))
    (r2t,) = r2ts(engine)
    raw = engine.encode(data_out(1, bytes(60000), ttt=r2t["ttt"]))
    engine.feed_bytes(raw[:1000])
    engine.check_accounts()


def test_aborting_a_command_while_its_data_is_received_directly() -> None:
    engine = Engine(replace(BASE, max_burst_length=65536, first_burst_length=65536))
    engine.feed(command(write=60000))
    (r2t,) = r2ts(engine)
    raw = engine.encode(data_out(1, bytes(60000), ttt=r2t["ttt"]))
    engine.feed_bytes(raw[:1000])
    engine.host.end_silently(engine.host.open(1))
    assert engine.host.memory.in_use == 60000
    engine.feed_bytes(raw[1000:] + nop_out().raw)
    assert engine.host.memory.in_use == 0
    assert engine.out()[-1]["itt"] == 0x200
    engine.check_accounts()


# The host computes residuals; both are sent unchanged.


@pytest.mark.parametrize(
    ("residual", "flags", "count"), [(0, 0, 0), (100, 2, 100), (-100, 4, 100)], ids=str
)
@pytest.mark.parametrize("status", [0, CHECK_CONDITION])
@pytest.mark.parametrize("with_data", [True, False])
def test_residuals(
    engine: Engine, residual: int, flags: int, count: int, status: int, with_data: bool
) -> None:
    engine.feed(command(expect=512))
    data = memoryview(bytes(100)) if with_data else None
    sense = bytes(18) if status else b""
    task = engine.host.open(1)
    engine.host.ended[task] += 1
    engine.connection.tasks.answer(task, status, data=data, sense=sense, residual=residual)
    last = engine.out()[-1]
    assert (last.flags & 6, last["residual"]) == (flags, count)
    assert last.opcode == (wire.DATA_IN if with_data and not status else wire.SCSI_RESPONSE)


def test_flags_are_what_the_wire_says() -> None:
    """The constants that these tests are built from (RFC 7143 11.3.1)."""
    assert (READ, WRITE) == (0x40, 0x20)
    assert command(expect=1).flags == 0xC1
    assert command(write=1, final=False).flags == 0x21
