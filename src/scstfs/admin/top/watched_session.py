"""One watched session."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from scstfs.admin.top.kept import Kept
from scstfs.admin.top.rates import NOTHING, Counters, Rates, Times, between

COUNTS: Final = ("read_cmd_count", "write_cmd_count", "none_cmd_count")
"""Attributes of sessions and, summed up, of targets."""

_VOLUMES: Final = ("read_io_count_kb", "write_io_count_kb")
_ACTIVE: Final = "active_commands"

_SIZES: Final = tuple(512 << shift for shift in range(11))
"""Upper bounds of the sizes (bytes) of the files in ``latency/``."""

_FADE: Final = 0.7
"""The factor for the weight of earlier queue depths at each reading."""


class SessionPlace(NamedTuple):
    """The place of a session."""

    driver: str
    target: str
    name: str

    @property
    def path(self) -> str:
        """Its directory in the tree."""
        return f"targets/{self.driver}/{self.target}/sessions/{self.name}"


@dataclass(frozen=True, slots=True)
class LunSeen:
    """A LUN of a session.

    Attributes:
        depth: commands under way, averaged since the last reading.
        weight: likewise over a longer time; only its ratio to the session's other LUNs matters.
    """

    lun: int
    device: str
    depth: float
    weight: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The activity of a session between two readings.

    Attributes:
        depth: commands under way, averaged since the last reading.
        read_us, write_us: average latencies (us); None if they were not measured, or there were no
            such commands.
    """

    place: SessionPlace
    rates: Rates
    depth: float
    luns: tuple[LunSeen, ...]
    read_us: float | None
    write_us: float | None


class WatchedSession:
    """Reads those of a session's attributes that can have changed. All methods raise OSError."""

    def __init__(self, kept: Kept, place: SessionPlace) -> None:
        self.place = place
        self.rates = NOTHING
        self._kept = kept
        self._path = place.path
        self._counters: Counters | None = None
        self._samples = 0
        self._depth_sum = 0
        self._lun_sums: dict[int, int] = {}
        self._weights: dict[int, float] = {}
        self._times: dict[str, Times] = {}
        self._averages: dict[str, float | None] = {}

    @property
    def is_busy(self) -> bool:
        """Return whether there was activity since the reading before the last."""
        return self.rates != NOTHING or self._depth_sum > 0

    def count(self, idle: bool) -> None:
        """Read the counters, unless the session is known to be *idle*."""
        before = self._counters
        if idle and before is not None:
            self._counters = before._replace(seconds=time.monotonic())
            self.rates = NOTHING
            return
        counts = [self._kept.number(self._path, name) for name in COUNTS]
        seconds = time.monotonic()
        if before is not None and counts == [before.reads, before.writes, before.others]:
            volumes = [before.read_kib, before.write_kib]
        else:
            volumes = [self._kept.number(self._path, name) for name in _VOLUMES]
        after = self._counters = Counters(seconds, *counts, *volumes)
        self.rates = NOTHING if before is None else between(before, after)

    def sample(self, luns: Collection[int]) -> None:
        """Read how many commands are under way, for each of its *luns* if there are several."""
        active = self._kept.number(self._path, _ACTIVE)
        self._samples += 1
        self._depth_sum += active
        if active and len(luns) > 1:
            for lun in luns:
                depth = self._kept.number(self._path, f"lun{lun}/{_ACTIVE}")
                self._lun_sums[lun] = self._lun_sums.get(lun, 0) + depth

    @property
    def activity(self) -> tuple[float, int]:
        """A key for comparing sessions: present activity, then past activity."""
        counters = self._counters
        return self.rates.commands, counters.reads + counters.writes if counters else 0

    def measure(self) -> None:
        """Read the latencies of its recent commands, and at the first reading those of all its
        commands.
        """
        for kind, rate in (("r", self.rates.reads), ("w", self.rates.writes)):
            if rate or kind not in self._times:
                now = Times()
                for size in _SIZES:
                    now = now.plus(Times.read(self._kept.read(self._path, f"latency/{kind}{size}")))
                before = self._times.get(kind)
                self._times[kind] = now
                self._averages[kind] = None if before is None else now.since(before).average_us

    def take(self, luns: Mapping[int, str]) -> Seen:
        """The activity since the last call; *luns* are its LUNs with their devices."""
        samples = max(self._samples, 1)
        depth = self._depth_sum / samples
        depths = {lun: self._lun_sums.get(lun, 0) / samples for lun in luns}
        if len(luns) == 1:
            depths = dict.fromkeys(luns, depth)
        self._weights = {lun: depths[lun] + _FADE * self._weights.get(lun, 0.0) for lun in luns}
        seen = Seen(
            self.place,
            self.rates,
            depth,
            tuple(
                LunSeen(lun, device, depths[lun], self._weights[lun])
                for lun, device in luns.items()
            ),
            self._averages.get("r"),
            self._averages.get("w"),
        )
        self._samples = self._depth_sum = 0
        self._lun_sums.clear()
        self._averages.clear()
        return seen
