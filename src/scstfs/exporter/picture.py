"""What the page shows: the map of what is configured, and rates from two readings."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from scstfs.admin.distribution import Distribution, together
from scstfs.admin.files import Files
from scstfs.admin.kinds import INTERNAL_DRIVER
from scstfs.admin.status.model import ALL, Section
from scstfs.exporter.reading import KINDS, DeviceReading, Reading, SessionReading

HEAT_BOUNDS: Final = tuple(10e-6 * 10 ** (step / 5) for step in range(31))
"""Bounds of the rows of the heat map (seconds): 10 us to 10 s, five for each power of ten."""

_SECTIONS: Final = ALL - {Section.SESSIONS}
_PERCENTILES: Final = (0.5, 0.9, 0.99)


class LivePicture:
    """The texts of the page's requests, made once for each reading."""

    def __init__(self) -> None:
        self.map = b"{}"
        """What is configured: JSON."""
        self.map_number = 0
        """Counts the changes of `map`."""
        self.live = b"{}"
        """Rates and times since the reading before: JSON."""
        self._before: Reading | None = None

    def update(self, reading: Reading | None) -> None:
        """There is a new reading, or no tree."""
        made = _encoded(_map(reading))
        if made != self.map:
            self.map = made
            self.map_number += 1
        live = _live(self._before, reading)
        live["map"] = self.map_number
        self.live = _encoded(live)
        self._before = reading


def _encoded(value: Mapping[str, Any]) -> bytes:
    # Names may have bytes that are no UTF-8, which are kept as surrogates.
    return json.dumps(value, separators=(",", ":")).encode()


def _map(reading: Reading | None) -> dict[str, Any]:
    if reading is None:
        return {"running": False}
    parts = reading.overview.json(_SECTIONS)
    parts["running"] = True
    parts["told"] = reading.told is not None
    parts["targets"] = [each for each in parts["targets"] if each["driver"] != INTERNAL_DRIVER]
    for device in parts["devices"]:
        seen = reading.devices.get(device["name"])
        device["reservation"] = None if seen is None else seen.reservation
    parts["sessions"] = [_session(session) for session in reading.sessions]
    return parts


def _session(session: SessionReading) -> dict[str, Any]:
    return {
        "path": session.path,
        "driver": session.driver,
        "target": session.target,
        "name": session.name,
        "initiator": session.initiator,
        "group": session.group,
        "connections": session.connections,
        "luns": None if session.luns is None else len(session.luns),
    }


def _rate(before: int, now: int, seconds: float) -> float:
    # A counter that fell was reset.
    return round((now - before if now >= before else now) / seconds, 2)


def _session_rates(
    before: SessionReading | None, now: SessionReading, seconds: float
) -> list[float]:
    """Per second: reads, writes, others, bytes read, bytes written; then commands under way."""
    rates = [0.0] * 5
    if before is not None:
        for direction, (cmds, size) in now.counters.items():
            cmds_before, size_before = before.counters.get(direction, (0, 0))
            place = {"read": 0, "write": 1}.get(direction, 2)
            rates[place] += _rate(cmds_before, cmds, seconds)
            if place < 2:
                rates[3 + place] += _rate(size_before, size, seconds)
    return [*rates, now.commands]


def _new(before: DeviceReading | None, now: DeviceReading, kind: str, span: str) -> Distribution:
    found = now.times.get((kind, span), Distribution())
    known = None if before is None else before.times.get((kind, span))
    return found if known is None else found.since(known)


def _microseconds(found: Distribution) -> list[float | None]:
    """Percentiles."""
    seconds = [found.percentile(share) for share in _PERCENTILES]
    return [None if each is None else round(each * 1e6, 1) for each in seconds]


def _live(before: Reading | None, now: Reading | None) -> dict[str, Any]:
    made: dict[str, Any] = {"time": round(time.time(), 3), "seconds": None}
    if now is None or before is None:
        return made
    seconds = max(now.when - before.when, 1e-3)
    known = {session.path: session for session in before.sessions}
    sessions = {
        session.path: _session_rates(known.get(session.path), session, seconds)
        for session in now.sessions
    }
    total = [round(sum(column), 2) for column in zip(*sessions.values(), strict=True)]
    times: dict[str, list[Distribution]] = {kind: [] for kind in KINDS}
    devices: dict[str, Any] = {}
    for name, device in now.devices.items():
        earlier = before.devices.get(name)
        new = {kind: _new(earlier, device, kind, "total") for kind in KINDS}
        for kind, found in new.items():
            times[kind].append(found)
        errors = sum(device.outcomes.values())
        devices[name] = {
            "rates": [round(new[kind].count / seconds, 2) for kind in KINDS],
            "depth": device.active,
            "errors": errors,
            "read": _microseconds(new["read"]),
            "write": _microseconds(new["write"]),
        }
    whole = {kind: together(found) for kind, found in times.items()}
    made |= {
        "seconds": round(seconds, 3),
        "total": total or [0.0] * 6,
        "sessions": {path: rates for path, rates in sessions.items() if any(rates)},
        "devices": devices,
        "latency": {kind: _microseconds(found) for kind, found in whole.items()},
        "heat": {kind: found.grouped(HEAT_BOUNDS) for kind, found in whole.items()},
        "took": round(now.took, 4),
        "counts": None if now.told is None else now.told["counts"],
    }
    return made


def session_details(reading: Reading | None, path: str, root: str) -> dict[str, Any] | None:
    """A session of the tree at *root* with its LUNs and keys; None if there is none."""
    if reading is None:
        return None
    for session in reading.sessions:
        if session.path == path:
            luns = [asdict(lun) for lun in session.luns or ()]
            return {**_session(session), "lun_list": luns, "negotiated": _keys(Files(root), path)}
    return None


def _keys(files: Files, path: str) -> dict[str, str]:
    """What was negotiated: the attributes with the names of iSCSI keys, which are capitalised."""
    found = {}
    try:
        for name, kind in files.entries(path).items():
            if name[0].isupper() and stat.S_ISREG(kind):
                found[name] = files.text(f"{path}/{name}").value
    except OSError:
        return {}
    return found
