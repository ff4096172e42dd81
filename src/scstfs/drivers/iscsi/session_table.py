"""All sessions: found by initiator port, numbered, reinstated, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from scstfs.iscsi.codes import AsyncEvent, LoginStatus
from scstfs.iscsi.errors import LoginRefused

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import IscsiTarget
    from scstfs.drivers.iscsi.discovery_session import DiscoverySession
    from scstfs.drivers.iscsi.nexus import Nexus
    from scstfs.iscsi.discovery import NetworkPortal

#: Seconds that initiators have to log out when asked to (Parameter3 of RFC 7143 11.9.1).
LOGOUT_SECONDS: Final = 1
#: Most discovery sessions at a time; the oldest is dropped for one more.
MAX_DISCOVERIES: Final = 1024
#: Target Session Identifying Handles have 16 bits, and 0 is none (RFC 7143 11.12.6).
_HANDLES: Final = 0xFFFF


#: An initiator port and the target that it has a session with.
_Port: TypeAlias = "tuple[IscsiTarget, str, bytes]"


def _port_of(nexus: Nexus) -> _Port:
    return nexus.target, nexus.initiator.lower(), nexus.isid


class SessionTable:
    """Normal sessions and discovery sessions."""

    def __init__(self) -> None:
        #: By initiator port and target: the one that a login would reinstate is the last, those
        #: before it are ending.
        self._sessions: dict[_Port, list[Nexus]] = {}
        self._discoveries: dict[DiscoverySession, None] = {}
        self._tsih = 0
        self._session_ended = trio.Event()

    def find(self, target: IscsiTarget, initiator: str, isid: bytes) -> Nexus | None:
        """The session of an initiator port with a target."""
        sessions = self._sessions.get((target, initiator.lower(), isid))
        return None if sessions is None else sessions[-1]

    def of(self, target: IscsiTarget) -> list[Nexus]:
        """The sessions with a target."""
        return [found[-1] for key, found in self._sessions.items() if key[0] is target]

    def _all(self) -> Iterator[Nexus]:
        """All sessions, those that are ending, too."""
        return chain.from_iterable(self._sessions.values())

    def add(self, nexus: Nexus) -> None:
        """A session begins; it reinstates a discovery session that named its target (7.4.2.2)."""
        self._sessions.setdefault(_port_of(nexus), []).append(nexus)
        self._end_discovery(nexus.initiator.lower(), nexus.isid, nexus.target.name.lower())

    def forget(self, nexus: Nexus) -> None:
        """A session has ended."""
        # A session that never began may end before the one that it reinstates. The next login must
        # wait for that one, too.
        port = _port_of(nexus)
        sessions = self._sessions.get(port, [])
        if nexus in sessions:
            sessions.remove(nexus)
            if not sessions:
                del self._sessions[port]
        self._session_ended.set()

    def add_discovery(self, session: DiscoverySession) -> None:
        """A discovery session begins; it reinstates one of the same port (RFC 7143 7.4.2.1)."""
        self._end_discovery(*session.key)
        self._discoveries[session] = None
        if len(self._discoveries) > MAX_DISCOVERIES:
            oldest = next(iter(self._discoveries))
            oldest.disconnect("too many discovery sessions")
            self.forget_discovery(oldest)

    def _end_discovery(self, initiator: str, isid: bytes, with_whom: str | NetworkPortal) -> None:
        key = initiator, isid, with_whom
        for session in [session for session in self._discoveries if session.key == key]:
            session.disconnect("session reinstatement")
            self.forget_discovery(session)

    def forget_discovery(self, session: DiscoverySession) -> None:
        """A discovery session has ended."""
        self._discoveries.pop(session, None)

    def take_tsih(self) -> int:
        """An unused Target Session Identifying Handle; raises LoginRefused if all are used."""
        used = {nexus.tsih for nexus in self._all()}
        if len(used) == _HANDLES:
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, "there are too many sessions")
        while True:
            self._tsih = self._tsih % _HANDLES + 1
            if self._tsih not in used:
                return self._tsih

    def request_logout(self) -> None:
        """Ask all initiators to log out."""
        for nexus in self._all():
            nexus.announce(AsyncEvent.LOGOUT_REQUESTED, LOGOUT_SECONDS)

    async def close(self, deadline: float) -> None:
        """Drop the sessions that are left at ``deadline`` (trio time), and wait for their end."""
        with trio.move_on_at(deadline):
            await self._all_ended()
        for nexus in list(self._all()):
            nexus.announce(AsyncEvent.SESSION_DROPPED)
            nexus.wire.flush()
            nexus.disconnect("the target shuts down")
            nexus.end()
        await self._all_ended()

    async def _all_ended(self) -> None:
        while self._sessions:
            self._session_ended = trio.Event()
            await self._session_ended.wait()
