"""Read data: RFC 7143 4.2.2.4, 11.4, 11.7, 13.12, 13.13."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_wire import FINAL, NO_TAG

STATUS = 0x01


def read(initiator: Initiator, length: int) -> Task:
    cdb = bytes.fromhex("280000000000") + b"\0" + (length // 512).to_bytes(2, "big") + b"\0"
    return initiator.command(cdb, expect=length)


@pytest.mark.parametrize("segment", [512, 1000, 8192, 262144])
@pytest.mark.parametrize("length", [512, 65536, 300032])
def test_pdus_are_no_longer_than_the_initiator_takes(
    log_in: LogIn, segment: int, length: int
) -> None:
    initiator = log_in(keys=[("MaxRecvDataSegmentLength", str(segment))])
    task = read(initiator, length)
    assert max(len(pdu.data) for pdu in task.data_pdus) <= segment
    assert len(task.data) == length


@pytest.mark.parametrize("burst", [8192, 65536])
def test_f_ends_each_burst(log_in: LogIn, burst: int) -> None:
    """11.7.1, 13.13: no sequence is longer than MaxBurstLength."""
    initiator = log_in(keys=[("MaxBurstLength", str(burst)), ("MaxRecvDataSegmentLength", "4096")])
    task = read(initiator, 131072)
    sequence = 0
    for pdu in task.data_pdus:
        sequence += len(pdu.data)
        assert sequence <= burst
        if pdu.flags & FINAL:
            sequence = 0
    assert task.data_pdus[-1].flags & FINAL


def test_data_sn_and_offsets_go_up(log_in: LogIn) -> None:
    initiator = log_in(keys=[("MaxRecvDataSegmentLength", "4096")])
    task = read(initiator, 65536)
    offset = 0
    for number, pdu in enumerate(task.data_pdus):
        assert (pdu["data_sn"], pdu["buffer_offset"]) == (number, offset)
        offset += len(pdu.data)


def test_segments_are_whole_words_but_for_the_last(log_in: LogIn) -> None:
    initiator = log_in(keys=[("MaxRecvDataSegmentLength", "4099")])
    task = initiator.command("12000000fd00", expect=253)
    *middle, _ = read(initiator, 65536).data_pdus
    assert {len(pdu.data) for pdu in middle} == {4096}
    assert 0 < len(task.data) <= 253


def test_good_status_may_come_with_the_last_data(initiator: Initiator) -> None:
    task = read(initiator, 4096)
    assert task.answer.opcode == wire.DATA_IN
    assert task.answer.flags & (STATUS | FINAL) == STATUS | FINAL
    assert task.status == 0


def test_bad_status_comes_in_a_response_of_its_own(initiator: Initiator) -> None:
    task = initiator.command("2800ffffffff00000100", expect=512)
    assert task.answer.opcode == wire.SCSI_RESPONSE
    assert task.data_pdus == []
    assert task.status == 2
    assert task.answer["exp_data_sn"] == 0


def test_check_condition_comes_with_sense_data(initiator: Initiator) -> None:
    """11.4.7, 10.2: autosense."""
    task = initiator.command("ff0000000000")
    assert task.status == 2
    assert int.from_bytes(task.answer.data[:2], "big") == len(task.sense) >= 18
    assert task.sense[2] & 0x0F == 5


def test_a_is_never_set_without_error_recovery(initiator: Initiator) -> None:
    task = read(initiator, 262144)
    for pdu in task.data_pdus:
        assert not pdu.flags & 0x40
        assert pdu["ttt"] == NO_TAG


def test_what_is_reserved_in_a_response_is_0(initiator: Initiator) -> None:
    answer = initiator.command("000000000000").answer
    assert answer["response"] == answer["snack_tag"] == answer["exp_data_sn"] == 0
    assert answer["residual"] == answer["bidi_residual"] == 0
    assert answer.flags == FINAL
    assert bytes(answer.header[8:16]) == bytes(8)


def test_an_answer_comes_on_the_connection_of_its_command(log_in: LogIn) -> None:
    one, other = log_in(), log_in()
    task = one.issue("28000000000000000800", expect=4096)
    other.ping()
    assert other.tasks.keys() == {1, 2}
    assert one.wait(task).status == 0
