"""Timers and PDU traces of connections."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

import trio

from scstfs.drivers.iscsi import pdu_trace
from scstfs.iscsi.watchdog import Limits, Watchdog
from scstfs.log import RateLimited

if TYPE_CHECKING:
    from scstfs.core.trace import TraceLog
    from scstfs.drivers.iscsi.wire import Wire
    from scstfs.iscsi.connection import Connection

log = logging.getLogger(__name__)
#: For incidents that may repeat.
_incidents: Final = RateLimited(log)


class Watched(Protocol):
    """The session of a connection that is watched."""

    @property
    def limits(self) -> Limits:
        """The peer's time limits."""

    def disconnect(self, why: str) -> None:
        """Close the connection."""


class ConnectionWatch:
    """The connections in full-feature phase."""

    def __init__(self, trace: TraceLog) -> None:
        """``trace`` logs PDUs if its category is on."""
        self._trace = trace
        self._watched: dict[Wire, tuple[Watchdog, Watched]] = {}

    def add(self, wire: Wire, connection: Connection, owner: Watched) -> None:
        """Watch a connection in full-feature phase, until ``remove``."""
        self._watched[wire] = Watchdog(connection, trio.current_time()), owner
        pdu_trace.follow(self._trace, owner, connection)

    def remove(self, wire: Wire) -> None:
        """The connection has ended."""
        self._watched.pop(wire, None)

    def trace_changed(self) -> None:
        """Other trace categories are enabled now."""
        for watchdog, owner in self._watched.values():
            pdu_trace.follow(self._trace, owner, watchdog.connection)

    def tick(self) -> None:
        """Check all timers; call it about once a second."""
        now = trio.current_time()
        for wire, (watchdog, owner) in list(self._watched.items()):
            try:
                _look_after(wire, watchdog, owner, now)
            except Exception:
                # A bug in one connection must not stop the others.
                wire.fail()


def _look_after(wire: Wire, watchdog: Watchdog, owner: Watched, now: float) -> None:
    reason = watchdog.check(now, owner.limits)
    if reason is not None:
        _incidents.warning("%s: %s: %s", wire.peer, owner, reason)
        owner.disconnect(reason)
    else:
        wire.flush()
