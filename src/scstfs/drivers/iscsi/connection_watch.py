"""What happens to connections because time passes, or because somebody wants to see their PDUs."""

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
#: For what may happen again and again.
_incidents: Final = RateLimited(log)


class Watched(Protocol):
    """The session of a connection that is watched."""

    @property
    def limits(self) -> Limits:
        """What the peer is given time for."""

    def disconnect(self, why: str) -> None:
        """Close the connection."""


class ConnectionWatch:
    """The connections in full-feature phase."""

    def __init__(self, trace: TraceLog) -> None:
        """``trace`` is where PDUs are told, if anywhere."""
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
        """Other categories of events go to the log."""
        for watchdog, owner in self._watched.values():
            pdu_trace.follow(self._trace, owner, watchdog.connection)

    def tick(self) -> None:
        """Look at all timers; to be called about once a second."""
        now = trio.current_time()
        for wire, (watchdog, owner) in list(self._watched.items()):
            try:
                _look_after(wire, watchdog, owner, now)
            except Exception:
                # A bug in one connection must not be the end of all.
                wire.fail()


def _look_after(wire: Wire, watchdog: Watchdog, owner: Watched, now: float) -> None:
    reason = watchdog.check(now, owner.limits)
    if reason is not None:
        _incidents.warning("%s: %s: %s", wire.peer, owner, reason)
        owner.disconnect(reason)
    else:
        wire.flush()
