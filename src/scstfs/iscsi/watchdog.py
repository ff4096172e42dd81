"""NOP-In pings, and deadlines for what the peer must do (RFC 7143 11.19, 10.3).

``check`` is called about once a second and compares counters with their earlier values, so the data
path has nothing to record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from scstfs.iscsi.connection import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds; an interval of 0 means that there are no pings."""

    nop_in_interval: int
    nop_in_timeout: int
    rsp_timeout: int
    silence: int = 0
    """How long the peer may be silent; 0 means without limit."""


class _Progress(Generic[T]):
    """A value that should change as long as the peer is alive."""

    __slots__ = ("_seen", "_since")

    def __init__(self, seen: T, now: float) -> None:
        self._seen, self._since = seen, now

    def standstill(self, value: T, now: float) -> float:
        """How long (seconds) the value has been the same."""
        if value != self._seen:
            self._seen, self._since = value, now
        return now - self._since


class Watchdog:
    """Watches one connection."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self._received = _Progress(connection.rx.total, now)
        self._sent = _Progress(connection.tx.sent_total, now)
        self._data = _Progress(connection.write_data.received_total, now)
        self._pinged = 0.0

    def check(self, now: float, limits: Limits) -> str | None:
        """Send a ping if it is due; return why the connection must be closed, or None.

        ``now`` is in seconds.
        """
        connection = self.connection
        silence = self._received.standstill(connection.rx.total, now)
        if connection.ping is not None:
            if now - self._pinged >= limits.nop_in_timeout:
                return f"no answer to a NOP-In for {limits.nop_in_timeout} s"
        elif limits.nop_in_interval and silence >= limits.nop_in_interval:
            self._pinged = now
            connection.send_ping()
        if limits.silence and silence >= limits.silence:
            return f"nothing was asked for {limits.silence} s"
        tx = connection.tx
        # Bytes that are not pending any more have been taken; that is progress, too.
        stuck = self._sent.standstill(tx.sent_total if tx.pending else -1, now)
        if tx.pending and stuck >= limits.rsp_timeout:
            return f"answers have not been taken for {limits.rsp_timeout} s"
        if self._data_standstill(now) >= limits.rsp_timeout:
            return f"data has not come for {limits.rsp_timeout} s"
        connection.functions.lose_patience(now)
        return None

    def _data_standstill(self, now: float) -> float:
        """How long (seconds) writes have waited without any data arriving."""
        connection = self.connection
        waits = any(task.awaits_data for task in connection.tasks.by_tag.values())
        standstill = self._data.standstill(
            connection.write_data.received_total if waits else -1, now
        )
        return standstill if waits else 0.0
