from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scstfs.core.session import SessionState
from scstfs.drivers import scst_local
from scstfs.drivers.scst_local import MOST_EVENTS, LocalDriver, LocalTransport, close_session
from scstfs.scsi.transport_id import TransportId
from scstfs.sysfs.errors import SysfsError
from tests.support.whole import FIRST_HOST, Whole


async def test_sessions_have_ports_and_hosts_of_their_own(everything: Whole) -> None:
    target = everything.local.add_target("t")
    sessions = [target.open_session(name) for name in ("a", "b")]
    assert [session.transport_id for session in sessions] == [
        TransportId.sas(1),
        TransportId.sas(2),
    ]
    hosts = [session.transport.host for session in sessions]  # type: ignore[attr-defined]
    assert hosts == [FIRST_HOST, FIRST_HOST + 1]
    assert all(session.state is SessionState.READY for session in sessions)


async def test_names_of_sessions(everything: Whole) -> None:
    target = everything.local.add_target("t")
    names = [target.open_session("a").name for _ in range(3)]
    assert names == ["a", "a_1", "a_2"]
    close_session(target.sessions["a_1"])
    assert target.open_session("a").name == "a_1"


async def test_closing_twice(everything: Whole) -> None:
    target = everything.local.add_target("t")
    session = target.open_session("a")
    session.transport.close()
    session.transport.close()
    assert not target.sessions
    assert not session.is_open


async def test_removing_a_target_closes_its_sessions(everything: Whole) -> None:
    target = everything.local.add_target("t")
    session = target.open_session("a")
    everything.local.remove_target("t")
    assert not session.is_open
    assert not everything.local.targets
    with pytest.raises(SysfsError) as caught:
        everything.local.remove_target("t")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("verb", "target", "session"),
    [
        ("add_session", "u", "a"),
        ("add_session", "t", ""),
        ("del_session", "t", "b"),
        ("nonsense", "u", "a"),
    ],
)
async def test_verbs_that_are_refused(
    everything: Whole, verb: str, target: str, session: str
) -> None:
    everything.local.add_target("t").open_session("a")
    with pytest.raises(SysfsError) as caught:
        everything.local.execute(verb, target, session)
    assert caught.value.errno == errno.EINVAL
    assert list(everything.local.targets["t"].sessions) == ["a"]


async def test_a_session_keeps_so_many_events(everything: Whole) -> None:
    session = everything.local.add_target("t").open_session("a")
    transport = session.transport
    assert isinstance(transport, LocalTransport)
    for number in range(MOST_EVENTS + 1):
        assert transport.report_aen(bytes(8), bytes([number % 256]))
    assert len(transport.events) == MOST_EVENTS
    assert transport.events[0].sense == b"\x01"


@pytest.mark.parametrize(
    ("hosts", "first"), [((), 2), (("host0",), 1), (("host3", "host12", "other"), 13), (None, 2)]
)
async def test_hosts_are_numbered_behind_the_machines(
    everything: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hosts: tuple[str, ...] | None,
    first: int,
) -> None:
    directory = tmp_path / "scsi_host"
    monkeypatch.setattr(scst_local, "_SCSI_HOSTS", directory)
    for name in hosts or ():
        (directory / name).mkdir(parents=True)
    if hosts is not None:
        directory.mkdir(exist_ok=True)
    assert LocalDriver(everything.scst).new_transport().host == first


async def test_what_happens_is_logged_if_it_is_wanted(
    everything: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="scstfs.trace.scst_local")
    target = everything.local.add_target("t")
    target.open_session("a")
    assert "session a of t is open" in caplog.text
    caplog.clear()
    await everything.write("targets/scst_local/trace_level", "del mgmt\n")
    close_session(target.open_session("b"))
    assert not caplog.text
