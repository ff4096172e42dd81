"""Sessions and their reinstatement: RFC 7143 4.4.3, 6.3.1, 6.3.4, 6.3.5, 9.2, 11.12."""

from __future__ import annotations

import time

import pytest

from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.wire import Wire
from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Chap, Initiator, LoginError
from tests.support.live_target import TARGET, LiveTarget

REFUSED = pytest.mark.logs("refused")
READY = "000000000000"
SECURED = "iqn.2005-03.org.example:secured"


def sense(initiator: Initiator) -> tuple[int, int, int]:
    data = initiator.command(READY).sense
    return data[2] & 0x0F, data[12], data[13]


def refusal(initiator: Initiator) -> int:
    with pytest.raises(LoginError) as caught:
        initiator.login(TARGET)
    assert initiator.wait_closed() == []
    return caught.value.status


def again(connect: Connect, old: Initiator, *, same_session: bool = False) -> Initiator:
    """Another connection of the same initiator port."""
    initiator = connect(name=old.name, isid=old.isid)
    if same_session:
        initiator.tsih, initiator.cid = old.tsih, old.cid
    return initiator


def wait_for_end(live: LiveTarget, initiator: Initiator) -> None:
    """Wait until the target has noticed that a connection is gone."""
    deadline = time.monotonic() + 5
    while initiator.name in live.names(f"targets/iscsi/{TARGET}/sessions"):
        assert time.monotonic() < deadline, "the session stays"


# Session reinstatement (6.3.5)


def test_the_same_port_reinstates_its_session(connect: Connect, initiator: Initiator) -> None:
    new = again(connect, initiator)
    new.login(TARGET)
    assert initiator.wait_closed() == []
    assert new.tsih not in (0, initiator.tsih)
    assert sense(new)[:2] == (6, 0x29)
    assert new.command(READY).status == 0


def test_a_session_that_ends_before_its_login_is_answered_never_begins(
    live: LiveTarget, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer may take long, and another login the session's place meanwhile."""
    send_all = Wire.send_all
    begun: list[Nexus] = []

    async def send_and_end(self: Wire, data: bytes) -> None:
        await send_all(self, data)
        for nexus in live.server.sessions.of(live.target()):
            nexus.end()

    monkeypatch.setattr(Wire, "send_all", send_and_end)
    monkeypatch.setattr(Nexus, "start", lambda nexus, _connection: begun.append(nexus))
    initiator = connect()
    initiator.login(TARGET)
    assert initiator.wait_closed() == []
    wait_for_end(live, initiator)
    assert begun == []


def test_tasks_of_a_session_that_is_reinstated_end_silently(
    connect: Connect, initiator: Initiator
) -> None:
    initiator.answer_r2ts = False
    for _ in range(4):
        initiator.issue(
            "2a000000000000001000", data_out=b"!" * 8192, immediate_data=0, unsolicited=0
        )
    initiator.ping()
    new = again(connect, initiator)
    new.login(TARGET)
    assert initiator.wait_closed() == []
    assert sense(new)[:2] == (6, 0x29)
    assert new.command("28000000000000000100", expect=512).data != b"!" * 512


def test_reinstatement_after_the_connection_has_failed(
    connect: Connect, initiator: Initiator
) -> None:
    """7.15."""
    initiator.reset()
    new = again(connect, initiator)
    new.login(TARGET)
    new.command(READY)
    assert new.command(READY).status == 0


@pytest.mark.parametrize("other", ["name", "isid", "target"])
def test_other_ports_and_other_targets_are_other_sessions(
    live: LiveTarget, connect: Connect, initiator: Initiator, other: str
) -> None:
    """The ISID rule (4.4.3)."""
    name, isid, target = initiator.name, initiator.isid, TARGET
    if other == "name":
        name += "x"
    elif other == "isid":
        isid = isid[:5] + bytes([isid[5] ^ 0x80])
    else:
        target = "iqn.2005-03.org.example:second"
        live.add_target(target)
    connect(name=name, isid=isid).login(target)
    assert initiator.command(READY).status == 0


def test_tsihs_of_sessions_differ(log_in: LogIn) -> None:
    tsihs = [log_in().tsih for _ in range(8)]
    assert len(set(tsihs)) == 8
    assert 0 not in tsihs


# Connection reinstatement (6.3.4)


def test_the_same_connection_is_reinstated(connect: Connect, initiator: Initiator) -> None:
    for _ in range(3):
        initiator.command(READY)
    new = again(connect, initiator, same_session=True)
    new.cmd_sn = initiator.cmd_sn
    new.login(TARGET)
    assert initiator.wait_closed() == []
    assert new.tsih == initiator.tsih
    # The command numbering of the session continues.
    assert new.exp_cmd_sn == initiator.exp_cmd_sn
    assert new.command(READY).status == 0


def test_its_tasks_are_ended_and_that_is_told(connect: Connect, initiator: Initiator) -> None:
    """11.14.5: SOME COMMANDS CLEARED BY ISCSI PROTOCOL EVENT."""
    initiator.answer_r2ts = False
    task = initiator.issue(
        "2a000000000000001000", data_out=bytes(8192), immediate_data=0, unsolicited=0
    )
    while not task.r2ts:
        initiator.pump()
    new = again(connect, initiator, same_session=True)
    new.cmd_sn = initiator.cmd_sn
    new.login(TARGET)
    assert sense(new) == (6, 0x47, 0x7F)
    assert new.command(READY).status == 0


def test_keys_of_the_session_stay(connect: Connect, log_in: LogIn) -> None:
    """13: Leading Only keys are irrelevant on another connection, and keep their values."""
    initiator = log_in(keys=[("FirstBurstLength", "4096")])
    new = again(connect, initiator, same_session=True)
    new.cmd_sn = initiator.cmd_sn
    pairs = dict(new.login(TARGET))
    assert pairs["FirstBurstLength"] == pairs["InitialR2T"] == "Irrelevant"
    assert pairs["HeaderDigest"] == "None"
    new.keys["FirstBurstLength"], new.keys["InitialR2T"] = "4096", "No"
    task = new.command("2a000000000000001000", data_out=bytes(8192), immediate_data=4096)
    assert [r2t["buffer_offset"] for r2t in task.r2ts] == [4096]


@REFUSED
def test_a_session_that_does_not_exist(connect: Connect) -> None:
    initiator = connect()
    initiator.tsih = 0x7777
    assert refusal(initiator) == 0x020A


@REFUSED
def test_another_session_of_the_port_that_does_not_exist(
    connect: Connect, initiator: Initiator
) -> None:
    other = again(connect, initiator, same_session=True)
    other.tsih ^= 0x4000
    assert refusal(other) == 0x020A
    assert initiator.command(READY).status == 0


@REFUSED
def test_nothing_is_kept_of_a_session_whose_connection_has_failed(
    live: LiveTarget, connect: Connect, initiator: Initiator
) -> None:
    """7.5: DefaultTime2Retain is 0."""
    initiator.reset()
    wait_for_end(live, initiator)
    assert refusal(again(connect, initiator, same_session=True)) == 0x020A


@REFUSED
def test_the_session_of_another_port(connect: Connect, initiator: Initiator) -> None:
    other = connect()
    other.tsih = initiator.tsih
    assert refusal(other) == 0x020A
    assert initiator.command(READY).status == 0


@REFUSED
def test_sessions_have_one_connection(connect: Connect, initiator: Initiator) -> None:
    second = again(connect, initiator, same_session=True)
    second.cid = 1
    assert refusal(second) == 0x0206
    assert initiator.command(READY).status == 0


@REFUSED
def test_all_connections_of_a_session_authenticate_alike(
    live: LiveTarget, connect: Connect
) -> None:
    """9.2."""
    live.add_target(SECURED)
    for number, user in enumerate(("joe", "ann"), 1):
        live.write(
            "targets/iscsi/mgmt",
            f"add_target_attribute {SECURED} IncomingUser{number} {user} {user}secret12345\n",
        )
    old = connect()
    old.login(SECURED, chap=Chap("joe", b"joesecret12345"))
    other = again(connect, old, same_session=True)
    with pytest.raises(LoginError) as caught:
        other.login(SECURED, chap=Chap("ann", b"annsecret12345"))
    assert caught.value.status == 0x0201
    assert old.ping().opcode == wire.NOP_IN
    same = again(connect, old, same_session=True)
    same.login(SECURED, chap=Chap("joe", b"joesecret12345"))
    assert old.wait_closed() == []


# The end


def test_a_connection_that_ends_takes_its_session_along(
    live: LiveTarget, initiator: Initiator
) -> None:
    path = f"targets/iscsi/{TARGET}/sessions"
    assert initiator.name in live.names(path)
    initiator.close()
    wait_for_end(live, initiator)
