"""One look at the tree: what the metrics and the page are made of."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scstfs.admin.distribution import Distribution
from scstfs.admin.files import Files
from scstfs.admin.kinds import INTERNAL_DRIVER
from scstfs.admin.observations import KeptStatistics
from scstfs.admin.presence import require_tree
from scstfs.admin.status.model import ALL, Overview, Section
from scstfs.admin.status.survey import survey

KINDS: Final = ("read", "write", "other")
"""Of commands: with data for the initiator, with data from it, all others."""

_CONFIGURED: Final = ALL - {Section.SESSIONS}
_DIRECTIONS: Final = ("read", "write", "none", "bidi", "unknown")
_WITH_DATA: Final = ("read", "write", "bidi")
_SHARE: Final = 8
"""The configuration is read again only after this many times the time that reading it took."""


@dataclass(frozen=True, slots=True)
class LunReading:
    """A LUN of a session.

    Attributes:
        active: commands under way.
        times: of each kind of commands: how many have ended, and the sum of their times (seconds).
    """

    lun: int
    device: str
    active: int
    times: Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class SessionReading:
    """A session.

    Attributes:
        group: of the LUN set that it uses; None for the target's.
        commands: under way.
        counters: of each direction: commands that have ended, and their bytes.
        connections: of each the initiator's address, and the portal.
        luns: None if the tree does not tell.
    """

    driver: str
    target: str
    name: str
    initiator: str
    group: str | None
    commands: int
    counters: Mapping[str, tuple[int, int]]
    connections: tuple[tuple[str, str], ...]
    luns: tuple[LunReading, ...] | None

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return f"targets/{self.driver}/{self.target}/sessions/{self.name}"


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """What scstfs tells of a device, besides its files.

    Attributes:
        active: commands under way.
        outcomes: commands that failed, by sense key, or else by status.
        reservation: None without registrations and reservation.
        times: by kind of commands and span.
    """

    name: str
    active: int
    outcomes: Mapping[str, int]
    reservation: Mapping[str, Any] | None
    times: Mapping[tuple[str, str], Distribution]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the tree.

    Attributes:
        when: seconds, monotonic clock.
        took: how long it took (seconds).
        overview: what is configured, and problems; without sessions.
        told: the statistics of the target as a whole; None for the kernel's SCST.
    """

    when: float
    took: float
    overview: Overview
    told: Mapping[str, Any] | None
    sessions: tuple[SessionReading, ...]
    devices: Mapping[str, DeviceReading] = field(default_factory=dict)


class TreeReader:
    """Reads a tree again and again. Use it in one thread at a time."""

    def __init__(self, root: str, most_open: int) -> None:
        """Keep at most *most_open* directories open."""
        self.root = root
        self._kept = KeptStatistics(root, most_open)
        self._overview: Overview | None = None
        self._read_at = self._took = 0.0

    def read(self, *, changed: bool = False) -> Reading:
        """Look at the tree. *changed*: it is known that the configuration has changed.

        Raises Mistake if there is no tree.
        """
        began = time.monotonic()
        require_tree(self.root)
        overview = self._configuration(began, changed=changed)
        told = self._kept.statistics("")
        sessions = self._sessions(overview, told is not None)
        devices = {}
        if told is not None:
            for device in overview.devices or ():
                found = self._kept.statistics(device.path)
                if found is not None:
                    devices[device.name] = _device(device.name, found)
        self._kept.keep_only(
            {"", *(session.path for session in sessions), *(f"devices/{name}" for name in devices)}
        )
        now = time.monotonic()
        return Reading(now, now - began, overview, told, sessions, devices)

    def close(self) -> None:
        """Close all files."""
        self._kept.close()

    def _configuration(self, now: float, *, changed: bool) -> Overview:
        is_stale = now - self._read_at > _SHARE * self._took
        if self._overview is None or changed or is_stale:
            self._overview = survey(Files(self.root), _CONFIGURED)
            self._read_at = time.monotonic()
            self._took = self._read_at - now
        return self._overview

    def _sessions(self, overview: Overview, is_told: bool) -> tuple[SessionReading, ...]:
        found = []
        for target in overview.targets or ():
            if target.driver == INTERNAL_DRIVER:
                continue
            for name in self._names(f"{target.path}/sessions"):
                read = self._told if is_told else self._looked_up
                session = read(target.driver, target.name, name)
                if session is not None:
                    found.append(session)
        return tuple(found)

    def _names(self, path: str) -> list[str]:
        try:
            return os.listdir(f"{self.root}/{path}")
        except OSError:
            return []

    def _told(self, driver: str, target: str, name: str) -> SessionReading | None:
        found = self._kept.statistics(f"targets/{driver}/{target}/sessions/{name}")
        if found is None:
            return None
        luns = found["luns"]
        return SessionReading(
            driver,
            target,
            name,
            found["initiator"],
            found["group"],
            found["commands"],
            {direction: (cmds, size) for direction, (cmds, size) in found["counters"].items()},
            tuple((address, portal) for address, portal in found["connections"]),
            None if luns is None else tuple(map(_lun, luns)),
        )

    def _looked_up(self, driver: str, target: str, name: str) -> SessionReading | None:
        """A session of the kernel's SCST, which has only files."""
        path = f"targets/{driver}/{target}/sessions/{name}"
        try:
            commands = self._number(f"{path}/commands")
        except OSError:
            return None
        counters = {}
        for direction in _DIRECTIONS:
            try:
                cmds = self._number(f"{path}/{direction}_cmd_count")
                size = 0
                if direction in _WITH_DATA:
                    size = self._number(f"{path}/{direction}_io_count_kb") << 10
            except OSError:
                continue
            counters[direction] = cmds, size
        return SessionReading(
            driver,
            target,
            name,
            self._line(f"{path}/initiator_name") or name,
            None,
            commands,
            counters,
            (),
            None,
        )

    def _line(self, path: str) -> str:
        try:
            with open(f"{self.root}/{path}", errors="backslashreplace") as file:
                return file.readline().rstrip("\n")
        except OSError:
            return ""

    def _number(self, path: str) -> int:
        """Raises OSError."""
        with open(f"{self.root}/{path}", "rb") as file:
            text = file.readline().strip()
        return int(text) if text.isdigit() else 0


def _lun(told: list[Any]) -> LunReading:
    lun, device, active, *numbers = told
    numbers += [0] * (2 * len(KINDS) - len(numbers))
    times = {
        kind: (numbers[2 * at], numbers[2 * at + 1] * 1e-9)
        for at, kind in enumerate(KINDS)
        if numbers[2 * at]
    }
    return LunReading(lun, device, active, times)


def _device(name: str, told: Mapping[str, Any]) -> DeviceReading:
    return DeviceReading(
        name,
        told["active"],
        told["outcomes"],
        told["reservation"],
        {
            (kind, span): Distribution.of(numbers)
            for kind, spans in told["times"].items()
            for span, numbers in spans.items()
        },
    )
