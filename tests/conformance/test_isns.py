"""The driver as a client of an iSNS server: RFC 4171."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scstfs.drivers.iscsi.isns import client, link, registration
from scstfs.sysfs.errors import SysfsError
from tests.support import isns_server as isns
from tests.support.iscsi_login import NAME, LoginError
from tests.support.isns_server import IsnsServer
from tests.support.live_target import TARGET, LiveTarget

SECOND = f"{TARGET}2"
SERVER = "targets/iscsi/iSNSServer"
SET = "127.0.0.1 \n[key]\n\n"
UNSET = "\n\n"
NOT_FOUND = 0x0203

GOES_AWAY = pytest.mark.logs("trying again")
REFUSES = pytest.mark.logs("the iSNS server refuses")


@pytest.fixture
def server() -> Iterator[IsnsServer]:
    with IsnsServer() as server:
        yield server


@pytest.fixture
def live(tmp_path: Path, server: IsnsServer) -> Iterator[LiveTarget]:
    """A target that looks for iSNS servers at the port of ``server``."""
    with LiveTarget(tmp_path) as live:
        live.add_target()
        use_port(live, server.port)
        yield live


def use_port(live: LiveTarget, port: int) -> None:
    live.call(setattr, live.server.isns, "port", port)


def add_second(live: LiveTarget, alias: str = "") -> str:
    live.write("targets/iscsi/mgmt", f"add_target {SECOND}\n")
    directory = f"targets/iscsi/{SECOND}"
    live.write(f"{directory}/alias", f"{alias}\n")
    live.write(f"{directory}/luns/mgmt", f"add {live.add_disk()} 0\n")
    live.write(f"{directory}/enabled", "1\n")
    return directory


def eventually(condition: Callable[[], object]) -> None:
    """Wait for an action of the target."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def log_in(live: LiveTarget, target: str = TARGET, name: str = NAME) -> int:
    """The status of a login; 0 for success."""
    with live.initiator(name=name) as initiator:
        try:
            initiator.login(target)
        except LoginError as refusal:
            return refusal.status
        return initiator.logout()


# Registration (5.6.5.1, 6.2, 6.3, 6.4)


def test_the_entity_its_portal_and_its_enabled_targets_are_registered(
    live: LiveTarget, server: IsnsServer
) -> None:
    live.write("targets/iscsi/isns_entity_name", "storage.example\n")
    add_second(live, alias="The second disk")
    live.write("targets/iscsi/mgmt", f"add_target {TARGET}3\n")
    live.write(SERVER, "127.0.0.1\n")
    assert live.read(SERVER) == SET
    # All is done when the write returns.
    assert sorted(server.nodes) == [TARGET, SECOND]
    assert {node.entity for node in server.nodes.values()} == {"storage.example"}
    assert [node.alias for node in server.nodes.values()] == [None, "The second disk"]
    assert all(node.wants_scn for node in server.nodes.values())
    (portal,) = server.portals
    assert portal.address == bytes(10) + b"\xff\xff\x7f\0\0\x01"
    assert portal.port == live.port
    first, second = server.asked(isns.REGISTER)
    assert first.flags & isns.REPLACE
    assert not second.flags & isns.REPLACE
    assert first.numbers(isns.PROTOCOL) == [2]
    assert first.numbers(isns.NODE_TYPE) == [1]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_a_server_is_reached_over_ipv6(tmp_path: Path, host: str) -> None:
    with (
        IsnsServer(host="::1") as server,
        LiveTarget(tmp_path, ("127.0.0.1", "::1")) as live,
    ):
        live.add_target()
        use_port(live, server.port)
        live.write(SERVER, f"{host}\n")
        assert live.read(SERVER) == f"{host} \n[key]\n\n"
        # It must be told of changes at the portal that it can reach.
        first, second = server.portals
        assert first.address == bytes(15) + b"\1"
        assert second.address == bytes(10) + b"\xff\xff\x7f\0\0\x01"
        assert second.ports == {}
        assert server.inquire().status == 0


def test_without_a_name_the_entity_is_called_like_the_host(
    live: LiveTarget, server: IsnsServer
) -> None:
    live.write(SERVER, "localhost\n")
    assert server.nodes[TARGET].entity == socket.gethostname()


def test_the_registration_follows_what_is_enabled(live: LiveTarget, server: IsnsServer) -> None:
    live.write(SERVER, "127.0.0.1\n")
    directory = add_second(live)
    server.wait_for(lambda: SECOND in server.nodes)
    live.write(f"{directory}/alias", "renamed\n")
    server.wait_for(lambda: server.nodes[SECOND].alias == "renamed")
    live.write(f"{directory}/enabled", "0\n")
    server.wait_for(lambda: sorted(server.nodes) == [TARGET])
    live.write(f"{directory}/enabled", "1\n")
    server.wait_for(lambda: sorted(server.nodes) == [TARGET, SECOND])
    live.write("targets/iscsi/mgmt", f"del_target {SECOND}\n")
    server.wait_for(lambda: sorted(server.nodes) == [TARGET])
    assert server.portals
    live.write("targets/iscsi/enabled", "0\n")
    server.wait_for(lambda: not server.nodes)
    # Without a target there is no entity.
    assert not server.portals
    live.write("targets/iscsi/enabled", "1\n")
    server.wait_for(lambda: sorted(server.nodes) == [TARGET])
    assert server.portals


@pytest.mark.parametrize("leave", ["clear", "stop"])
def test_a_server_that_is_left_is_told(live: LiveTarget, server: IsnsServer, leave: str) -> None:
    live.write(SERVER, "127.0.0.1\n")
    assert server.nodes
    if leave == "clear":
        live.write(SERVER, "\n")
        assert live.read(SERVER) == UNSET
    else:
        live.stop()
    assert not server.nodes
    assert server.asked(isns.DEREGISTER)[-1].attributes[-1][0] == isns.ENTITY
    server.wait_for(lambda: not server.connections)


@pytest.mark.slow
def test_a_server_that_says_nothing_does_not_keep_us_from_leaving(
    live: LiveTarget, server: IsnsServer
) -> None:
    live.write(SERVER, "127.0.0.1\n")
    server.ignore = {isns.DEREGISTER}
    began = time.monotonic()
    live.stop()
    assert time.monotonic() - began < 3
    assert not server.nodes


def test_another_server_takes_the_place_of_the_first(live: LiveTarget, server: IsnsServer) -> None:
    live.write(SERVER, "127.0.0.1\n")
    with IsnsServer() as other:
        use_port(live, other.port)
        live.write(SERVER, "localhost\n")
        assert (sorted(server.nodes), sorted(other.nodes)) == ([], [TARGET])
        live.write(SERVER, "\n")
        assert not other.nodes


@REFUSES
def test_a_target_that_is_refused_is_not_registered_again_and_again(
    live: LiveTarget, server: IsnsServer
) -> None:
    server.refuse[isns.REGISTER] = 3
    live.write(SERVER, "127.0.0.1\n")
    assert live.read(SERVER) == SET
    live.call(live.server.isns.changed)
    live.call(live.server.isns.changed)
    server.refuse.clear()
    add_second(live)
    server.wait_for(lambda: SECOND in server.nodes)
    assert len(server.asked(isns.REGISTER)) == 2
    assert server.portals


def test_a_registration_that_ends_is_renewed(live: LiveTarget, server: IsnsServer) -> None:
    server.period = 1
    live.write(SERVER, "127.0.0.1\n")
    before = len(server.asked(isns.QUERY))
    server.wait_for(
        lambda: len([r for r in server.requests if r.function == isns.QUERY]) >= before + 2
    )


# Connecting


@pytest.mark.parametrize("option", ["", " AccessControl"])
def test_a_server_that_is_not_there_is_not_set(live: LiveTarget, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    use_port(live, port)
    with pytest.raises(SysfsError) as caught:
        live.write(SERVER, f"127.0.0.1{option}\n")
    assert caught.value.errno == errno.ECONNREFUSED
    assert live.read(SERVER) == UNSET
    assert log_in(live) == 0


def test_a_name_that_means_nothing_is_unreachable(live: LiveTarget) -> None:
    with pytest.raises(SysfsError) as caught:
        live.write(SERVER, f"{'x' * 64}.invalid\n")
    assert caught.value.errno == errno.EHOSTUNREACH
    assert live.read(SERVER) == UNSET


@pytest.mark.slow
def test_who_sets_a_server_does_not_wait_long_for_it(
    live: LiveTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.3)
    with socket.socket() as sock:
        # A queue that is full: connecting neither succeeds nor fails.
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for other in waiting:
            other.setblocking(False)
            other.connect_ex(sock.getsockname())
        use_port(live, sock.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(SysfsError) as caught:
            live.write(SERVER, "127.0.0.1\n")
        assert time.monotonic() - began < 2
        for other in waiting:
            other.close()
    assert caught.value.errno == errno.ETIMEDOUT
    assert live.read(SERVER) == UNSET


@pytest.mark.slow
@GOES_AWAY
def test_a_server_that_does_not_answer_delays_nobody_for_long(
    live: LiveTarget, server: IsnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.05)
    server.ignore = {isns.REGISTER}
    began = time.monotonic()
    live.write(SERVER, "127.0.0.1\n")
    assert time.monotonic() - began < 1
    assert live.read(SERVER) == SET
    server.ignore = set()
    server.wait_for(lambda: server.nodes != {} and server.nodes[TARGET].wants_scn)


@GOES_AWAY
@pytest.mark.parametrize("garbage", [b"\0" * 16, b"GET / HTTP/1.0\r\n\r\n", b"\0\1\x80\1\0\4\0\0"])
def test_what_is_no_isns_ends_the_connection(
    live: LiveTarget, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        use_port(live, listener.getsockname()[1])
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(live.write, SERVER, "127.0.0.1\n")
            for _ in range(2):
                sock, _ = listener.accept()
                with sock:
                    isns.receive(sock)
                    sock.sendall(garbage)
            written.result()
        assert live.read(SERVER) == SET


@GOES_AWAY
def test_a_server_that_comes_back_is_told_everything_again(
    live: LiveTarget, server: IsnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.05)
    live.write(SERVER, "127.0.0.1\n")
    server.stop()
    add_second(live)
    with IsnsServer(server.port) as again:
        again.wait_for(lambda: sorted(again.nodes) == [TARGET, SECOND])
        assert again.portals
        live.write(SERVER, "\n")
        assert not again.nodes


@GOES_AWAY
def test_a_server_that_forgets_us_is_told_everything_again(
    live: LiveTarget, server: IsnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.05)
    live.write(SERVER, "127.0.0.1\n")
    server.nodes.clear()
    live.call(live.server.isns.changed)
    server.wait_for(lambda: sorted(server.nodes) == [TARGET])


# Access control (DevAttrQry, 5.6.5.2)


@pytest.mark.logs("login of .* refused: .* is not allowed to .* by iSNS")
def test_only_initiators_that_the_server_lists_may_log_in_and_see_targets(
    live: LiveTarget, server: IsnsServer
) -> None:
    add_second(live)
    server.initiators = {TARGET: {NAME.upper(), "iqn.other"}}
    live.write(SERVER, "127.0.0.1 AccessControl\n")
    assert live.read(SERVER) == "127.0.0.1 AccessControl\n[key]\n\n"
    assert log_in(live) == 0
    assert log_in(live, name="iqn.other") == 0
    assert log_in(live, name="iqn.stranger") == NOT_FOUND
    assert log_in(live, SECOND) == NOT_FOUND
    with live.initiator() as initiator:
        initiator.login(None)
        assert list(initiator.send_targets()) == [TARGET]
        assert list(initiator.send_targets(SECOND)) == []
    # Without a server all initiators are allowed.
    live.write(SERVER, "\n")
    assert log_in(live, name="iqn.stranger") == 0


def test_without_access_control_everybody_may_log_in(live: LiveTarget, server: IsnsServer) -> None:
    live.write(SERVER, "127.0.0.1 AccessControl No\n")
    assert live.read(SERVER) == SET
    assert log_in(live) == 0


@pytest.mark.logs("is not allowed to .* by iSNS", "trying again")
def test_what_a_lost_server_said_goes_on_to_hold(live: LiveTarget, server: IsnsServer) -> None:
    server.initiators = {TARGET: {NAME}}
    live.write(SERVER, "127.0.0.1 AccessControl\n")
    server.stop()
    assert log_in(live) == 0
    assert log_in(live, name="iqn.stranger") == NOT_FOUND


@pytest.mark.logs("is not allowed to .* by iSNS")
def test_a_target_that_comes_back_is_asked_for_anew(live: LiveTarget, server: IsnsServer) -> None:
    directory = add_second(live)
    server.initiators = {SECOND: {NAME}}
    live.write(SERVER, "127.0.0.1 AccessControl\n")
    assert log_in(live, SECOND) == 0
    live.write(f"{directory}/enabled", "0\n")
    server.initiators = {}
    server.wait_for(lambda: SECOND not in server.nodes)
    live.write(f"{directory}/enabled", "1\n")
    server.wait_for(lambda: SECOND in server.nodes)
    assert log_in(live, SECOND) == NOT_FOUND


# Unsolicited messages of the server (5.6.5.8, 5.6.5.13)


@pytest.mark.logs("is not allowed to .* by iSNS")
def test_a_change_that_the_server_tells_of_holds(live: LiveTarget, server: IsnsServer) -> None:
    live.write(SERVER, "127.0.0.1 AccessControl\n")
    assert log_in(live) == NOT_FOUND
    server.initiators = {TARGET: {NAME}}
    answer = server.notify(TARGET)
    assert (answer.function, answer.transaction, answer.status) == (isns.SCN | 0x8000, 77, 0)
    assert answer.texts(isns.NAME) == [TARGET]
    eventually(lambda: log_in(live) == 0)
    server.initiators = {}
    server.notify(TARGET)
    eventually(lambda: log_in(live) == NOT_FOUND)


def test_entity_status_inquiries_are_answered(live: LiveTarget, server: IsnsServer) -> None:
    live.write(SERVER, "127.0.0.1\n")
    assert server.portals[0].ports[isns.ESI_INTERVAL] == 60
    answer = server.inquire()
    assert (answer.function, answer.transaction, answer.status) == (isns.ESI | 0x8000, 78, 0)
    assert answer.texts(isns.ENTITY) == [server.nodes[TARGET].entity]
    assert answer.numbers(isns.PORT) == [live.port]


def test_a_server_without_status_inquiries_is_registered_with(
    live: LiveTarget, server: IsnsServer
) -> None:
    server.has_esi = False
    live.write(SERVER, "127.0.0.1\n")
    assert sorted(server.nodes) == [TARGET]
    assert list(server.portals[0].ports) == [isns.SCN_PORT]


@REFUSES
def test_a_server_without_notifications_is_asked_again_and_again(
    live: LiveTarget, server: IsnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "POLL_SECONDS", 0.05)
    server.refuse[isns.SCN_REGISTER] = 17
    live.write(SERVER, "127.0.0.1 AccessControl\n")
    assert sorted(server.nodes) == [TARGET]
    server.initiators = {TARGET: {NAME}}
    eventually(lambda: live.server.isns.allows(live.target(), NAME))


@pytest.mark.logs(r"iSNS: connection from 127\.0\.0\.2 refused")
def test_nobody_but_the_server_is_listened_to(live: LiveTarget, server: IsnsServer) -> None:
    live.write(SERVER, "127.0.0.1\n")
    port = server.portals[0].ports[isns.SCN_PORT]
    with socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.2", 0)) as sock:
        assert sock.recv(1) == b""
    # Any data from there costs one connection.
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"nonsense" * 10)
        assert sock.recv(1) == b""
    assert server.inquire().status == 0
