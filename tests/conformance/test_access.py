"""Who may use which target where: portals, groups, redirection, sessions (RFC 7143 6.3, 11.13)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scstfs.drivers.iscsi import portal_access
from scstfs.drivers.iscsi.initiator_access import InitiatorAccessFiles
from scstfs.iscsi.discovery import NetworkPortal
from tests.support.initiator import ClosedError, Initiator
from tests.support.iscsi_login import ISID, NAME, Chap, LoginError
from tests.support.live_target import TARGET, LiveTarget

FIRST, SECOND, V6 = "127.0.0.1", "127.0.0.2", "::1"
DRIVER = "targets/iscsi"
DIRECTORY = f"{DRIVER}/{TARGET}"
MOVED, MOVED_FOR_GOOD, AUTHENTICATION_FAILURE = 0x0101, 0x0102, 0x0201
NOT_FOUND, NO_SUCH_SESSION, OUT_OF_RESOURCES = 0x0203, 0x020A, 0x0302
LOGOUT_REQUESTED, SESSION_DROPPED = 1, 3
REFUSED = pytest.mark.logs("login of .* refused: ")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveTarget]:
    """A target at three portals."""
    with LiveTarget(tmp_path, (FIRST, SECOND, V6)) as live:
        live.add_target()
        yield live


def status(live: LiveTarget, host: str = FIRST, name: str = NAME, *, security: bool = True) -> int:
    """Of a login at a portal; 0 for success."""
    with live.initiator(host=host, name=name) as initiator:
        try:
            initiator.login(TARGET, security=security)
        except LoginError as refusal:
            return refusal.status
        return initiator.logout()


def discovered(live: LiveTarget, host: str = FIRST, what: str = "All") -> dict[str, list[str]]:
    with live.initiator(host=host) as initiator:
        initiator.login(None)
        return initiator.send_targets(what)


# Portals


@REFUSED
@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ([], [FIRST, SECOND, V6]),
        (["127.0.0.1"], [FIRST]),
        (["127.0.0.?"], [FIRST, SECOND]),
        (["127.*"], [FIRST, SECOND]),
        (["::*"], [V6]),
        (["!127.0.0.2"], [FIRST, V6]),
        (["127.*", "!*.2"], [FIRST]),
        (["192.0.2.1"], []),
    ],
)
def test_allowed_portal_says_where_a_target_is_served(
    live: LiveTarget, patterns: list[str], allowed: list[str]
) -> None:
    for pattern in patterns:
        live.write(f"{DRIVER}/mgmt", f"add_target_attribute {TARGET} allowed_portal {pattern}\n")
    for host in (FIRST, SECOND, V6):
        assert status(live, host) == (0 if host in allowed else NOT_FOUND), host
        assert (TARGET in discovered(live, host)) == (host in allowed), host


def test_targets_are_told_with_the_portal_that_was_asked(live: LiveTarget) -> None:
    own = {FIRST: f"127.0.0.1:{live.port},1", V6: f"[::1]:{live.port},1"}
    for host, address in own.items():
        for what in ("All", TARGET, TARGET.upper()):
            assert discovered(live, host, what)[TARGET][0] == address
    # Loopback addresses other than the connection's are left out.
    assert discovered(live)[TARGET] == [own[FIRST]]


@pytest.mark.parametrize(
    ("host", "wildcard", "others"),
    [
        (FIRST, "0.0.0.0", ["192.0.2.1", "198.51.100.7"]),
        (V6, "::", ["[2001:db8::1]", "[fe80::1]"]),
    ],
)
def test_a_wildcard_portal_is_told_as_all_addresses_of_its_family(
    live: LiveTarget,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    wildcard: str,
    others: list[str],
) -> None:
    addresses = [FIRST, V6, "192.0.2.1", "198.51.100.7", "2001:db8::1", "fe80::1"]
    monkeypatch.setattr(portal_access, "_interface_addresses", lambda: addresses)
    monkeypatch.setattr(live.server.access, "portals", [NetworkPortal(wildcard, live.port)])
    own = f"[{host}]" if ":" in host else host
    assert discovered(live, host)[TARGET] == [
        f"{address}:{live.port},1" for address in (own, *others)
    ]
    # The target may not be served at all of them.
    live.write(f"{DRIVER}/mgmt", f"add_target_attribute {TARGET} allowed_portal !192.0.2.*\n")
    live.write(f"{DRIVER}/link_local", "0\n")
    assert discovered(live, host)[TARGET] == [
        f"{address}:{live.port},1"
        for address in (own, *others)
        if address not in ("192.0.2.1", "[fe80::1]")
    ]


@REFUSED
def test_only_an_internal_portal_lets_initiators_in_without_authentication(
    live: LiveTarget,
) -> None:
    live.write(f"{DRIVER}/mgmt", f"add_target_attribute {TARGET} IncomingUser joe 12charsecret\n")
    live.write(f"{DRIVER}/internal_portal", f"{SECOND} 0:0::0001\n")
    for host, expected in ((FIRST, AUTHENTICATION_FAILURE), (SECOND, 0), (V6, 0)):
        assert status(live, host, security=False) == expected
    with live.initiator(host=SECOND) as initiator:
        initiator.login(TARGET, chap=Chap("joe", b"12charsecret"))
        assert initiator.complaints == []


# Targets


@REFUSED
def test_only_enabled_targets_of_an_enabled_driver_are_there(live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/enabled", "0\n")
    assert discovered(live) == {}
    # Dropped without an answer, as SCST does it.
    with live.initiator() as initiator, pytest.raises(ClosedError):
        initiator.login(TARGET)
    live.write(f"{DIRECTORY}/enabled", "1\n")
    assert status(live) == 0


@REFUSED
def test_a_target_without_luns_for_an_initiator_is_not_there(live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/ini_groups/mgmt", "create empty\n")
    live.write(f"{DIRECTORY}/ini_groups/empty/initiators/mgmt", f"add {NAME}\n")
    assert status(live) == NOT_FOUND
    assert status(live, name=f"{NAME}.other") == 0


@REFUSED
def test_with_per_portal_acl_groups_know_initiators_by_their_portal(live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/ini_groups/mgmt", "create here\n")
    live.write(f"{DIRECTORY}/ini_groups/here/luns/mgmt", f"add {live.add_disk()} 7\n")
    live.write(f"{DIRECTORY}/ini_groups/here/initiators/mgmt", f"add {NAME}#{SECOND}\n")
    live.write(f"{DIRECTORY}/luns/mgmt", "clear\n")
    assert status(live, SECOND) == NOT_FOUND
    live.write(f"{DIRECTORY}/per_portal_acl", "1\n")
    assert status(live, FIRST) == NOT_FOUND
    with live.initiator(host=SECOND) as initiator:
        initiator.login(TARGET)
        assert f"{NAME}#{SECOND}" in live.names(f"{DIRECTORY}/sessions")
        assert live.read(f"{DIRECTORY}/sessions/{NAME}#{SECOND}/initiator_name") == (
            f"{NAME}#{SECOND}\n"
        )
    # A target is listed only at portals where it can be used.
    assert discovered(live, FIRST) == {}
    assert TARGET in discovered(live, SECOND)


@REFUSED
def test_the_hosts_files_keep_initiators_out(
    live: LiveTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.server.access, "_hosts", InitiatorAccessFiles(tmp_path))
    (tmp_path / "initiators.deny").write_text(f"{TARGET} 127.0.0.0/8\n")
    assert status(live) == NOT_FOUND
    assert discovered(live) == {}
    assert status(live, V6) == 0
    (tmp_path / "initiators.allow").write_text(f"ALL {FIRST}\n")
    assert status(live) == 0


def test_a_target_tells_its_alias(live: LiveTarget) -> None:
    def alias() -> str | None:
        with live.initiator() as initiator:
            initiator.login(TARGET)
            assert initiator.keys["TargetPortalGroupTag"] == "1"
            return initiator.keys.get("TargetAlias")

    assert alias() is None
    live.write(f"{DIRECTORY}/alias", "The first disk\n")
    assert alias() == "The first disk"


# Redirection (11.13.5, 13.8)


@pytest.mark.parametrize(
    ("redirect", "code", "address"),
    [
        ("192.0.2.9 temp", MOVED, "192.0.2.9:3260"),
        ("192.0.2.9:860 perm", MOVED_FOR_GOOD, "192.0.2.9:860"),
        ("[2001:db8::9]:1 TEMP", MOVED, "[2001:db8::9]:1"),
    ],
)
def test_initiators_are_sent_elsewhere(
    live: LiveTarget, redirect: str, code: int, address: str
) -> None:
    live.write(f"{DIRECTORY}/redirect", f"{redirect}\n")
    with live.initiator() as initiator:
        with pytest.raises(LoginError) as caught:
            initiator.login(TARGET)
        assert caught.value.status == code
        assert caught.value.response.pairs == [("TargetAddress", address)]
        initiator.wait_closed()
    live.write(f"{DIRECTORY}/redirect", "\n")
    assert status(live) == 0


def test_who_has_come_to_the_right_address_stays(live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/redirect", f"{SECOND} perm\n")
    assert [status(live, host) for host in (FIRST, SECOND, V6)] == [
        MOVED_FOR_GOOD,
        0,
        MOVED_FOR_GOOD,
    ]
    for notation in (V6, "0:0::0001"):
        live.write(f"{DIRECTORY}/redirect", f"[{notation}] temp\n")
        assert [status(live, host) for host in (FIRST, V6)] == [MOVED, 0]


# Sessions (6.3.1, 6.3.4, 6.3.5)


def log_in(live: LiveTarget, isid: int) -> Initiator:
    initiator = live.initiator(isid=ISID[:5] + bytes([isid]))
    initiator.login(TARGET)
    return initiator


@REFUSED
def test_max_sessions_bounds_all_but_reinstatement(live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/MaxSessions", "2\n")
    first, second = log_in(live, 1), log_in(live, 2)
    assert status(live, name=f"{NAME}.other") == OUT_OF_RESOURCES
    again = log_in(live, 1)
    first.wait_closed()
    assert again.ping(b"alive").data == b"alive"
    assert second.logout() == 0
    third = log_in(live, 3)
    for initiator in (first, second, third, again):
        initiator.close()


def test_two_sessions_of_one_initiator_have_a_life_of_their_own(live: LiveTarget) -> None:
    with log_in(live, 1) as first, log_in(live, 2) as second:
        assert len(live.names(f"{DIRECTORY}/sessions")) == 2
        assert first.logout() == 0
        assert second.ping(b"x").data == b"x"


@REFUSED
def test_a_connection_is_reinstated_in_its_session_only(live: LiveTarget) -> None:
    with log_in(live, 1) as first:
        (name,) = live.names(f"{DIRECTORY}/sessions")
        with live.initiator(isid=first.isid) as second:
            second.tsih, second.cmd_sn = first.tsih, first.cmd_sn
            second.login(TARGET)
            assert second.tsih == first.tsih
            first.wait_closed()
            assert live.names(f"{DIRECTORY}/sessions") == [name]
            assert second.ping(b"x").data == b"x"
            with live.initiator(isid=first.isid) as third:
                third.tsih = first.tsih % 0xFFFF + 1
                with pytest.raises(LoginError) as caught:
                    third.login(TARGET)
                assert caught.value.status == NO_SUCH_SESSION


# Enabling, disabling, the end (11.9.1)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_disabled_driver_asks_for_logout_and_leaves_connections_waiting(
    live: LiveTarget,
) -> None:
    with log_in(live, 1) as polite, log_in(live, 2) as deaf:
        live.write(f"{DRIVER}/enabled", "0\n")
        polite.pump()
        (message,) = polite.async_messages
        assert (message["event"], message["parameter3"]) == (LOGOUT_REQUESTED, 1)
        assert polite.logout() == 0
        # Connections are taken by the system, and are served when the driver is enabled again.
        with live.initiator(timeout=0.1) as waiting:
            waiting.send(waiting.login_pdu(waiting.names(TARGET)))
            with pytest.raises(TimeoutError):
                waiting.receive()
            assert deaf.ping(b"x").data == b"x"
            live.write(f"{DRIVER}/enabled", "1\n")
            waiting.sock.settimeout(5)
            assert waiting.receive()["status"] == 0


def test_disabling_a_target_concerns_logins_only(live: LiveTarget) -> None:
    with log_in(live, 1) as initiator:
        live.write(f"{DIRECTORY}/enabled", "0\n")
        assert initiator.ping(b"x").data == b"x"
        assert initiator.async_messages == []


@pytest.mark.slow
def test_at_the_end_who_does_not_log_out_is_told_that_the_session_is_dropped(
    live: LiveTarget,
) -> None:
    with log_in(live, 1) as deaf:
        live.stop()
        events = [pdu["event"] for pdu in deaf.wait_closed()]
        assert events == [LOGOUT_REQUESTED, SESSION_DROPPED]


@pytest.mark.logs("login of .* refused: logins are suspended .status 0301.$")
@pytest.mark.parametrize("target", [TARGET, None, "iqn.none"], ids=["normal", "discovery", "none"])
def test_logins_are_suspended_and_resumed(live: LiveTarget, target: str | None) -> None:
    """The effect of SIGUSR1 and SIGUSR2 on all kinds of logins."""
    with log_in(live, 1) as old:
        live.call(live.service.suspend_logins)
        with live.initiator() as refused, pytest.raises(LoginError) as caught:
            refused.login(target)
        assert caught.value.status == 0x0301
        assert old.ping(b"x").data == b"x"
        live.call(live.service.resume_logins)
        with live.initiator() as welcome:
            welcome.login(TARGET)
