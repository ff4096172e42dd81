"""iSCSI sessions in this process whose connections have no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast

from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.drivers.iscsi.wire import Flusher, Wire
from scstfs.iscsi.admission import LoginResult
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.discovery import NetworkPortal
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import Transmitter

_PORTAL: Final = NetworkPortal("127.0.0.1", 3260)
_STAT_SN: Final = 0xFFFFFFFE
INITIATOR: Final = "iqn.i"


@dataclass(eq=False)
class StillWire:
    """A connection without a socket; nothing is sent until requested."""

    flusher: Flusher
    tx: Transmitter = field(default_factory=Transmitter)
    peer: NetworkPortal = _PORTAL
    local: NetworkPortal = _PORTAL
    is_writing: bool = False
    reason: str = ""

    def flush(self) -> None:
        """Does nothing: there is no socket."""

    def close(self, why: str) -> None:
        """Record that the connection should end."""
        self.reason = self.reason or why


class Port:
    """An initiator port and its logins to a target."""

    def __init__(
        self, server: Server, target: IscsiTarget, parameters: SessionParameters, depth: int
    ) -> None:
        """``depth`` is that of the command window."""
        self._server = server
        self._target = target
        self._parameters = parameters
        self._depth = depth

    def _wire(self) -> Wire:
        return cast("Wire", StillWire(self._server.flusher))

    def _login(self, cmd_sn: int) -> LoginResult[IscsiTarget]:
        return LoginResult(
            target=self._target,
            initiator=INITIATOR,
            user=None,
            isid=b"\x80\0\0\0\0\0",
            tsih=0,
            cid=0,
            replaces=None,
            parameters=self._parameters,
            stat_sn=_STAT_SN,
            exp_cmd_sn=cmd_sn,
            max_cmd_sn=(cmd_sn + 1) & 0xFFFFFFFF,
        )

    def log_in(self, cmd_sn: int, replaced: Nexus | None = None) -> tuple[Nexus, Connection]:
        """Begin a session, reinstating ``replaced`` if given."""
        nexus = Nexus(
            self._server.access, self._login(cmd_sn), 1, self._wire(), self._server.sessions.forget
        )
        if replaced is not None:
            replaced.replace_with(nexus)
        return nexus, self._connect(nexus)

    def reconnect(self, nexus: Nexus) -> Connection:
        """Connection reinstatement."""
        nexus.reconnect(self._login(nexus.exp_cmd_sn), self._wire())
        return self._connect(nexus)

    def _connect(self, nexus: Nexus) -> Connection:
        parameters = self._parameters
        rx = Receiver(parameters.max_recv_data_segment_length)
        for side in (rx, nexus.wire.tx):
            side.header_digest = parameters.has_header_digest
            side.data_digest = parameters.has_data_digest
        connection = Connection(
            nexus.host,
            parameters,
            cmd_sn=nexus.exp_cmd_sn,
            stat_sn=_STAT_SN,
            queue_depth=self._depth,
            rx=rx,
            tx=nexus.wire.tx,
            max_cmd_sn=(nexus.exp_cmd_sn + 1) & 0xFFFFFFFF,
        )
        nexus.start(connection)
        return connection
