"""The sessions of a tree, read periodically.

Most attributes are read only if there is activity: the counters of a target's sessions if the
target's sums have changed, LUNs while their session has commands under way, latencies of the
busiest sessions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from scstfs.admin.presence import require_tree
from scstfs.admin.top.kept import Kept
from scstfs.admin.top.lun_sets import LunSets
from scstfs.admin.top.watched_session import COUNTS, Seen, SessionPlace, WatchedSession

MOST_MEASURED: Final = 50
"""The most sessions whose latencies are read: 11 files for each direction."""


class _Target:
    """The sessions of a target."""

    def __init__(self, kept: Kept, driver: str, name: str) -> None:
        self.sessions: dict[str, WatchedSession] = {}
        self._kept = kept
        self._driver, self._name = driver, name
        self._path = f"targets/{driver}/{name}"
        self._sums: list[int] = []

    def look(self) -> None:
        """Read the sessions and their counters. Raises OSError if the target is gone."""
        sums = [self._kept.number(self._path, name) for name in COUNTS]
        names = self._kept.names(f"{self._path}/sessions")
        gone = self.sessions.keys() - set(names)
        # The sessions are the same and their sums have not changed, so none did anything.
        idle = not gone and len(names) == len(self.sessions) and sums == self._sums
        self._sums = sums
        for name in gone:
            self.forget(name)
        for name in names:
            session = self.sessions.get(name)
            if session is None:
                place = SessionPlace(self._driver, self._name, name)
                session = self.sessions[name] = WatchedSession(self._kept, place)
            try:
                session.count(idle)
            except OSError:
                self.forget(name)

    def forget(self, name: str) -> None:
        """A session is gone."""
        self._kept.forget(self.sessions.pop(name).place.path)

    def close(self) -> None:
        """The target is gone."""
        for name in list(self.sessions):
            self.forget(name)
        self._kept.forget(self._path)


class SessionWatch:
    """All sessions of a tree.

    Attributes:
        is_measuring: the tree measures latencies.
    """

    def __init__(self, kept: Kept) -> None:
        self.is_measuring = False
        self._kept = kept
        self._luns = LunSets(kept)
        self._targets: dict[tuple[str, str], _Target] = {}

    @property
    def session_count(self) -> int:
        """The number of sessions at the last reading."""
        return sum(len(target.sessions) for target in self._targets.values())

    def look(self) -> list[Seen]:
        """The activity of all sessions since the last reading.

        Raises Mistake.
        """
        require_tree(self._kept.root)
        try:
            self.is_measuring = self._kept.number(".", "measure_latency") != 0
        except OSError:  # since SCST 3.3
            self.is_measuring = False
        self._luns.look()
        self._look_at_targets()
        self.sample()
        sessions = list(self._sessions())
        if self.is_measuring:
            busiest = sorted(sessions, key=lambda session: session.activity, reverse=True)
            for session in busiest[:MOST_MEASURED]:
                with contextlib.suppress(OSError):
                    session.measure()
        return [session.take(self._luns.of(session.place)) for session in sessions]

    def sample(self, *, busy_only: bool = False) -> None:
        """Read how many commands are under way."""
        for session in self._sessions():
            if busy_only and not session.is_busy:
                continue
            try:
                session.sample(self._luns.of(session.place))
            except OSError:
                self._luns.forget(session.place)

    def _sessions(self) -> Iterator[WatchedSession]:
        for target in self._targets.values():
            yield from target.sessions.values()

    def _look_at_targets(self) -> None:
        names = [
            (driver, target)
            for driver in self._kept.names("targets")
            for target in self._kept.directories(f"targets/{driver}")
        ]
        for place in self._targets.keys() - set(names):
            self._targets.pop(place).close()
        for place in names:
            target = self._targets.get(place)
            if target is None:
                target = self._targets[place] = _Target(self._kept, *place)
            try:
                target.look()
            except OSError:
                self._targets.pop(place).close()
