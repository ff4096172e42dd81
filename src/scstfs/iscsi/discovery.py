"""Text requests of the full feature phase, mainly SendTargets: RFC 7143 13.3, appendix C."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.keys import KeyPhase
from scstfs.iscsi.negotiate import Negotiation
from scstfs.iscsi.text_format import REJECT, Pairs, decode, encode

PORTAL_GROUP: Final = 1
SEND_TARGETS: Final = "SendTargets"
ALL: Final = "All"


class NetworkPortal(NamedTuple):
    """A network portal: numeric address, IPv6 without brackets, and TCP port."""

    address: str
    port: int

    @classmethod
    def of_socket(cls, name: tuple[str, int]) -> NetworkPortal:
        """The portal of a socket's name, without the scope of a link-local address.

        The scope means nothing at the other end (RFC 4007 6).  The name of an IPv6 socket has more
        parts.
        """
        return cls(name[0].partition("%")[0], name[1])

    def __str__(self) -> str:
        """Its form in the log."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The value of TargetAddress (RFC 7143 13.8)."""
        return f"{self},{PORTAL_GROUP}"


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """A target that the initiator may see, and the portals at which it may."""

    name: str
    portals: Sequence[NetworkPortal]


def advertised_portals(
    own: NetworkPortal,
    listeners: Iterable[NetworkPortal],
    interfaces: Iterable[str],
    *,
    allowed: Callable[[str], bool],
    link_local: bool = True,
) -> list[NetworkPortal]:
    """List the portals at which to offer a target to the initiator of a connection.

    First the one that the connection arrived at; then those of the same address family that we
    listen at; a wildcard address stands for every address of the `interfaces`. Loopback addresses,
    and those that the target does not allow, are left out.

    Args:
        own: where the connection arrived.
        listeners: the portals that we are bound to.
        interfaces: the addresses of this machine, without prefix lengths.
        allowed: tells whether the target may be offered at an address.
        link_local: IPv6 link-local addresses are offered, too.
    """
    addresses = list(interfaces)
    candidates = {own: None}
    for listener in listeners:
        hosts = addresses if _is_wildcard(listener.address) else [listener.address]
        for host in hosts:
            if (
                (":" in host) == (":" in own.address)
                and host != own.address
                and not _is_loopback(host)
                and allowed(host)
            ):
                candidates[NetworkPortal(host, listener.port)] = None
    return [portal for portal in candidates if link_local or not _is_link_local(portal.address)]


def registered_portals(
    own: str, listeners: Iterable[NetworkPortal], interfaces: Iterable[str]
) -> list[NetworkPortal]:
    """List the portals to register with a name server (RFC 4171 6.3).

    They are those that we listen at; a wildcard address stands for every address of the
    `interfaces`. Link-local ones are left out, because they mean nothing elsewhere, and loopback
    ones, unless the server is reached from a loopback address, `own`.
    """
    addresses = list(interfaces)
    portals: dict[NetworkPortal, None] = {}
    for listener in listeners:
        hosts = [listener.address]
        if _is_wildcard(listener.address):
            hosts = [host for host in addresses if (":" in host) == (":" in listener.address)]
        for host in hosts:
            if _is_loopback(host) == _is_loopback(own) and not _is_link_local(host):
                portals[NetworkPortal(host, listener.port)] = None
    return list(portals)


def send_targets(
    value: str, own: str | None, targets: Callable[[str | None], Iterable[TargetRecord]]
) -> Pairs:
    """Answer SendTargets.

    Args:
        value: "All", a target's name, or empty for the session's own target.
        own: name of the session's target, None in a discovery session.
        targets: looks up the targets that the initiator may see: the one of that name, or all.

    Raises:
        ProtocolError: "All" in a normal session.
    """
    if value == ALL:
        if own is not None:
            raise ProtocolError("SendTargets=All in a normal session")
        records = targets(None)
    elif own is not None:
        # A normal session is told of no other target.
        records = targets(own) if value.lower() in ("", own.lower()) else ()
    elif value:
        records = targets(value)
    else:
        return [(SEND_TARGETS, REJECT)]
    pairs: Pairs = []
    for record in records:
        pairs.append(("TargetName", record.name))
        pairs.extend(("TargetAddress", portal.text) for portal in record.portals)
    return pairs


def answer_text(
    request: bytes,
    negotiation: Negotiation,
    own: str | None,
    targets: Callable[[str | None], Iterable[TargetRecord]],
) -> bytes:
    """Answer a complete text of the full feature phase.

    `negotiation` is the same one for all texts of an exchange.

    Raises:
        ProtocolError: malformed text, or a rule of negotiation broken; answered by a Reject.
    """
    pairs = decode(request)
    answers: Pairs = []
    wanted = [value for name, value in pairs if name == SEND_TARGETS]
    if len(wanted) > 1:
        raise ProtocolError("SendTargets twice in one text")
    if own is None and pairs and not wanted:
        # A discovery session has no other purpose (RFC 7143 4.3).
        raise ProtocolError("text without SendTargets in a discovery session")
    for value in wanted:
        answers += send_targets(value, own, targets)
    others = [pair for pair in pairs if pair[0] != SEND_TARGETS]
    return encode(answers + negotiation.answer(others, KeyPhase.FULL_FEATURE))


def _is_wildcard(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_unspecified


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _is_link_local(address: str) -> bool:
    """An IPv6 address of one link, fe80::/10 (RFC 4291 2.5.6)."""
    return ":" in address and ipaddress.ip_address(address.partition("%")[0]).is_link_local
