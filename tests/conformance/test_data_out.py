"""Write data: RFC 7143 4.2.5.2, 7.9, 11.3.4, 11.7, 13.10 to 13.14."""

from __future__ import annotations

import random

import pytest

from tests.conformance.conftest import LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_wire import FINAL, NO_TAG, Pdu
from tests.support.live_target import TARGET, LiveTarget

UNEXPECTED = bytes((0x0B, 0x0C, 0x0C))
WRONG_AMOUNT = bytes((0x0B, 0x0C, 0x0D))
CRC_ERROR = bytes((0x0B, 0x47, 0x05))
PHASE_ERROR = bytes((0x0B, 0x4B, 0x00))

DATA = random.Random(7143).randbytes(1 << 20)


def write(initiator: Initiator, length: int, **options: object) -> Task:
    cdb = bytes.fromhex("2a0000000000") + b"\0" + (length // 512).to_bytes(2, "big") + b"\0"
    return initiator.command(cdb, data_out=DATA[:length], **options)


def stored(initiator: Initiator, length: int) -> bytes:
    cdb = bytes.fromhex("280000000000") + b"\0" + (length // 512).to_bytes(2, "big") + b"\0"
    return initiator.command(cdb, expect=length).data


def triple(task: Task) -> bytes:
    assert task.status == 2
    return bytes((task.sense[2] & 0x0F, task.sense[12], task.sense[13]))


# Every legal way


@pytest.mark.parametrize("immediate", ["Yes", "No"])
@pytest.mark.parametrize("initial_r2t", ["Yes", "No"])
@pytest.mark.parametrize("length", [512, 65536, 66048, 300032, 1 << 20])
def test_data_arrives_whatever_was_negotiated(
    log_in: LogIn, immediate: str, initial_r2t: str, length: int
) -> None:
    initiator = log_in(keys=[("ImmediateData", immediate), ("InitialR2T", initial_r2t)])
    task = write(initiator, length)
    assert task.status == 0
    assert stored(initiator, length) == DATA[:length]
    # 4.2.5.2: solicited data begins behind unsolicited data.
    unasked = len(task.command.data) + task.unsolicited
    assert sum(r2t["desired_length"] for r2t in task.r2ts) == length - unasked


@pytest.mark.parametrize("lba", [8191, 1 << 32, 1 << 54, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("length", [512, 4096, 131072])
def test_writes_and_reads_behind_the_end_are_refused(
    initiator: Initiator, length: int, lba: int
) -> None:
    where = lba.to_bytes(8, "big") + (length // 512 + 1).to_bytes(4, "big") + bytes(2)
    task = initiator.command(b"\x8a\0" + where, data_out=DATA[: length + 512])
    assert triple(task) == bytes((0x05, 0x21, 0x00))
    task = initiator.command(b"\x88\0" + where, expect=length + 512)
    assert triple(task) == bytes((0x05, 0x21, 0x00))


@pytest.mark.parametrize("size", [512, 1000, 4096])
def test_data_out_pdus_may_be_of_any_size(initiator: Initiator, size: int) -> None:
    initiator.data_out_size = size
    assert write(initiator, 131072).status == 0
    assert stored(initiator, 131072) == DATA[:131072]


def test_empty_data_out_pdus_are_taken(initiator: Initiator) -> None:
    initiator.answer_r2ts = False
    task = initiator.issue(
        "2a000000000000001000", data_out=DATA[:8192], immediate_data=0, unsolicited=0
    )
    while not task.r2ts:
        initiator.pump()
    ttt = task.r2ts[0]["ttt"]
    empty, full = (
        Pdu.make(wire.DATA_OUT, itt=task.itt, ttt=ttt, data=data, data_sn=number, flags=flags)
        for number, (data, flags) in enumerate([(b"", 0), (DATA[:8192], FINAL)])
    )
    initiator.send(empty)
    initiator.send(full)
    assert initiator.wait(task).status == 0


def test_an_unsolicited_sequence_may_be_shorter_than_the_first_burst(initiator: Initiator) -> None:
    task = write(initiator, 131072, immediate_data=4096, unsolicited=8192)
    assert task.status == 0
    assert task.r2ts[0]["buffer_offset"] == 4096 + 8192
    assert stored(initiator, 131072) == DATA[:131072]


def test_commands_and_data_of_others_may_come_in_between(initiator: Initiator) -> None:
    """4.2.5.2: command N + 1 before the unsolicited data of command N."""
    tasks = [
        initiator.prepare(
            bytes.fromhex("2a00000000") + bytes([number * 16]) + bytes.fromhex("00001000"),
            data_out=DATA[number * 8192 : (number + 1) * 8192],
            immediate_data=0,
        )
        for number in range(3)
    ]
    for task in tasks:
        initiator.send(task.command)
    for task in tasks:
        initiator.send_data(task, 0, 8192)
    for task in tasks:
        assert initiator.wait(task).status == 0
    assert stored(initiator, 3 * 8192) == DATA[: 3 * 8192]


@pytest.mark.parametrize("seed", range(4))
def test_any_order_where_data_pdu_in_order_is_no(log_in: LogIn, seed: int) -> None:
    initiator = log_in(keys=[("DataPDUInOrder", "No")])
    rng = random.Random(seed)

    def shuffled(pdus: list[Pdu]) -> list[Pdu]:
        rng.shuffle(pdus)
        for number, pdu in enumerate(pdus):
            pdu["data_sn"] = number
            pdu.header[1] = FINAL if number == len(pdus) - 1 else 0
        return pdus

    initiator.reorder = shuffled
    initiator.data_out_size = 8192
    assert write(initiator, 262144, immediate_data=0).status == 0
    assert stored(initiator, 262144) == DATA[:262144]


# 13.10, 13.11: unsolicited data that was not agreed on


def test_immediate_data_that_was_not_agreed_on_is_refused(log_in: LogIn) -> None:
    initiator = log_in(keys=[("ImmediateData", "No")])
    task = write(initiator, 4096, immediate_data=4096, unsolicited=0)
    assert triple(task) == UNEXPECTED


def test_unsolicited_data_that_was_not_agreed_on_is_refused(log_in: LogIn) -> None:
    initiator = log_in(keys=[("InitialR2T", "Yes"), ("ImmediateData", "No")])
    task = write(initiator, 8192, immediate_data=0, unsolicited=8192)
    assert triple(task) == UNEXPECTED
    assert task.r2ts == []


def test_data_for_a_read_is_refused(initiator: Initiator) -> None:
    task = initiator.prepare("28000000000000000100", expect=512)
    task.command.data = bytes(512)
    task.command["data_length"] = 512
    initiator.send(task.command)
    assert triple(initiator.wait(task)) == UNEXPECTED


def test_more_immediate_data_than_the_command_has_is_refused(initiator: Initiator) -> None:
    task = write(initiator, 8192, expected_length=4096, immediate_data=8192)
    assert triple(task) == WRONG_AMOUNT


@pytest.mark.logs("dropped")
def test_more_immediate_data_than_a_first_burst_ends_the_connection(initiator: Initiator) -> None:
    initiator.issue("2a000000000000010000", data_out=DATA[:131072], immediate_data=131072)
    assert initiator.wait_closed() == []


@pytest.mark.logs("dropped")
def test_f_and_w_must_not_both_be_0(initiator: Initiator) -> None:
    """11.3.1; a format error, 7.7."""
    task = initiator.prepare("000000000000")
    task.command.header[1] &= ~FINAL
    initiator.send(task.command)
    assert initiator.wait_closed() == []


@pytest.mark.logs("dropped")
def test_a_data_segment_longer_than_declared_ends_the_connection(initiator: Initiator) -> None:
    pdu = Pdu.make(wire.DATA_OUT, itt=1, ttt=NO_TAG, data_length=(1 << 20) + 1)
    initiator.send(pdu)
    assert initiator.wait_closed() == []


def test_a_command_with_neither_r_nor_w_and_a_length(initiator: Initiator) -> None:
    task = initiator.prepare("000000000000", expected_length=4096)
    initiator.send(task.command)
    assert initiator.wait(task).status == 0


# 7.9, 11.7.5, 11.8: faults of solicited data


def solicited(initiator: Initiator, length: int = 16384) -> Task:
    """A write that has its one R2T outstanding."""
    initiator.answer_r2ts = False
    cdb = bytes.fromhex("2a0000000000") + b"\0" + (length // 512).to_bytes(2, "big") + b"\0"
    task = initiator.issue(cdb, data_out=DATA[:length], immediate_data=0, unsolicited=0)
    while not task.r2ts:
        initiator.pump()
    return task


def sequence(initiator: Initiator, task: Task) -> list[Pdu]:
    initiator.data_out_size = 4096
    return initiator.data_out_pdus(task, 0, len(task.data_out), task.r2ts[0]["ttt"])


def test_a_data_sn_that_is_not_the_next_one_ends_the_task(initiator: Initiator) -> None:
    task = solicited(initiator)
    pdus = sequence(initiator, task)
    pdus[1]["data_sn"] = 2
    for pdu in pdus:
        initiator.send(pdu)
    assert triple(initiator.wait(task)) == CRC_ERROR


def test_the_response_waits_for_the_last_data(initiator: Initiator) -> None:
    """11.4.2, 7.8: after a fault, too."""
    task = solicited(initiator)
    *first, last = sequence(initiator, task)
    first[0]["data_sn"] = 9
    for pdu in first:
        initiator.send(pdu)
    initiator.ping()
    assert not task.done
    initiator.send(last)
    assert initiator.wait(task).status == 2


@pytest.mark.parametrize(
    ("field", "value"), [("buffer_offset", 8192), ("buffer_offset", 0)], ids=["gap", "overlap"]
)
def test_data_out_of_order_is_refused(initiator: Initiator, field: str, value: int) -> None:
    task = solicited(initiator)
    pdus = sequence(initiator, task)
    pdus[1][field] = value
    for pdu in pdus:
        initiator.send(pdu)
    assert triple(initiator.wait(task)) == PHASE_ERROR


def test_data_outside_its_r2t_is_refused(initiator: Initiator) -> None:
    task = solicited(initiator)
    pdus = sequence(initiator, task)
    pdus[-1]["buffer_offset"] = 1 << 20
    for pdu in pdus:
        initiator.send(pdu)
    assert triple(initiator.wait(task)) == WRONG_AMOUNT


def test_a_sequence_that_ends_early_is_refused(initiator: Initiator) -> None:
    task = solicited(initiator)
    first, *_ = sequence(initiator, task)
    first.header[1] = FINAL
    initiator.send(first)
    assert triple(initiator.wait(task)) == WRONG_AMOUNT


def test_refused_data_is_not_written(initiator: Initiator) -> None:
    assert write(initiator, 16384).status == 0
    task = solicited(initiator)
    task.data_out = bytes(16384)
    pdus = sequence(initiator, task)
    pdus[2]["data_sn"] = 7
    for pdu in pdus:
        initiator.send(pdu)
    initiator.wait(task)
    assert stored(initiator, 16384) == DATA[:16384]


# 4.2.5.3, 11.17.1: tags and LUNs


@pytest.mark.parametrize(
    ("field", "value"), [("ttt", 0x12345678), ("lun", bytes.fromhex("0001000000000000"))]
)
def test_data_whose_tag_or_lun_is_wrong_is_rejected_and_the_task_goes_on(
    initiator: Initiator, field: str, value: int | bytes
) -> None:
    task = solicited(initiator)
    stray = sequence(initiator, task)[0]
    stray[field] = value
    initiator.send(stray)
    initiator.ping()
    assert [pdu["reason"] for pdu in initiator.rejects] == [9]
    for pdu in sequence(initiator, task):
        initiator.send(pdu)
    assert initiator.wait(task).status == 0


def test_data_of_no_task_is_dropped(initiator: Initiator) -> None:
    initiator.send(Pdu.make(wire.DATA_OUT, itt=0x7777, ttt=3, data=bytes(512), flags=FINAL))
    assert initiator.ping().opcode == wire.NOP_IN
    assert initiator.rejects == []


def test_unsolicited_data_nobody_announced_is_refused(initiator: Initiator) -> None:
    task = solicited(initiator)
    stray = sequence(initiator, task)[0]
    stray["ttt"] = NO_TAG
    initiator.send(stray)
    for pdu in sequence(initiator, task):
        initiator.send(pdu)
    assert triple(initiator.wait(task)) == UNEXPECTED


def test_more_data_than_the_command_needs_is_taken_and_dropped(initiator: Initiator) -> None:
    """The CDB has one block, the command brings eight: underflow."""
    task = initiator.command("2a000000000000000100", data_out=DATA[:4096])
    assert (task.status, task.residual) == (0, -3584)
    assert stored(initiator, 512) == DATA[:512]


def test_session_attributes_show_what_was_agreed(live: LiveTarget, log_in: LogIn) -> None:
    initiator = log_in(keys=[("FirstBurstLength", "4096")])
    path = f"targets/iscsi/{TARGET}/sessions/{initiator.name}/FirstBurstLength"
    assert live.read(path).split()[0] == "4096"
