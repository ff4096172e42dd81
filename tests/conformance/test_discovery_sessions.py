"""Discovery sessions: RFC 7143 4.3, 7.4, 11.14.1."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from scstfs.drivers.iscsi import server, session_table
from scstfs.drivers.iscsi.discovery_session import DiscoverySession
from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import ClosedError, Initiator
from tests.support.iscsi_wire import FINAL, NO_TAG
from tests.support.live_target import TARGET, LiveTarget


@pytest.mark.parametrize(
    "opcode", [wire.SCSI_COMMAND, wire.TASK_REQUEST, wire.NOP_OUT, wire.SNACK, wire.DATA_OUT]
)
def test_nothing_but_text_and_logout_is_taken(log_in: LogIn, opcode: int) -> None:
    initiator = log_in(None)
    initiator.send(initiator.request(opcode, {}))
    answer = initiator.pump()
    assert (answer.opcode, answer["reason"]) == (wire.REJECT, 5)
    assert TARGET in initiator.send_targets()


def test_text_without_send_targets_is_rejected(log_in: LogIn) -> None:
    initiator = log_in(None)
    text = wire.text_of([("MaxRecvDataSegmentLength", "4096")])
    request = initiator.request(wire.TEXT_REQUEST, {"ttt": NO_TAG}, data=text)
    answer = initiator.exchange(request)
    assert (answer.opcode, answer["reason"]) == (wire.REJECT, 4)
    assert TARGET in initiator.send_targets()


@pytest.mark.parametrize("reason", [1, 2])
def test_logout_is_of_the_session_only(log_in: LogIn, reason: int) -> None:
    initiator = log_in(None)
    answer = initiator.exchange(initiator.request(wire.LOGOUT_REQUEST, {"flags": FINAL | reason}))
    assert (answer.opcode, answer["reason"]) == (wire.REJECT, 4)
    assert initiator.logout() == 0
    assert initiator.wait_closed() == []


def named(connect: Connect, **options: Any) -> Initiator:
    """A discovery session that names a target."""
    initiator = connect(**options)
    initiator.login_step([*initiator.names(None), ("TargetName", TARGET)], transit=True)
    return initiator


def test_a_named_session_is_told_of_all_targets(connect: Connect) -> None:
    assert TARGET in named(connect).send_targets()


def test_a_named_session_reinstates_a_named_one(connect: Connect) -> None:
    """7.4.2.2."""
    old = named(connect)
    new = named(connect, name=old.name, isid=old.isid)
    assert old.wait_closed() == []
    assert TARGET in new.send_targets()


def test_a_normal_session_reinstates_a_named_one(connect: Connect) -> None:
    """7.4.2.2: any session with that target does."""
    old = named(connect)
    new = connect(name=old.name, isid=old.isid)
    new.login(TARGET)
    assert old.wait_closed() == []


def test_named_and_unnamed_sessions_leave_each_other_alone(connect: Connect) -> None:
    """7.4.2.1."""
    one = named(connect)
    other = connect(name=one.name, isid=one.isid)
    other.login(None)
    for initiator in (one, other):
        assert TARGET in initiator.send_targets()


def test_the_same_port_at_the_same_portal_reinstates(connect: Connect) -> None:
    """7.4.2.1."""
    old = connect()
    old.login(None)
    new = connect(name=old.name, isid=old.isid)
    new.login(None)
    assert old.wait_closed() == []
    assert TARGET in new.send_targets()


def test_another_isid_is_another_session(connect: Connect) -> None:
    one = connect()
    one.login(None)
    other = connect(name=one.name)
    other.login(None)
    assert TARGET in one.send_targets()
    assert TARGET in other.send_targets()


@pytest.mark.parametrize("with_name", [False, True], ids=["unnamed", "named"])
def test_a_normal_session_of_the_same_port_goes_on(connect: Connect, with_name: bool) -> None:
    """A discovery session must not end a normal one."""
    normal = connect()
    normal.login(TARGET)
    if with_name:
        discovery = named(connect, name=normal.name, isid=normal.isid)
    else:
        discovery = connect(name=normal.name, isid=normal.isid)
        discovery.login(None)
    assert normal.ping().opcode == wire.NOP_IN
    assert TARGET in discovery.send_targets()


@pytest.mark.logs("refused")
def test_they_have_one_connection(connect: Connect) -> None:
    first = connect()
    first.login(None)
    second = connect(name=first.name, isid=first.isid)
    second.tsih = first.tsih
    with pytest.raises(Exception, match="020a"):
        second.login(None)


def test_a_second_login_ends_one(log_in: LogIn) -> None:
    initiator = log_in(None)
    initiator.send(initiator.login_pdu(initiator.names(None)))
    assert initiator.receive().opcode == wire.REJECT
    with pytest.raises(ClosedError):
        initiator.receive()


def test_each_portal_has_sessions_of_its_own(tmp_path: Path) -> None:
    """7.4.2.1: one of each portal at a time; none reinstates that of the other."""
    with LiveTarget(tmp_path, ("127.0.0.1", "127.0.0.2")) as live:
        live.add_target()
        with live.initiator() as one, live.initiator(host="127.0.0.2") as other:
            one.login(None)
            other.login(None)
            for initiator in (one, other):
                assert TARGET in initiator.send_targets()
                assert initiator.complaints == []


@pytest.mark.logs("too many discovery sessions")
def test_there_are_so_many_at_a_time(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_table, "MAX_DISCOVERIES", 3)
    oldest, *others = (log_in(None) for _ in range(4))
    assert oldest.wait_closed() == []
    for other in others:
        assert TARGET in other.send_targets()


@pytest.mark.slow
@pytest.mark.logs("discovery session of .*: nothing was asked for 1 s")
def test_a_silent_one_ends(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TICK", 0.1)
    limits = dataclasses.replace(DiscoverySession.limits, silence=1)
    monkeypatch.setattr(DiscoverySession, "limits", limits)
    began = time.monotonic()
    initiator = log_in(None)
    assert initiator.wait_closed() == []
    assert 0.5 < time.monotonic() - began < 5
