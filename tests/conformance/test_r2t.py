"""Ready To Transfer: RFC 7143 11.8, 13.13, 13.17, 13.19."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, LogIn
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_wire import NO_TAG
from tests.support.live_target import LiveTarget

SERIAL = "iqn.2005-03.org.example:serial"


@pytest.fixture(scope="module")
def serial(live: LiveTarget) -> str:
    """A target that allows one R2T."""
    live.add_target(SERIAL, "MaxOutstandingR2T=1")
    return SERIAL


def write(initiator: Initiator, length: int) -> Task:
    """A write without unsolicited data."""
    cdb = bytes.fromhex("2a0000000000") + b"\0" + (length // 512).to_bytes(2, "big") + b"\0"
    return initiator.issue(cdb, data_out=bytes(length), immediate_data=0, unsolicited=0)


@pytest.mark.parametrize("burst", [8192, 65536, 262144])
def test_r2ts_cover_the_data_in_order_and_once(log_in: LogIn, burst: int) -> None:
    initiator = log_in(keys=[("MaxBurstLength", str(burst))])
    task = initiator.wait(write(initiator, 600 * 512))
    offset = 0
    for number, r2t in enumerate(task.r2ts):
        assert (r2t["r2t_sn"], r2t["buffer_offset"]) == (number, offset)
        assert 0 < r2t["desired_length"] <= burst
        assert r2t["ttt"] != NO_TAG
        offset += r2t["desired_length"]
    assert (offset, task.status) == (600 * 512, 0)


def test_an_r2t_has_the_tag_and_lun_of_its_command(initiator: Initiator) -> None:
    task = initiator.issue(
        "2a000000000000001000", lun=1, data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    initiator.wait(task)
    (r2t,) = task.r2ts
    assert r2t.blob("lun") == task.command.blob("lun")
    assert (r2t["ahs_length"], r2t["data_length"]) == (0, 0)


@pytest.mark.parametrize("allowed", [1, 3])
def test_no_more_r2ts_outstanding_than_agreed(log_in: LogIn, allowed: int) -> None:
    initiator = log_in(keys=[("MaxOutstandingR2T", str(allowed)), ("MaxBurstLength", "8192")])
    initiator.answer_r2ts = False
    task = write(initiator, 65536)
    for answered in range(8):
        initiator.ping()
        assert len(task.r2ts) == min(answered + allowed, 8)
        initiator.answer_r2t(task, task.r2ts[answered])
    assert initiator.wait(task).status == 0


def test_the_target_may_allow_less(connect: Connect, serial: str) -> None:
    initiator = connect()
    initiator.login(serial, keys=[("MaxOutstandingR2T", "8"), ("MaxBurstLength", "8192")])
    initiator.command("000000000000")
    initiator.answer_r2ts = False
    task = write(initiator, 65536)
    initiator.ping()
    assert len(task.r2ts) == 1


def test_target_transfer_tags_in_use_differ(log_in: LogIn) -> None:
    initiator = log_in(keys=[("MaxOutstandingR2T", "4"), ("MaxBurstLength", "8192")])
    initiator.answer_r2ts = False
    tasks = [write(initiator, 32768) for _ in range(4)]
    initiator.ping()
    tags = [r2t["ttt"] for task in tasks for r2t in task.r2ts]
    assert len(tags) == len(set(tags)) == 16
    for task in tasks:
        for r2t in task.r2ts:
            initiator.answer_r2t(task, r2t)
        assert initiator.wait(task).status == 0


def test_r2ts_of_several_commands_may_be_answered_in_any_order(log_in: LogIn) -> None:
    initiator = log_in(keys=[("MaxOutstandingR2T", "1")])
    initiator.answer_r2ts = False
    tasks = [write(initiator, 32768) for _ in range(3)]
    while not all(task.r2ts for task in tasks):
        initiator.pump()
    for task in reversed(tasks):
        initiator.answer_r2t(task, task.r2ts[0])
    for task in tasks:
        assert initiator.wait(task).status == 0


def test_no_r2t_beyond_the_command(initiator: Initiator) -> None:
    """The CDB has more than the Expected Data Transfer Length: overflow."""
    task = initiator.issue(
        "2a000000000000002000", data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    initiator.wait(task)
    assert sum(r2t["desired_length"] for r2t in task.r2ts) <= 8192
