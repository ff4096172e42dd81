"""iSCSI sessions in this process whose connections have no sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from scstfs.core.nexus_times import Batches
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
from tests.support.iscsi_wire import Pdu

PORTAL: Final = NetworkPortal("127.0.0.1", 3260)
_STAT_SN: Final = 0xFFFFFFFE
INITIATOR: Final = "iqn.i"
ISID: Final = b"\x80\0\0\0\0\0"


@dataclass(eq=False)
class StillWire:
    """A connection without a socket; nothing is sent until requested."""

    flusher: Flusher
    tx: Transmitter = field(default_factory=Transmitter)
    batches: Batches = field(default_factory=Batches)
    peer: NetworkPortal = PORTAL
    local: NetworkPortal = PORTAL
    is_writing: bool = False
    reason: str = ""

    def flush(self) -> None:
        """Does nothing: there is no socket."""

    def rouse(self) -> None:
        """Nobody waits."""

    def close(self, why: str) -> None:
        """Record that the connection should end."""
        self.reason = self.reason or why


def still_wire(server: Server, local: NetworkPortal = PORTAL) -> Wire:
    """A connection that came to the portal ``local``."""
    return cast("Wire", StillWire(server.flusher, local=local))


def login_of(
    target: IscsiTarget | None, parameters: SessionParameters | None = None, cmd_sn: int = 1
) -> LoginResult[IscsiTarget]:
    """A login that succeeded; None for one of a discovery session."""
    return LoginResult(
        target=target,
        initiator=INITIATOR,
        user=None,
        isid=ISID,
        tsih=0,
        cid=0,
        replaces=None,
        parameters=parameters or SessionParameters(),
        stat_sn=_STAT_SN,
        exp_cmd_sn=cmd_sn,
        max_cmd_sn=(cmd_sn + 1) & 0xFFFFFFFF,
    )


def sent(wire: Wire) -> list[Pdu]:
    """Take the PDUs that wait to be sent on a connection without digests."""
    tx, raw = wire.tx, b""
    while tx.pending:
        piece = b"".join(tx.buffers())
        raw += piece
        tx.sent(len(piece))
    pdus = []
    while raw:
        length = int.from_bytes(raw[5:8], "big")
        end = 48 + (length + 3 & ~3)
        pdus.append(Pdu(raw[:48], raw[48 : 48 + length]))
        raw = raw[end:]
    return pdus


class Port:
    """An initiator port and its logins to a target."""

    def __init__(
        self, server: Server, target: IscsiTarget, parameters: SessionParameters, depth: int
    ) -> None:
        """``depth`` is that of the command window."""
        self.server = server
        self._target = target
        self._parameters = parameters
        self._depth = depth

    def _login(self, cmd_sn: int) -> LoginResult[IscsiTarget]:
        return login_of(self._target, self._parameters, cmd_sn)

    def log_in(
        self,
        cmd_sn: int,
        replaced: Nexus | None = None,
        gone: Callable[[Nexus], None] | None = None,
    ) -> tuple[Nexus, Connection]:
        """Begin a session, reinstating ``replaced`` if given."""
        login, wire = self._login(cmd_sn), still_wire(self.server)
        nexus = Nexus(self.server.access, login, 1, wire, gone or self.server.sessions.forget)
        if replaced is not None:
            replaced.replace_with(nexus)
        return nexus, self._connect(nexus)

    def reconnect(self, nexus: Nexus) -> Connection:
        """Connection reinstatement."""
        nexus.reconnect(self._login(nexus.exp_cmd_sn), still_wire(self.server))
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
