"""iSCSI sessions as the tree sees them, without any connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scstfs.core import session_lifecycle
from scstfs.core.session import Session
from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.scsi.transport_id import TransportId

ISID = bytes.fromhex("00023d000001")


@dataclass
class Connection:
    """See `scstfs.drivers.iscsi.config.ConnectionView`."""

    cid: int = 0
    ip: str = "127.0.0.1"
    target_ip: str = "127.0.0.1"
    state: str = "established idle "
    transport: str = "iSCSI-TCP"


@dataclass
class Nexus:
    """See `scstfs.drivers.iscsi.config.SessionView`; `open_session` makes one."""

    parameters: SessionParameters
    sid: int = 0x10100003D0200
    thread_ids: str = "1 2"
    connections: dict[str, Connection] = field(default_factory=lambda: {"127.0.0.1": Connection()})
    events: list[tuple[bytes, bytes]] = field(default_factory=list)
    on_close: Callable[[], None] = lambda: None

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        self.events.append((lun, sense_data))
        return True

    def close(self) -> None:
        self.on_close()


def open_session(
    target: IscsiTarget, initiator: str, parameters: SessionParameters | None = None
) -> tuple[Session, Nexus]:
    """A session that is ready."""
    nexus = Nexus(SessionParameters() if parameters is None else parameters)
    return session_lifecycle.open_session(
        target, initiator, nexus, TransportId.iscsi(initiator, ISID)
    ), nexus
