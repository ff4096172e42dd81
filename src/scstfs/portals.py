"""Portals: the addresses on which initiators find the target (RFC 7143 4.1 "Network Portal").

A portal is written `HOST:PORT`, `HOST`, `[IPV6]:PORT` or `[IPV6]`; the port is iSCSI's, 3260, where
none is given, and 0 lets the system choose one. The host `*` stands for all addresses.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scstfs.errors import ExitStatus, UsageError, reason

DEFAULT_PORT: Final = 3260  # RFC 7143 13.1

_BACKLOG: Final = 1024
# A system without the address family uses the other one.
_NO_FAMILY: Final = frozenset(
    {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL, errno.EPFNOSUPPORT}
)
_SYNTAX: Final = re.compile(
    r"(?:\[(?P<v6>[^][]*)\]|(?P<host>[^][:]+))(?::(?P<port>\d{1,5}))?", re.A
)


@dataclass(frozen=True, slots=True)
class ListenPortal:
    """Where to listen: a host name or address without brackets, and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> ListenPortal:
        """Return the portal that `text` names.

        Raises:
            UsageError: it does not name one.
        """
        match = _SYNTAX.fullmatch(text)
        if match is None:
            raise _bad(text, "it must be HOST:PORT or [IPV6]:PORT")
        port = int(match["port"] or DEFAULT_PORT)
        if port > 0xFFFF:
            raise _bad(text, "the port is above 65535")
        if match["v6"] is not None and ":" not in match["v6"]:
            raise _bad(text, "only an IPv6 address stands in brackets")
        return cls(match["v6"] or match["host"], port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


ANY_HOST: Final = "*"
"""The host that stands for all addresses."""
_EVERYWHERE: Final = ("0.0.0.0", "::")


def _bad(text: str, why: str) -> UsageError:
    return UsageError(ExitStatus.USAGE, f"bad portal {text!r}: {why}")


@contextlib.contextmanager
def listening(portals: Sequence[ListenPortal]) -> Iterator[list[socket.socket]]:
    """Listen on `portals`, on all addresses if there are none; yield non-blocking sockets.

    All addresses are those of the families that the system has.

    Resource handling: the sockets are closed at the end.

    Raises:
        UsageError: one of them cannot be bound.
    """
    with contextlib.ExitStack() as stack:
        sockets = []
        for portal, may_be_missing in _expanded(portals or (ListenPortal(ANY_HOST),)):
            try:
                sockets += [stack.enter_context(s) for s in _listen(portal)]
            except OSError as error:
                if may_be_missing and error.errno in _NO_FAMILY:
                    continue
                message = f"cannot listen on {portal}: {reason(error)}"
                raise UsageError(ExitStatus.PORTAL, message) from error
            except UnicodeError as error:  # Python's error for an impossible name
                message = f"cannot listen on {portal}: bad host name"
                raise UsageError(ExitStatus.PORTAL, message) from error
        if not sockets:
            raise UsageError(ExitStatus.PORTAL, "this system has neither IPv4 nor IPv6")
        yield sockets


def _expanded(portals: Sequence[ListenPortal]) -> Iterator[tuple[ListenPortal, bool]]:
    """Yield portals with a host, and whether the system may lack its address family."""
    for portal in portals:
        if portal.host != ANY_HOST:
            yield portal, False
        else:
            yield from ((ListenPortal(host, portal.port), True) for host in _EVERYWHERE)


def _listen(portal: ListenPortal) -> list[socket.socket]:
    """Listen on every address that the portal's host has."""
    found = socket.getaddrinfo(
        portal.host, portal.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as stack:
        sockets = []
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = stack.enter_context(socket.socket(family, kind, protocol))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # else [::] would collide with 0.0.0.0
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            sockets.append(sock)
        stack.pop_all()
        return sockets


def name(sock: socket.socket) -> str:
    """Return the portal of a listening socket, as users write it."""
    host, port, *_ = sock.getsockname()
    return str(ListenPortal(host, port))
