"""The LUNs that sessions see, and their devices."""

from __future__ import annotations

from typing import Final

from scstfs.admin.top.kept import Kept
from scstfs.admin.top.watched_session import SessionPlace

_REFRESH: Final = 10
"""Readings after which rarely changing data is read again: the LUN set of a session, and the device
of a known LUN.
"""


class LunSets:
    """The LUN sets that sessions see."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._looks = 0
        self._of: dict[SessionPlace, str] = {}
        self._sets: dict[str, dict[int, str]] = {}

    def of(self, place: SessionPlace) -> dict[int, str]:
        """Devices by LUN, in order; empty for a session that is gone."""
        path = self._of.get(place)
        if path is None:
            # The link leads to luns or to ini_groups/GROUP/luns of the session's target.
            parts = [part for part in self._kept.link(f"{place.path}/luns") if part != ".."]
            if not parts:
                return {}
            path = f"targets/{place.driver}/{place.target}/{'/'.join(parts)}"
            self._of[place] = path
        devices = self._sets.get(path)
        if devices is None:
            devices = self._sets[path] = self._devices(path, {})
        return devices

    def look(self) -> None:
        """Read what has changed."""
        self._looks += 1
        if self._looks % _REFRESH == 0:
            self._of.clear()
            self._sets.clear()
            return
        for path, devices in self._sets.items():
            self._sets[path] = self._devices(path, devices)

    def forget(self, place: SessionPlace) -> None:
        """Read a session and its LUNs again."""
        path = self._of.pop(place, "")
        self._sets.pop(path, None)

    def _devices(self, path: str, known: dict[int, str]) -> dict[int, str]:
        luns = sorted(int(name) for name in self._kept.names(path) if name.isdecimal())
        devices = {}
        for lun in luns:
            device = known.get(lun) or (self._kept.link(f"{path}/{lun}/device") or [""])[-1]
            if device:
                devices[lun] = device
        return devices
