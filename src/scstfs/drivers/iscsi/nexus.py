"""A normal session: a core session on one side, an iSCSI connection on the other (RFC 7143 4.3).

It is the core session's transport; its ``host`` executes the connection's commands. A session has
one connection at a time. Connection reinstatement gives it another one; session reinstatement
replaces it by another session.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from scstfs.core import execute, session_lifecycle, task_management
from scstfs.core.session import SessionState
from scstfs.drivers.iscsi.session_host import SessionHost
from scstfs.drivers.iscsi.views import LiveConnection, shown
from scstfs.iscsi.codes import AsyncEvent
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.watchdog import Limits
from scstfs.scsi import sense
from scstfs.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import ConnectionView, IscsiTarget
    from scstfs.drivers.iscsi.portal_access import PortalAccess
    from scstfs.drivers.iscsi.wire import Wire
    from scstfs.iscsi.admission import LoginResult

log = logging.getLogger(__name__)


class Nexus:
    """One session of one initiator with one target."""

    def __init__(
        self,
        access: PortalAccess,
        login: LoginResult[IscsiTarget],
        tsih: int,
        wire: Wire,
        gone: Callable[[Nexus], None],
    ) -> None:
        """``login`` is a normal session's login; ``gone`` is called at the end of the session."""
        assert login.target is not None
        self.access = access
        self._gone = gone
        self.target = target = login.target
        self.initiator = login.initiator
        self.isid = login.isid
        self.tsih = tsih
        self.connection: Connection | None = None
        self._exp_cmd_sn = login.exp_cmd_sn
        #: The connection as the tree shows it, while there is one.
        self._view: LiveConnection | None = None
        #: The session that reinstates this one, and begins when this one has ended; the session
        #: that this one reinstates.
        self._successor: Nexus | None = None
        self._predecessor: Nexus | None = None
        self.host = SessionHost(self)
        self.adopt(login, wire)
        name = target.access_name(login.initiator, wire.local.address)
        port = TransportId.iscsi(login.initiator, login.isid)
        self.core = session_lifecycle.open_session(target, name, self, port, is_ready=False)
        self.core.transport_level = login.parameters.protocol_level

    def __str__(self) -> str:
        """Its name in the log."""
        return str(self.core)

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return self.core.log_fields

    def _trace(self, event: str, *details: object) -> None:
        """Log an event of the connection (``trace_level``)."""
        self.target.iscsi_driver.trace.event("conn", f"%s {event}", self, *details)

    # Life

    def adopt(self, login: LoginResult[IscsiTarget], wire: Wire) -> None:
        """Take over the parameters and the wire of a login."""
        self.wire = wire
        self.cid = login.cid
        #: The user that has authenticated, or None.
        self.user = login.user
        self._set_parameters(login.parameters)

    def _set_parameters(self, parameters: SessionParameters) -> None:
        self.parameters = parameters
        self.host.agree(parameters)

    @property
    def is_open(self) -> bool:
        """Return whether the session has not begun to end."""
        return self.core.is_open

    @property
    def sid(self) -> int:
        """The session identifier: ISID and TSIH as one number."""
        return int.from_bytes(self.isid + self.tsih.to_bytes(2, "little"), "little")

    @property
    def thread_ids(self) -> str:
        """The thread that serves the connection: the event loop's, as for all."""
        return str(threading.get_native_id())

    @property
    def connections(self) -> Mapping[str, ConnectionView]:
        """The connection under the initiator's address, unless it is gone."""
        if self._view is None:
            return {}
        return {shown(self.wire.peer.address): self._view}

    @property
    def queue_depth(self) -> int:
        """The command window (``QueuedCommands``)."""
        return self.target.parameters["QueuedCommands"]

    @property
    def limits(self) -> Limits:
        """The initiator's time limits."""
        parameters = self.target.parameters
        return Limits(
            nop_in_interval=parameters["NopInInterval"],
            nop_in_timeout=parameters["NopInTimeout"],
            rsp_timeout=parameters["RspTimeout"],
        )

    @property
    def exp_cmd_sn(self) -> int:
        """The CmdSN that is due."""
        return self._exp_cmd_sn if self.connection is None else self.connection.window.exp_cmd_sn

    def start(self, connection: Connection) -> None:
        """Full-feature phase begins."""
        self.connection = connection
        self._view = LiveConnection(self)
        self._trace("has connection %d from %s", self.cid, self.wire.peer)
        self.core.state = SessionState.READY

    def connection_ended(self, wire: Wire) -> None:
        """The connection over ``wire`` is gone; the session ends if it has no other."""
        if self.wire is wire:
            self.end()

    def end(self) -> None:
        """End the session: abort all that it has under way, then release its resources."""
        if not self.is_open:
            return
        self._drop_connection("the session ends")
        session_lifecycle.close_session(self.core, self._ended)

    def _ended(self) -> None:
        # Without reference cycles, the memory of a session is free as soon as it has ended.
        self.core.transport = _NOBODY
        del self.host
        self._gone(self)
        successor, self._successor = self._successor, None
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is not None:
            # This session has never begun; its successor waits for its predecessor instead.
            predecessor._successor = successor
        if successor is not None:
            successor._predecessor = predecessor
            if predecessor is None:
                successor.go_on()

    def replace_with(self, successor: Nexus) -> None:
        """Session reinstatement (RFC 7143 6.3.5): end, and let ``successor`` begin after that."""
        successor.core.reinstating = True
        for tgt_dev in successor.core.tgt_devs.values():
            tgt_dev.unit_attentions.discard(sense.RESET)
            tgt_dev.queue_unit_attention(sense.NEXUS_LOSS, at_head=True)
        self._successor = successor
        successor._predecessor = self
        self.end()

    def reconnect(self, login: LoginResult[IscsiTarget], wire: Wire) -> None:
        """Connection reinstatement (RFC 7143 6.3.4): the old connection's tasks are aborted."""
        self._drop_connection("connection reinstatement")
        for tgt_dev in self.core.tgt_devs.values():
            if tgt_dev.commands:
                tgt_dev.queue_unit_attention(sense.CLEARED_BY_TRANSPORT)
        was_reinstating, self.core.reinstating = self.core.reinstating, True
        self.adopt(login, wire)
        task_management.nexus_loss(self.core, self._nothing if was_reinstating else self.go_on)

    @staticmethod
    def _nothing() -> None:
        """Wait for the end of the session that this one reinstates."""

    def go_on(self) -> None:
        """The session that this one reinstates has ended: begin."""
        self._predecessor = None
        self.core.reinstating = False
        postponed, self.core.postponed = self.core.postponed, []
        for cmd in postponed:
            execute.run(cmd)

    def _drop_connection(self, why: str) -> None:
        self.wire.close(why)
        if self.connection is not None:
            self._trace("loses connection %d: %s", self.cid, self.wire.reason or why)
            self._exp_cmd_sn = self.connection.window.exp_cmd_sn
            self.connection.drop()
            self.connection = self._view = None

    def disconnect(self, why: str) -> None:
        """Close the connection from this side, without a message, as SCST does."""
        self.wire.close(why)

    def announce(self, event: AsyncEvent, seconds: int = 0) -> None:
        """Ask the initiator to log out (RFC 7143 11.9.1).

        ``seconds`` is Parameter3: the time that it has to log out.
        """
        if self.connection is not None:
            self.connection.replies.async_message(event, parameters=(0, 0, seconds))
            self.mark()

    def mark(self) -> None:
        """There is something to send."""
        self.wire.flusher.mark(self.wire)

    # Transport of the core session

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """Send an asynchronous event (RFC 7143 11.9.1, event 0)."""
        connection = self.connection
        if connection is None or connection.closing:
            return False
        connection.replies.async_message(AsyncEvent.SCSI, lun=lun, sense=sense_data)
        self.mark()
        return True

    def close(self) -> None:
        """``force_close``."""
        self.disconnect("force_close")

    # For its parts

    def agree(self, parameters: SessionParameters) -> None:
        """Parameters were negotiated in full-feature phase."""
        self._set_parameters(parameters)
        if self.connection is not None:
            self.connection.agree(parameters)

    def of_the_target(self) -> list[Nexus]:
        """All sessions with the same target."""
        transports = [session.transport for session in self.target.sessions.values()]
        return [transport for transport in transports if isinstance(transport, Nexus)]


class _Nobody:
    """The transport of a session that has ended."""

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """See ``scstfs.core.session.Transport``."""
        return False

    def close(self) -> None:
        """See ``scstfs.core.session.Transport``."""


_NOBODY: Final = _Nobody()
