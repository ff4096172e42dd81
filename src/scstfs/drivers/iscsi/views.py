"""A session's connection as the tree shows it (``sessions/S/ADDRESS``)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.nexus import Nexus


class LiveConnection:
    """See ``scstfs.drivers.iscsi.config.ConnectionView``."""

    transport: Final = "iSCSI-TCP"

    def __init__(self, nexus: Nexus) -> None:
        self._nexus = nexus

    @property
    def cid(self) -> int:
        """See ConnectionView."""
        return self._nexus.cid

    @property
    def ip(self) -> str:
        """See ConnectionView."""
        return shown(self._nexus.wire.peer.address)

    @property
    def target_ip(self) -> str:
        """See ConnectionView."""
        return shown(self._nexus.wire.local.address)

    @property
    def state(self) -> str:
        """See ConnectionView."""
        nexus = self._nexus
        connection = nexus.connection
        if connection is None or connection.closing:
            return "closing"
        words = [
            word
            for word, holds in (
                ("read_processing", not connection.rx.is_empty),
                ("space_waiting", nexus.wire.is_writing),
                ("reinstating", nexus.core.reinstating),
            )
            if holds
        ]
        return "".join(f"{word} " for word in words or ("established idle",))


def shown(address: str) -> str:
    """An address in the kernel's notation: IPv6 in brackets and not abbreviated."""
    parsed = ipaddress.ip_address(address)
    return f"[{parsed.exploded}]" if parsed.version == 6 else address
