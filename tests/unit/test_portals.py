from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path

import pytest

from scstfs import portals
from scstfs.errors import ExitStatus, UsageError
from scstfs.portals import ListenPortal

GOOD = {
    "192.0.2.1:3261": (ListenPortal("192.0.2.1", 3261), "192.0.2.1:3261"),
    "192.0.2.1": (ListenPortal("192.0.2.1", 3260), "192.0.2.1:3260"),
    "[2001:db8::1]:860": (ListenPortal("2001:db8::1", 860), "[2001:db8::1]:860"),
    "[::1]": (ListenPortal("::1", 3260), "[::1]:3260"),
    "[fe80::1%eth0]:3260": (ListenPortal("fe80::1%eth0", 3260), "[fe80::1%eth0]:3260"),
    "storage.example.com:1": (ListenPortal("storage.example.com", 1), "storage.example.com:1"),
    "0.0.0.0:0": (ListenPortal("0.0.0.0", 0), "0.0.0.0:0"),
}


@pytest.mark.parametrize(("text", "portal", "printed"), [(t, *p) for t, p in GOOD.items()])
def test_portals_are_parsed_and_printed(text: str, portal: ListenPortal, printed: str) -> None:
    assert ListenPortal.parse(text) == portal
    assert str(portal) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":3260",
        "::1",
        "::1:3260",
        "[::1",
        "[]:3260",
        "[192.0.2.1]:3260",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:+1",
        "192.0.2.1:1x",
        "192.0.2.1: 1",
        "192.0.2.1:3260 ",
        "192.0.2.1:\u0663\u0662",
        "host:1\n",
    ],
)
def test_what_is_no_portal_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        ListenPortal.parse(text)
    assert refused.value.status == ExitStatus.USAGE
    assert "\n" not in refused.value.message


def test_listening_sockets_accept_and_are_closed_at_the_end() -> None:
    with portals.listening([ListenPortal("127.0.0.1", 0), ListenPortal("::1", 0)]) as sockets:
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
        assert all(sock.getblocking() is False for sock in sockets)
        for sock in sockets:
            socket.create_connection(sock.getsockname()[:2], timeout=1).close()
        assert portals.name(sockets[0]).startswith("127.0.0.1:")
        assert portals.name(sockets[1]).startswith("[::1]:")
    assert all(sock.fileno() == -1 for sock in sockets)


def test_a_port_in_use_is_an_ordinary_mistake() -> None:
    with portals.listening([ListenPortal("127.0.0.1", 0)]) as (taken,):
        portal = ListenPortal("127.0.0.1", taken.getsockname()[1])
        with (
            pytest.raises(UsageError) as refused,
            portals.listening([ListenPortal("127.0.0.1", 0), portal]),
        ):
            pass
    assert refused.value.status == ExitStatus.PORTAL
    assert refused.value.message == f"cannot listen on {portal}: Address already in use"


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with (
        pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:3260: ") as refused,
        portals.listening([ListenPortal("192.0.2.1")]),
    ):
        pass
    assert refused.value.status == ExitStatus.PORTAL


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "\udcff"])
def test_what_can_be_no_host_is_an_ordinary_mistake(host: str) -> None:
    with (
        pytest.raises(UsageError, match="bad host name") as refused,
        portals.listening([ListenPortal(host)]),
    ):
        pass
    assert refused.value.status == ExitStatus.PORTAL


def test_an_unknown_host_is_an_ordinary_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with (
        pytest.raises(UsageError, match="Name or service not known"),
        portals.listening([ListenPortal("no.such.host.invalid")]),
    ):
        pass


def test_on_all_addresses_both_families_are_listened_on() -> None:
    with portals.listening([ListenPortal.parse("*:0")]) as (four, six):
        assert four.getsockname()[0] == "0.0.0.0"
        assert six.getsockname()[0] == "::"
        # Apart from each other: the same port can be had in both.
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_all_addresses_are_those_that_the_default_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def listen(portal: ListenPortal) -> list[socket.socket]:
        asked.append((portal.host, portal.port))
        return [socket.socket()]

    monkeypatch.setattr(portals, "_listen", listen)
    for given in ([], [ListenPortal.parse("*")]):
        with portals.listening(given):
            pass
    assert asked == [("0.0.0.0", 3260), ("::", 3260)] * 2


def test_without_ipv6_all_addresses_are_those_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def only_ipv4(family: int, kind: int, protocol: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind, protocol)

    monkeypatch.setattr(socket, "socket", only_ipv4)
    with portals.listening([ListenPortal("*", 0)]) as sockets:
        assert [portals.name(sock).split(":")[0] for sock in sockets] == ["0.0.0.0"]
    with (
        pytest.raises(UsageError, match="Address family not supported"),
        portals.listening([ListenPortal("::1", 0)]),
    ):
        pass


def test_as_many_connections_wait_as_the_kernel_takes() -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with portals.listening([ListenPortal("127.0.0.1", 0)]) as (listener,):
        information = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        # struct tcp_info: of a listening socket, tcpi_sacked is the longest queue.
        assert struct.unpack_from("=I", information, 28)[0] == min(portals._BACKLOG, most)
