"""The server of the iSCSI driver: it accepts connections and has the sessions.

Connections are accepted while the driver is enabled; otherwise they wait in the listening sockets'
queues, as with SCST.  A connection is one task (and a writer that sleeps); an error in it costs
only that connection.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from scstfs.drivers.iscsi import connect
from scstfs.drivers.iscsi.initiator_access import InitiatorAccessFiles
from scstfs.drivers.iscsi.isns.client import IsnsClient
from scstfs.drivers.iscsi.portal_access import PortalAccess
from scstfs.drivers.iscsi.session_table import LOGOUT_SECONDS
from scstfs.drivers.iscsi.shared import Shared
from scstfs.drivers.iscsi.wire import Flusher, Wire
from scstfs.iscsi.discovery import NetworkPortal
from scstfs.log import RateLimited
from scstfs.memory import Trimmer

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.drivers.iscsi.config import IscsiDriver, IscsiTarget

log = logging.getLogger(__name__)
#: For incidents that may repeat.
_incidents: Final = RateLimited(log)

#: Seconds between two checks of timers.
TICK: Final = 1.0
#: Errors of accept(2) for a lack of resources that may become free.
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
#: Seconds to wait for them.
_SCARCE_PAUSE: Final = 0.25
#: Connections accepted without a pause.
_ACCEPTS: Final = 32


class Server:
    """Connections and sessions of the iSCSI driver."""

    def __init__(
        self, scst: Scst, driver: IscsiDriver, hosts: InitiatorAccessFiles | None = None
    ) -> None:
        self.driver = driver
        self.flusher = Flusher(scst.env.runtime.wake, scst.env.disks)
        scst.env.completions.before.append(self.flusher.hold)
        scst.env.completions.after.append(self.flusher.release)
        self.isns = IsnsClient(driver, lambda own: self.access.registered_portals(own))
        hosts = InitiatorAccessFiles() if hosts is None else hosts
        self.access = PortalAccess(driver, hosts, self.isns.allows)
        self.shared = Shared(scst, driver, self.access)
        self.sessions = self.shared.sessions
        self._closing = False
        self._may_accept = trio.Event()
        self._trimmer = Trimmer()

    # Accepting

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on non-blocking ``listeners`` and serve them, until cancelled."""
        self.access.portals = [NetworkPortal.of_socket(sock.getsockname()) for sock in listeners]
        self._decide_to_accept()
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery)
            nursery.start_soon(self._tick)
            nursery.start_soon(self.isns.run)

    def _decide_to_accept(self) -> None:
        may = self.driver.enabled and not self._closing
        if may:
            self._may_accept.set()
        elif self._may_accept.is_set():
            self._may_accept = trio.Event()

    def suspend_logins(self) -> None:
        """Suspend logins (SIGUSR1)."""
        log.info("logins are suspended")
        self.shared.is_suspended = True

    def resume_logins(self) -> None:
        """Resume logins (SIGUSR2)."""
        log.info("logins are resumed")
        self.shared.is_suspended = False

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await self._may_accept.wait()
            await trio.lowlevel.wait_readable(listener)
            for _ in range(_ACCEPTS):
                if not self._may_accept.is_set():
                    break
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    # All other errors concern a connection that is gone already.
                    if error.errno in _SCARCE:
                        _incidents.warning("cannot accept connections: %s", error.strerror)
                        await trio.sleep(_SCARCE_PAUSE)
                    break
                nursery.start_soon(self._serve, sock, nursery)

    async def _serve(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        with sock:
            try:
                wire = Wire(sock, self.flusher, self.shared.chunks, nursery.start_soon)
            except OSError:
                # The peer has gone already.
                return
            try:
                await connect.serve(self.shared, wire)
            finally:
                self._trimmer.gone()

    async def close(self) -> None:
        """Ask all initiators to log out, then drop the sessions that are left."""
        self._closing = True
        self._decide_to_accept()
        deadline = trio.current_time() + LOGOUT_SECONDS
        self.sessions.request_logout()
        await self.isns.close()
        await self.sessions.close(deadline)

    # Changes of the configuration (config.Live)

    def enabled_changed(self, driver: IscsiDriver) -> None:
        """See Live; sessions whose initiators do not log out when asked stay, as with SCST."""
        self._decide_to_accept()
        if not driver.enabled:
            self.sessions.request_logout()
        self.isns.changed()

    def target_enabled_changed(self, target: IscsiTarget) -> None:
        """See Live; present sessions stay."""
        self.isns.changed()

    def alias_changed(self, target: IscsiTarget) -> None:
        """See Live; the next login reports it."""
        self.isns.changed()

    def target_removed(self, target: IscsiTarget) -> None:
        """See Live."""
        self.isns.changed()

    def trace_changed(self, driver: IscsiDriver) -> None:
        """See Live."""
        self.shared.watch.trace_changed()

    async def isns_changed(
        self, driver: IscsiDriver, host: str | None, access_control: bool
    ) -> None:
        """See Live."""
        await self.isns.use(host, access_control)

    def parameter_changed(self, target: IscsiTarget, name: str) -> None:
        """See Live."""
        if name == "QueuedCommands":
            for nexus in self.sessions.of(target):
                if nexus.connection is not None:
                    nexus.connection.set_queue_depth(nexus.queue_depth)
                    nexus.mark()

    # Timers

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK)
            self._trimmer.tick()
            self.shared.watch.tick()
