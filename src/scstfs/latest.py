"""The latest of what happens, in a memory that neither grows nor gets scattered.

They are kept as text in one piece of memory. As objects they would lie among those of sessions, and
keep the memory of sessions that have gone from being given back.
"""

from __future__ import annotations

import json
from typing import Any


class LatestLines:
    """A line of JSON for each value; the oldest are forgotten."""

    def __init__(self, most_bytes: int) -> None:
        """Keep at most *most_bytes* bytes."""
        self._most = most_bytes
        self._kept = bytearray()

    def add(self, value: object) -> None:
        """Keep a value, which must be shorter than all the room there is."""
        self._kept += json.dumps(value, separators=(",", ":")).encode()
        self._kept += b"\n"
        over = len(self._kept) - self._most
        if over > 0:
            del self._kept[: self._kept.index(b"\n", over - 1) + 1]

    @property
    def text(self) -> str:
        """All lines, the newest last."""
        return self._kept.decode()

    @property
    def values(self) -> list[Any]:
        """All values, the newest last."""
        return list(map(json.loads, self._kept.splitlines()))
