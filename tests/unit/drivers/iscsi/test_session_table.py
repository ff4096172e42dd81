"""The table of sessions: look-ups, numbers, and sessions that replace others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.drivers.iscsi.discovery_session import DiscoverySession
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.drivers.iscsi.session_table import SessionTable
from scstfs.iscsi.codes import AsyncEvent, LoginStatus
from scstfs.iscsi.discovery import NetworkPortal
from scstfs.iscsi.errors import LoginRefused
from scstfs.iscsi.negotiate import SessionParameters
from tests.support.still_wire import INITIATOR, ISID, PORTAL, Port, login_of, sent, still_wire
from tests.support.whole import Whole


class Table:
    """A table, and sessions for it."""

    def __init__(self, everything: Whole) -> None:
        self.server = Server(everything.scst, everything.iscsi)
        self.sessions: SessionTable = self.server.sessions
        self.target: IscsiTarget = everything.iscsi.targets["iqn.t"]

    def nexus(self, isid: bytes = ISID, tsih: int = 1) -> Nexus:
        login = replace(login_of(self.target), isid=isid)
        wire = still_wire(self.server)
        nexus = Nexus(self.server.access, login, tsih, wire, self.sessions.forget)
        self.sessions.add(nexus)
        return nexus

    def discovery(
        self, named: str | None = None, *, isid: bytes = ISID, local: NetworkPortal = PORTAL
    ) -> DiscoverySession:
        """A discovery session that has begun."""
        login = replace(login_of(None), named=named, isid=isid)
        wire = still_wire(self.server, local)
        session = DiscoverySession(self.server.access, wire, login, self.sessions.forget_discovery)
        self.sessions.add_discovery(session)
        return session

    def is_there(self, session: DiscoverySession) -> bool:
        return not session._wire.reason


@pytest.fixture
async def table(everything: Whole) -> Table:
    await everything.add_target()
    return Table(everything)


async def test_a_session_is_found_by_its_port_until_it_ends(table: Table) -> None:
    nexus, other = table.nexus(), table.nexus(bytes(6), 2)
    sessions, target = table.sessions, table.target
    assert sessions.find(target, INITIATOR.upper(), ISID) is nexus
    assert sessions.find(target, INITIATOR, bytes(6)) is other
    assert sessions.find(target, INITIATOR, b"123456") is None
    assert sessions.of(target) == [nexus, other]
    nexus.end()
    assert sessions.find(target, INITIATOR, ISID) is None
    assert sessions.of(target) == [other]


async def test_a_session_whose_place_was_taken_does_not_take_the_other_with_it(
    table: Table,
) -> None:
    old = table.nexus()
    new = table.nexus(tsih=2)
    old.end()
    assert table.sessions.find(table.target, INITIATOR, ISID) is new


# Numbers


async def test_numbers_are_not_used_twice(table: Table) -> None:
    take = table.sessions.take_tsih
    assert [take(), take()] == [1, 2]
    table.nexus(tsih=3)
    assert take() == 4
    table.sessions._tsih = 0xFFFE
    table.nexus(bytes(6), tsih=1)
    # 0 is not a valid TSIH, and 1 is taken.
    assert [take(), take()] == [0xFFFF, 2]


async def test_when_all_numbers_are_taken_there_is_no_room(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scstfs.drivers.iscsi.session_table._HANDLES", 2)
    table.nexus(tsih=1)
    assert table.sessions.take_tsih() == 2
    table.nexus(bytes(6), tsih=2)
    with pytest.raises(LoginRefused) as caught:
        table.sessions.take_tsih()
    assert caught.value.status == LoginStatus.OUT_OF_RESOURCES


# Discovery


async def test_a_discovery_session_takes_the_place_of_one_of_the_same_port(table: Table) -> None:
    """RFC 7143 7.4.2.1: with the same portal, or with the same target."""
    first = table.discovery()
    others = [
        table.discovery(isid=bytes(6)),
        table.discovery(local=NetworkPortal("127.0.0.1", 3261)),
        table.discovery("iqn.t"),
        table.discovery("iqn.u"),
    ]
    assert all(map(table.is_there, [first, *others]))
    again = table.discovery()
    assert [table.is_there(first), table.is_there(again)] == [False, True]
    named = table.discovery("IQN.T")
    assert [table.is_there(other) for other in [*others, named]] == [True, True, False, True, True]


async def test_a_session_takes_the_place_of_a_discovery_session_with_its_target(
    table: Table,
) -> None:
    """RFC 7143 7.4.2.2."""
    named, unnamed, other = (
        table.discovery("IQN.t"),
        table.discovery(),
        table.discovery("iqn.t", isid=bytes(6)),
    )
    table.nexus()
    assert [table.is_there(session) for session in (named, unnamed, other)] == [False, True, True]


async def test_of_too_many_discovery_sessions_the_oldest_goes(table: Table) -> None:
    sessions = [table.discovery(isid=number.to_bytes(6, "big")) for number in range(1024)]
    assert all(map(table.is_there, sessions))
    # An ended session makes room.
    sessions.pop().connection_ended(still_wire(table.server))
    sessions.append(table.discovery(isid=b"\xff" * 6))
    assert all(map(table.is_there, sessions))
    sessions.append(table.discovery(isid=b"\xfe" * 6))
    assert [table.is_there(session) for session in sessions[:2]] == [False, True]
    assert table.is_there(sessions[-1])


# The end of all


async def test_initiators_are_asked_to_log_out_and_dropped_if_they_do_not(
    everything: Whole, autojump_clock: MockClock
) -> None:
    await everything.add_target()
    table = Table(everything)
    port = Port(table.server, table.target, SessionParameters(), 32)
    nexus, _ = port.log_in(1)
    table.sessions.add(nexus)
    gone = table.nexus(bytes(6), tsih=2)
    table.sessions.request_logout()
    (asked,) = sent(nexus.wire)
    assert (asked["event"], asked["parameter3"]) == (AsyncEvent.LOGOUT_REQUESTED, 1)
    gone.end()
    began = trio.current_time()
    await table.sessions.close(began + 5)
    assert trio.current_time() == began + 5
    assert nexus.wire.reason == "the target shuts down"
    assert not nexus.is_open
    assert table.sessions.of(table.target) == []


async def test_nobody_is_waited_for_where_nobody_is(
    everything: Whole, autojump_clock: MockClock
) -> None:
    await everything.add_target()
    table = Table(everything)
    nexus = table.nexus()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.sessions.close, began + 5)
        await trio.sleep(1)
        nexus.end()
    assert trio.current_time() == began + 1
