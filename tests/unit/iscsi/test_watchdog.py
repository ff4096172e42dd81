"""Pings and deadlines, with a clock of the tests."""

from __future__ import annotations

import pytest

from scstfs.iscsi.functions import PATIENCE
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.watchdog import Limits, Watchdog
from tests.support import iscsi_wire as wire
from tests.support.engine import Engine, command, data_out, function, nop_out
from tests.support.iscsi_wire import NO_TAG

LIMITS = Limits(nop_in_interval=30, nop_in_timeout=20, rsp_timeout=90)
NEVER = Limits(nop_in_interval=0, nop_in_timeout=20, rsp_timeout=90)


class Case:
    def __init__(self, parameters: SessionParameters | None = None) -> None:
        self.engine = Engine(parameters)
        self.now = 1000.0
        self.watchdog = Watchdog(self.engine.connection, self.now)

    def wait(self, seconds: float, limits: Limits = LIMITS) -> str | None:
        """Let time pass, with a look every second; the first complaint."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            complaint = self.watchdog.check(self.now, limits)
            if complaint is not None:
                return complaint
        return None

    def pings(self) -> list[int]:
        return [pdu["ttt"] for pdu in self.engine.out() if pdu.opcode == wire.NOP_IN]


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_silent_peer_is_asked_for_a_sign_of_life(case: Case) -> None:
    assert case.wait(29) is None
    assert case.pings() == []
    assert case.wait(1) is None
    (ttt,) = case.pings()
    # What comes is noticed at the next look, a second later.
    case.engine.feed(nop_out(NO_TAG, ttt=ttt))
    assert case.wait(30) is None
    assert case.pings() == []
    assert case.wait(1) is None
    assert len(case.pings()) == 1


def test_a_peer_that_does_not_answer_is_given_up(case: Case) -> None:
    assert case.wait(30) is None
    assert case.wait(19) is None
    complaint = case.wait(1)
    assert complaint == "no answer to a NOP-In for 20 s"
    assert len(case.pings()) == 1


def test_whoever_sends_something_is_not_asked(case: Case) -> None:
    for _ in range(10):
        assert case.wait(29) is None
        case.engine.feed(nop_out())
        assert case.pings() == [NO_TAG]


def test_pings_can_be_off(case: Case) -> None:
    assert case.wait(10_000, NEVER) is None
    assert case.pings() == []


def test_the_limits_of_the_moment_hold(case: Case) -> None:
    assert case.wait(100, NEVER) is None
    assert case.wait(1, LIMITS) is None
    assert len(case.pings()) == 1


def test_answers_that_are_not_taken(case: Case) -> None:
    case.engine.feed(nop_out(data=bytes(1000)))
    assert case.wait(89, NEVER) is None
    # Some of it leaves, and the time starts again.
    case.engine.tx.sent(len(case.engine.tx.buffers()[0]) // 2)
    assert case.wait(90, NEVER) is None
    assert case.wait(1, NEVER) == "answers have not been taken for 90 s"


def test_answers_that_are_taken_and_new_ones(case: Case) -> None:
    for _ in range(5):
        case.engine.feed(nop_out())
        assert case.wait(60, NEVER) is None
        case.engine.out()
        assert case.wait(60, NEVER) is None


def write(case: Case, itt: int = 1) -> int:
    """A write that waits for data; its transfer tag."""
    cmd_sn = case.engine.connection.window.exp_cmd_sn
    case.engine.feed(command(itt, cmd_sn=cmd_sn, write=8000))
    return case.engine.out()[-1]["ttt"]


def test_data_that_does_not_come(case: Case) -> None:
    ttt = write(case)
    assert case.wait(89, NEVER) is None
    case.engine.feed(data_out(ttt=ttt, data=bytes(100), final=False))
    assert case.wait(90, NEVER) is None
    assert case.wait(1, NEVER) == "data has not come for 90 s"


def test_one_write_after_the_other_is_progress(case: Case) -> None:
    """Even if each look finds one that has just begun, with the tag of the one before."""
    for _ in range(100):
        ttt = write(case)
        assert case.wait(1, NEVER) is None
        case.engine.feed(data_out(ttt=ttt, data=bytes(8000)))
        case.engine.host.finish(1)
        case.engine.out()


def test_without_a_write_no_data_is_missed(case: Case) -> None:
    ttt = write(case)
    case.engine.feed(data_out(ttt=ttt, data=bytes(8000)))
    assert case.wait(1000, NEVER) is None


def test_a_peer_may_have_to_say_something_in_time(case: Case) -> None:
    limits = Limits(nop_in_interval=0, nop_in_timeout=0, rsp_timeout=30, silence=60)
    assert case.wait(59, limits) is None
    case.engine.feed(nop_out())
    case.engine.out()
    assert case.wait(60, limits) is None
    assert case.wait(1, limits) == "nothing was asked for 60 s"


def test_patience_with_tasks_that_are_to_be_aborted_ends(case: Case) -> None:
    write(case)
    case.engine.feed(function(5, cmd_sn=2))
    assert case.wait(PATIENCE, NEVER) is None
    assert not case.engine.host.functions
    assert case.wait(1, NEVER) is None
    assert len(case.engine.host.functions) == 1
