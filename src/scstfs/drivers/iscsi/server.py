"""The live part of the iSCSI driver: accepting connections, and the sessions that exist.

Connections are accepted while the driver is enabled; otherwise they wait in the listening sockets'
queues, as with SCST.  A connection is one task (and a writer that
sleeps); whatever goes wrong in it costs that connection and nothing else.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import ifaddr
import trio

from scstfs.drivers.iscsi import connect, pdu_trace
from scstfs.drivers.iscsi.discovery import DiscoverySession
from scstfs.drivers.iscsi.hosts import HostFiles, Hosts
from scstfs.drivers.iscsi.isns.client import IsnsClient
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.wire import Flusher, Wire
from scstfs.iscsi import acl
from scstfs.iscsi.chunks import Chunks
from scstfs.iscsi.codes import AsyncEvent, LoginStatus
from scstfs.iscsi.discovery import Portal, TargetRecord, advertised_portals, registered_portals
from scstfs.iscsi.errors import LoginRefused
from scstfs.iscsi.watchdog import Limits, Watchdog
from scstfs.log import RateLimited
from scstfs.memory import Trimmer

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.drivers.iscsi.config import IscsiDriver, IscsiTarget
    from scstfs.iscsi.connection import Connection

log = logging.getLogger(__name__)
#: For what may happen again and again.
_incidents: Final = RateLimited(log)

#: Seconds between two looks at timers.
TICK: Final = 1.0
#: Seconds in which initiators are to log out when asked to (Parameter3 of RFC 7143 11.9.1).
LOGOUT_SECONDS: Final = 1
#: Logins at a time, and discovery sessions; the oldest goes when there is one more.
MAX_LOGINS: Final = 1024
MAX_DISCOVERIES: Final = 1024
#: accept(2) fails for want of something that others may give back.
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
#: Seconds to wait for that.
_SCARCE_PAUSE: Final = 0.25
#: Target Session Identifying Handles have 16 bits, and 0 is none (RFC 7143 11.12.6).
_HANDLES: Final = 0xFFFF
#: Connections accepted without a pause.
_ACCEPTS: Final = 32


class _Watched(Protocol):
    """Whose connection is watched."""

    @property
    def limits(self) -> Limits:
        """What the peer is given time for."""

    def disconnect(self, why: str) -> None:
        """Close the connection."""


class Server:
    """Connections and sessions of the iSCSI driver."""

    def __init__(self, scst: Scst, driver: IscsiDriver, hosts: HostFiles | None = None) -> None:
        self.scst = scst
        self.driver = driver
        self.flusher = Flusher(scst.env.runtime.wake)
        #: Memory for what connections receive and send.
        self.chunks = Chunks()
        scst.env.completions.before.append(self.flusher.hold)
        scst.env.completions.after.append(self.flusher.release)
        self._hosts = HostFiles() if hosts is None else hosts
        #: Sessions by initiator port and target: those that a login would reinstate.
        self._sessions: dict[tuple[IscsiTarget, str, bytes], Nexus] = {}
        #: These and those that are ending.
        self._all: dict[Nexus, None] = {}
        self._discoveries: dict[DiscoverySession, None] = {}
        self._watched: dict[Wire, tuple[Watchdog, _Watched]] = {}
        self._lobby: dict[Wire, None] = {}
        self._listeners: list[Portal] = []
        #: Logins are answered with Service Unavailable (SIGUSR1).
        self.is_suspended = False
        self._closing = False
        self._may_accept = trio.Event()
        self._trimmer = Trimmer()
        self._tsih = 0
        self._session_ended = trio.Event()
        self.isns = IsnsClient(driver, self._registered_portals)

    # Accepting

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on non-blocking ``listeners`` and serve them, until cancelled."""
        self._listeners = [Portal.of_socket(sock.getsockname()) for sock in listeners]
        self._decide_to_accept()
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery)
            nursery.start_soon(self._tick)
            nursery.start_soon(self.isns.run)

    def _registered_portals(self, own: str) -> list[Portal]:
        return registered_portals(own, self._listeners, _interface_addresses())

    def _decide_to_accept(self) -> None:
        may = self.driver.enabled and not self._closing
        if may:
            self._may_accept.set()
        elif self._may_accept.is_set():
            self._may_accept = trio.Event()

    def suspend_logins(self) -> None:
        """Let nobody log in any more (SIGUSR1)."""
        log.info("logins are suspended")
        self.is_suspended = True

    def resume_logins(self) -> None:
        """Let initiators log in again (SIGUSR2)."""
        log.info("logins are resumed")
        self.is_suspended = False

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
                    # Everything else concerns the connection that is gone already.
                    if error.errno in _SCARCE:
                        _incidents.warning("can not accept connections: %s", error.strerror)
                        await trio.sleep(_SCARCE_PAUSE)
                    break
                nursery.start_soon(self._serve, sock, nursery)

    async def _serve(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        with sock:
            try:
                wire = Wire(sock, self.flusher, self.chunks, nursery.start_soon)
            except OSError:
                # The peer has gone already.
                return
            try:
                await connect.serve(self, wire)
            finally:
                self._trimmer.gone()

    @contextmanager
    def in_lobby(self, wire: Wire) -> Iterator[None]:
        """Count a login; where there are too many the oldest is given up."""
        self._lobby[wire] = None
        if len(self._lobby) > MAX_LOGINS:
            oldest = next(iter(self._lobby))
            del self._lobby[oldest]
            _incidents.warning("%s: login dropped: too many at a time", oldest.peer)
            oldest.close("too many logins at a time")
        try:
            yield
        finally:
            self._lobby.pop(wire, None)

    # Sessions

    def find_session(self, target: IscsiTarget, initiator: str, isid: bytes) -> Nexus | None:
        """The session of an initiator port with a target."""
        return self._sessions.get((target, initiator.lower(), isid))

    def sessions_of(self, target: IscsiTarget) -> list[Nexus]:
        """The sessions with a target."""
        return [nexus for nexus in self._sessions.values() if nexus.target is target]

    def remember(self, nexus: Nexus) -> None:
        """A session begins; it reinstates a discovery session that named its target (7.4.2.2)."""
        self._sessions[nexus.target, nexus.initiator.lower(), nexus.isid] = nexus
        self._all[nexus] = None
        self._end_discovery(nexus.initiator.lower(), nexus.isid, nexus.target.name.lower())

    def forget(self, nexus: Nexus) -> None:
        """A session has ended."""
        key = (nexus.target, nexus.initiator.lower(), nexus.isid)
        if self._sessions.get(key) is nexus:
            del self._sessions[key]
        self._all.pop(nexus, None)
        self._session_ended.set()

    def remember_discovery(self, session: DiscoverySession) -> None:
        """A discovery session begins; it reinstates one of the same port (RFC 7143 7.4.2.1)."""
        self._end_discovery(*session.key)
        self._discoveries[session] = None
        if len(self._discoveries) > MAX_DISCOVERIES:
            oldest = next(iter(self._discoveries))
            oldest.disconnect("too many discovery sessions")
            self.forget_discovery(oldest)

    def _end_discovery(self, initiator: str, isid: bytes, with_whom: str | Portal) -> None:
        key = initiator, isid, with_whom
        for session in [session for session in self._discoveries if session.key == key]:
            session.disconnect("session reinstatement")
            self.forget_discovery(session)

    def forget_discovery(self, session: DiscoverySession) -> None:
        """A discovery session has ended."""
        self._discoveries.pop(session, None)

    def take_tsih(self) -> int:
        """An unused Target Session Identifying Handle; raises LoginRefused where all are used."""
        used = {nexus.tsih for nexus in self._all}
        if len(used) == _HANDLES:
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, "there are too many sessions")
        while True:
            self._tsih = self._tsih % _HANDLES + 1
            if self._tsih not in used:
                return self._tsih

    async def close(self) -> None:
        """Close all sessions in good order: who does not log out when asked to is dropped."""
        self._closing = True
        self._decide_to_accept()
        deadline = trio.current_time() + LOGOUT_SECONDS
        self._request_logout()
        await self.isns.close()
        with trio.move_on_at(deadline):
            await self._all_ended()
        for nexus in list(self._all):
            nexus.announce(AsyncEvent.SESSION_DROPPED)
            nexus.wire.flush()
            nexus.disconnect("the target shuts down")
            nexus.end()
        await self._all_ended()

    def _request_logout(self) -> None:
        for nexus in self._all:
            nexus.announce(AsyncEvent.LOGOUT_REQUESTED, LOGOUT_SECONDS)

    async def _all_ended(self) -> None:
        while self._all:
            self._session_ended = trio.Event()
            await self._session_ended.wait()

    # Changes of the configuration (config.Live)

    def enabled_changed(self, driver: IscsiDriver) -> None:
        """See Live; who does not log out when asked to stays, as with SCST."""
        self._decide_to_accept()
        if not driver.enabled:
            self._request_logout()
        self.isns.changed()

    def target_enabled_changed(self, target: IscsiTarget) -> None:
        """See Live; sessions that are there stay."""
        self.isns.changed()

    def alias_changed(self, target: IscsiTarget) -> None:
        """See Live; the next login tells it."""
        self.isns.changed()

    def target_removed(self, target: IscsiTarget) -> None:
        """See Live."""
        self.isns.changed()

    def trace_changed(self, driver: IscsiDriver) -> None:
        """See Live."""
        for watchdog, owner in self._watched.values():
            pdu_trace.follow(driver.trace, owner, watchdog.connection)

    async def isns_changed(
        self, driver: IscsiDriver, host: str | None, access_control: bool
    ) -> None:
        """See Live."""
        await self.isns.use(host, access_control)

    def parameter_changed(self, target: IscsiTarget, name: str) -> None:
        """See Live."""
        if name == "QueuedCommands":
            for nexus in self.sessions_of(target):
                if nexus.connection is not None:
                    nexus.connection.set_queue_depth(nexus.queue_depth)
                    nexus.mark()

    # Who may see what

    def access_name(self, target: IscsiTarget, initiator: str, wire: Wire) -> str:
        """The name under which access control knows an initiator (``per_portal_acl``)."""
        return _access_name(target, initiator, wire.local.address)

    def refusal(self, target: IscsiTarget, initiator: str, wire: Wire) -> str | None:
        """Why an initiator may not use a target over this connection; None if it may."""
        return self._refusal_at(target, initiator, wire, wire.local.address, self._hosts.read())

    def _refusal_at(
        self, target: IscsiTarget, initiator: str, wire: Wire, address: str, hosts: Hosts
    ) -> str | None:
        if not hosts.allows(target.name, wire.peer.address):
            return f"{wire.peer.address} is denied access to {target.name}"
        if not acl.portal_allowed(target.allowed_portals, address):
            return f"{target.name} is not allowed at portal {address}"
        name = _access_name(target, initiator, address)
        if not target.find_acg(name).luns:
            return f"{target.name} has no LUNs for {name}"
        if not self.isns.allows(target, initiator):
            return f"{target.name} is not allowed to {initiator} by iSNS"
        return None

    def discover(self, wire: Wire, initiator: str, name: str | None) -> list[TargetRecord]:
        """The target called ``name``, or all, with the portals at which it may be used."""
        if name is None:
            targets = list(self.driver.targets.values())
        else:
            found = self.driver.find_target(name)
            targets = [] if found is None else [found]
        hosts, here, interfaces = self._hosts.read(), wire.local.address, _interface_addresses()

        def allowed(target: IscsiTarget, address: str) -> bool:
            return self._refusal_at(target, initiator, wire, address, hosts) is None

        return [
            TargetRecord(
                target.name,
                advertised_portals(
                    wire.local,
                    self._listeners,
                    interfaces,
                    allowed=partial(allowed, target),
                    link_local=self.driver.link_local,
                ),
            )
            for target in targets
            if target.enabled and allowed(target, here)
        ]

    # Timers

    def watch(self, wire: Wire, connection: Connection, owner: _Watched) -> None:
        """Watch a connection in full-feature phase, until ``unwatch``."""
        self._watched[wire] = Watchdog(connection, trio.current_time()), owner
        pdu_trace.follow(self.driver.trace, owner, connection)

    def unwatch(self, wire: Wire) -> None:
        """The connection has ended."""
        self._watched.pop(wire, None)

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK)
            self._trimmer.tick()
            now = trio.current_time()
            for wire, (watchdog, owner) in list(self._watched.items()):
                try:
                    self._look_after(wire, watchdog, owner, now)
                except Exception:
                    # A bug in one connection must not be the end of all.
                    wire.fail()

    @staticmethod
    def _look_after(wire: Wire, watchdog: Watchdog, owner: _Watched, now: float) -> None:
        reason = watchdog.check(now, owner.limits)
        if reason is not None:
            _incidents.warning("%s: %s: %s", wire.peer, owner, reason)
            owner.disconnect(reason)
        else:
            wire.flush()


def _access_name(target: IscsiTarget, initiator: str, address: str) -> str:
    return f"{initiator}#{address}" if target.per_portal_acl else initiator


def _interface_addresses() -> list[str]:
    """The addresses of this machine."""
    return [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
