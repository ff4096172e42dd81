"""Where the exporter listens, and what protects it: addresses, password, certificate."""

from __future__ import annotations

import ipaddress
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from scstfs.admin.mistakes import Mistake, MistakeKind

DEFAULT: Final = "127.0.0.1:9860"

_LOCAL_NAME: Final = "localhost"
_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def _mistake(message: str) -> Mistake:
    return Mistake(MistakeKind.USAGE, message)


def _cannot_listen(endpoint: Endpoint, error: OSError) -> Mistake:
    return Mistake(MistakeKind.PORT, f"cannot listen on {endpoint}: {error.strerror or error}")


class Endpoint(NamedTuple):
    """An address and port; the host is a name or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse ``HOST:PORT``; raises ValueError."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            ipaddress.IPv6Address(host)
        elif ":" in host:
            raise ValueError(f"'{text}': an IPv6 address needs brackets")
        if not colon or not host or not port.isdecimal() or int(port) > 0xFFFF:
            raise ValueError(f"'{text}' is not HOST:PORT")
        return cls(host, int(port))

    def addresses(self) -> list[str]:
        """What the host stands for; raises OSError."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    @property
    def is_local(self) -> bool:
        """Return whether only programs of this machine can connect; raises OSError."""
        return all(
            ipaddress.ip_address(address.partition("%")[0]).is_loopback
            for address in self.addresses()
        )


@dataclass(frozen=True, slots=True)
class Protection:
    """What protects the exporter.

    Attributes:
        users: passwords by name; empty if none is needed.
        certificate, key: files for TLS; None without.
        names: further names of this machine by which requests may call it.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    certificate: str | None = None
    key: str | None = None
    names: frozenset[str] = frozenset()


def read_users(path: str) -> dict[str, str]:
    """The users of a file with a line ``NAME:PASSWORD`` for each.

    Raises Mistake if it cannot be read, has no such lines, or others may read it.
    """
    try:
        file = Path(path)
        if file.stat().st_mode & _FOR_OTHERS:
            raise _mistake(f"{path} has passwords: others must not have access (chmod 600)")
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _mistake(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    users = {}
    for line in filter(None, map(str.strip, lines)):
        name, colon, password = line.partition(":")
        if not colon or not name or not password:
            raise _mistake(f"{path} has a line that is not NAME:PASSWORD")
        users[name] = password
    if not users:
        raise _mistake(f"{path} has no users")
    return users


def check(endpoint: Endpoint, protection: Protection, *, insecure: bool) -> None:
    """Refuse to serve other machines without protection, unless told to. Raises Mistake."""
    if (protection.certificate is None) != (protection.key is None):
        raise _mistake("--tls-certificate and --tls-key belong together")
    try:
        is_local = endpoint.is_local
    except OSError as error:
        raise _cannot_listen(endpoint, error) from None
    if not (is_local or insecure or protection.users or protection.certificate):
        raise _mistake(
            f"{endpoint} can be reached from other machines: "
            "--auth-file or --tls-certificate is needed, or --insecure"
        )


def listen(endpoint: Endpoint) -> socket.socket:
    """A socket that listens there. Raises Mistake."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen()
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise _cannot_listen(endpoint, error) from None
    return sock


def is_own_name(host: str, names: frozenset[str]) -> bool:
    """Return whether a request with this Host header means this machine.

    Other names may be those of a web site that has its name resolved to an address of this machine,
    so that its scripts can read answers (DNS rebinding). An address is nobody's name.
    """
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names or name in (_LOCAL_NAME, socket.gethostname().lower())
    return True
