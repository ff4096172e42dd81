"""Asynchronous Message: RFC 7143 4.2.6, 11.9."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conftest import LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import FINAL, NO_TAG
from tests.support.live_target import TARGET, LiveTarget

READY = "000000000000"


def test_a_scsi_event_has_its_lun_and_sense_data(live: LiveTarget, initiator: Initiator) -> None:
    """Event 0; here a changed set of LUNs."""
    live.write(f"targets/iscsi/{TARGET}/luns/mgmt", f"add {live.add_disk()} 7\n")
    try:
        (message,) = [initiator.pump()]
        assert (message.flags, message["itt"]) == (FINAL, NO_TAG)
        assert (message["event"], message["vendor_code"]) == (0, 0)
        length = int.from_bytes(message.data[:2], "big")
        sense = message.data[2 : 2 + length]
        assert (sense[2] & 0x0F, sense[12], sense[13]) == (6, 0x3F, 0x0E)
        # It has its own StatSN; the initiator complains about any other.
        initiator.command(READY)
    finally:
        live.write(f"targets/iscsi/{TARGET}/luns/mgmt", "del 7\n")


def test_events_of_fast_abort_are_not_sent(log_in: LogIn) -> None:
    """11.9.1: event 5 belongs to TaskReporting=FastAbort, which is never agreed on."""
    one, other = log_in(), log_in()
    other.answer_r2ts = False
    task = other.issue(
        "2a000000000000001000", data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    while not task.r2ts:
        other.pump()
    assert one.task_management(5) == 0
    other.answer_r2t(task, task.r2ts[0])
    other.ping()
    assert other.async_messages == []


@pytest.mark.slow
def test_the_end_of_the_target_is_told(tmp_path: Path) -> None:
    """Event 3 comes last: all connections of the session are dropped."""
    with LiveTarget(tmp_path) as live:
        live.add_target()
        initiator = live.log_in()
    *_, message = initiator.wait_closed()
    initiator.close()
    assert (message.opcode, message["event"]) == (wire.ASYNC, 3)
    # Parameters 2 and 3: Time2Wait and Time2Retain; no task is kept.
    assert (message["parameter2"], message["parameter3"]) == (0, 0)


@pytest.mark.parametrize("discovery", [True, False])
def test_nothing_is_sent_that_nobody_asked_for(log_in: LogIn, discovery: bool) -> None:
    initiator = log_in(None if discovery else TARGET)
    assert initiator.drain(0.05) == []
