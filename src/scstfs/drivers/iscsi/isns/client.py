"""Registers our targets with an iSNS server, and asks it which initiators may log in (RFC 4171).

If the server is lost, the client tries again, each time after a longer pause; the last list of
initiators stays in effect meanwhile.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from scstfs.drivers.iscsi.isns.inquiries import Inquiries
from scstfs.drivers.iscsi.isns.link import (
    IsnsLink,
    LinkLostError,
    NotConnectedError,
    connect,
    lost_by_os_errors,
)
from scstfs.drivers.iscsi.isns.registration import (
    ESI_SECONDS,
    Registration,
    entity_name,
)
from scstfs.iscsi import isns
from scstfs.iscsi.discovery import NetworkPortal
from scstfs.iscsi.isns import Function, Message, PortalEntry
from scstfs.log import RateLimited
from scstfs.sysfs.errors import SysfsError

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import IscsiDriver, IscsiTarget

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

#: Seconds that a write to ``iSNSServer`` may wait: for the connection, for the first answers, and
#: for deregistration from the server before.
CONNECT_SECONDS: Final = 5.0
_ANSWERS_SECONDS: Final = 2.0
_GOODBYE_SECONDS: Final = 1.0
#: Seconds before the first attempt to reconnect, and at most before later ones; after a connection
#: that lasted longer than the latter, the pause is the first again.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0


@dataclass(eq=False)
class _Order:
    """A server to register with."""

    host: str
    controls_access: bool
    sock: trio.socket.SocketType | None
    """The connection that was made when the server was set."""

    def __post_init__(self) -> None:
        #: Set when the server has answered all requests once.
        self.told = trio.Event()
        #: Its task runs in here, until it has ended.
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class IsnsClient:
    """The driver's side of iSNS."""

    def __init__(
        self,
        driver: IscsiDriver,
        portals: Callable[[str], Iterable[NetworkPortal]],
        port: int = isns.PORT,
    ) -> None:
        """Wait for a server to be set.

        ``portals`` lists our portals, for a server that is reached from the given address; ``port``
        is the server's.
        """
        self.port = port
        self._driver = driver
        self._portals = portals
        self._order: _Order | None = None
        self._ordered = trio.Event()
        self._changing = trio.Lock()
        self._changed = trio.Event()
        #: If the server controls access: the initiators of each target.
        self._listed: dict[str, frozenset[str]] | None = None

    def allows(self, target: IscsiTarget, initiator: str) -> bool:
        """Return whether the server lists the initiator, or does not control access."""
        if self._listed is None:
            return True
        return initiator.lower() in self._listed.get(target.name, frozenset())

    def changed(self) -> None:
        """Targets have changed, or the server's data has."""
        self._changed.set()

    async def use(self, host: str | None, controls_access: bool) -> None:
        """Register with another server, or with none, instead of the present one.

        Returns as soon as the server has answered all requests, or after a while.

        Raises:
            SysfsError: the errno of the failed connection; no server is used then.
        """
        async with self._changing:
            await self._leave()
            try:
                sock = None if host is None else await self._connect(host)
            except NotConnectedError as error:
                self._listed = None
                raise SysfsError(error.errno, f"iSNS server {host}: {error}") from error
            self._listed = {} if host is not None and controls_access else None
            if host is None:
                return
            order = self._order = _Order(host, controls_access, sock)
            self._ordered.set()
            with trio.move_on_after(_ANSWERS_SECONDS):
                await order.told.wait()

    async def _connect(self, host: str) -> trio.socket.SocketType:
        with trio.move_on_after(CONNECT_SECONDS):
            return await connect(host, self.port)
        raise NotConnectedError(errno.ETIMEDOUT, f"no connection in {CONNECT_SECONDS:.0f} s")

    async def _leave(self) -> None:
        order, self._order = self._order, None
        if order is None:
            return
        self._ordered = trio.Event()
        if order.sock is not None:
            # Its task has not begun yet.
            order.sock.close()
            return
        order.scope.cancel()
        with trio.move_on_after(2 * _GOODBYE_SECONDS):
            await order.ended.wait()

    async def close(self) -> None:
        """Deregister from the server."""
        async with self._changing:
            await self._leave()

    async def run(self) -> None:
        """Keep the configured server up to date, until cancelled."""
        while True:
            await self._ordered.wait()
            order = self._order
            if order is None:
                # Removed in the meantime.
                continue
            try:
                with order.scope:
                    await self._serve(order)
            finally:
                order.ended.set()

    async def _serve(self, order: _Order) -> None:
        pause = FIRST_PAUSE
        while True:
            began = trio.current_time()
            why = "internal error"
            try:
                sock, order.sock = order.sock, None
                with sock or await self._connect(order.host) as sock:
                    await self._talk(order, sock)
            except LinkLostError as error:
                why = str(error)
            except Exception:
                log.exception("iSNS server %s: internal error", order.host)
            order.told.set()
            if trio.current_time() - began >= LONGEST_PAUSE:
                pause = FIRST_PAUSE
            _incidents.warning("iSNS server %s: %s; trying again in %.0f s", order.host, why, pause)
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _talk(self, order: _Order, sock: trio.socket.SocketType) -> None:
        """Register over one connection and keep it up to date; raises LinkLostError."""
        link = IsnsLink(sock, self._told)
        with lost_by_os_errors():
            local, server = link.local_address, link.peer_address
            portals = sorted(self._portals(local), key=lambda portal: portal.address != local)
            inquiries = Inquiries(portals[0].address, server, self._told) if portals else None
        registration = Registration(
            link,
            entity_name(self._driver.isns_entity_name, local),
            _entries(portals, inquiries),
            self._list if order.controls_access else None,
        )
        listen = trio.sleep_forever if inquiries is None else inquiries.run
        try:
            await _until_one_ends(link.run, listen, partial(self._keep_up, order, registration))
        except LinkLostError:
            raise
        except BaseException:
            # Another server was set, or none; there is time to deregister.
            with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                await _until_one_ends(link.run, registration.remove_all)
            raise
        finally:
            if inquiries is not None:
                inquiries.close()

    async def _keep_up(self, order: _Order, registration: Registration) -> None:
        while True:
            self._changed = changed = trio.Event()
            wanted = {t.name: t.alias for t in self._driver.targets.values() if t.enabled}
            self._forget_all_but(wanted)
            await registration.reconcile(wanted)
            if not order.told.is_set():
                log.info("registered with iSNS server %s", order.host)
                order.told.set()
            with trio.move_on_after(registration.refresh_seconds):
                await changed.wait()

    def _told(self, message: Message) -> None:
        """The server sent an unsolicited message: check everything again."""
        if message.function == Function.SCN:
            self.changed()

    def _forget_all_but(self, targets: Container[str]) -> None:
        """Forget the target: one that comes back is registered again."""
        if self._listed is not None:
            self._listed = {name: who for name, who in self._listed.items() if name in targets}

    def _list(self, target: str, initiators: frozenset[str]) -> None:
        if self._listed is not None:
            self._listed[target] = initiators


def _entries(portals: Sequence[NetworkPortal], inquiries: Inquiries | None) -> list[PortalEntry]:
    """The portals to register; the server reaches us at the first of them."""
    entries = [PortalEntry(portal.address, portal.port) for portal in portals]
    if inquiries is not None:
        port = inquiries.port
        entries[0] = entries[0]._replace(scn_port=port, esi_port=port, esi_interval=ESI_SECONDS)
    return entries


async def _until_one_ends(*tasks: Callable[[], Awaitable[None]]) -> None:
    """Run all, cancel the others when one ends; raises the LinkLostError that one ended with."""
    lost: LinkLostError | None = None
    async with trio.open_nursery() as nursery:

        async def run(task: Callable[[], Awaitable[None]]) -> None:
            nonlocal lost
            try:
                await task()
            except LinkLostError as error:
                lost = lost or error
            nursery.cancel_scope.cancel()

        for task in tasks:
            nursery.start_soon(run, task)
    if lost is not None:
        raise lost
