"""Which initiators may use which target at which portal, and what SendTargets lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import ifaddr

from scstfs.iscsi import acl
from scstfs.iscsi.discovery import (
    NetworkPortal,
    TargetRecord,
    advertised_portals,
    registered_portals,
)

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import IscsiDriver, IscsiTarget
    from scstfs.drivers.iscsi.initiator_access import InitiatorAccess, InitiatorAccessFiles
    from scstfs.drivers.iscsi.wire import Wire


class PortalAccess:
    """Decides by the driver's configuration, the files in /etc and iSNS."""

    def __init__(
        self,
        driver: IscsiDriver,
        hosts: InitiatorAccessFiles,
        isns_allows: Callable[[IscsiTarget, str], bool],
    ) -> None:
        """``isns_allows`` tells whether iSNS lets an initiator, by name, use a target."""
        self._driver = driver
        self._hosts = hosts
        self._isns_allows = isns_allows
        #: Where connections are accepted.
        self.portals: Sequence[NetworkPortal] = ()

    def refusal(self, target: IscsiTarget, initiator: str, wire: Wire) -> str | None:
        """The reason why an initiator may not use a target over this connection; None if it may."""
        return self._refusal_at(target, initiator, wire, wire.local.address, self._hosts.read())

    def _refusal_at(
        self, target: IscsiTarget, initiator: str, wire: Wire, address: str, hosts: InitiatorAccess
    ) -> str | None:
        if not hosts.allows(target.name, wire.peer.address):
            return f"{wire.peer.address} is denied access to {target.name}"
        if not acl.portal_allowed(target.allowed_portals, address):
            return f"{target.name} is not allowed at portal {address}"
        name = target.access_name(initiator, address)
        if not target.find_acg(name).luns:
            return f"{target.name} has no LUNs for {name}"
        if not self._isns_allows(target, initiator):
            return f"{target.name} is not allowed to {initiator} by iSNS"
        return None

    def discover(self, wire: Wire, initiator: str, name: str | None) -> list[TargetRecord]:
        """The target called ``name``, or all, with the portals at which it may be used."""
        if name is None:
            targets = list(self._driver.targets.values())
        else:
            found = self._driver.find_target(name)
            targets = [] if found is None else [found]
        hosts, here, interfaces = self._hosts.read(), wire.local.address, _interface_addresses()

        def allowed(target: IscsiTarget, address: str) -> bool:
            return self._refusal_at(target, initiator, wire, address, hosts) is None

        return [
            TargetRecord(
                target.name,
                advertised_portals(
                    wire.local,
                    self.portals,
                    interfaces,
                    allowed=partial(allowed, target),
                    link_local=self._driver.link_local,
                ),
            )
            for target in targets
            if target.enabled and allowed(target, here)
        ]

    def registered_portals(self, own: str) -> list[NetworkPortal]:
        """The portals for a name server that is reached from the address ``own``."""
        return registered_portals(own, self.portals, _interface_addresses())


def _interface_addresses() -> list[str]:
    """The addresses of this machine."""
    return [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
