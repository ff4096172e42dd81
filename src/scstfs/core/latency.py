"""Latency statistics of a session (``latency/`` while ``measure_latency`` is 1).

SCST splits a command's life into processing states.  The states that exist here are the ones
scstfs distinguishes; the lines have SCST's format.  Times are kept in units of 100 ns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

#: Files of ``latency/``: a letter for the direction and the upper bound of the size in bytes.
SIZES: Final = tuple(512 << i for i in range(11))
KINDS: Final = "nrwb"

HEADING: Final = "state count min max avg stddev\n"


class Samples:
    """Count, extremes and moments of one quantity."""

    __slots__ = ("count", "maximum", "minimum", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.squares = 0
        self.minimum = 0
        self.maximum = 0

    def add(self, value: int) -> None:
        """Count one value (100 ns)."""
        self.minimum = min(self.minimum, value) if self.count else value
        self.maximum = max(self.maximum, value)
        self.count += 1
        self.total += value
        self.squares += value * value

    def line(self, name: str) -> str:
        """``NAME count min max avg stddev us``."""
        mean = self.total / self.count
        deviation = math.sqrt(max(self.squares / self.count - mean * mean, 0.0))
        numbers = (self.minimum, self.maximum, mean, deviation)
        return f"{name} {self.count} " + " ".join(f"{n / 10:.1f}" for n in numbers) + " us\n"


class LatencyStatistics:
    """All files of one session's ``latency/``."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, int], dict[str, Samples]] = {}
        self._totals: dict[tuple[str, int], Samples] = {}

    def clear(self) -> None:
        """Reset all, as a write to any of the files does."""
        self._states.clear()
        self._totals.clear()

    def add(self, kind: str, length: int, spans: Iterable[tuple[str, int]]) -> None:
        """Count one command of direction ``kind`` (one of KINDS) and ``length`` bytes.

        ``spans`` are (state, time in 100 ns) in the order the command went through them.
        Commands larger than the largest size are counted with it.
        """
        size = min(max(SIZES[0], 1 << max(length - 1, 0).bit_length()), SIZES[-1])
        key = (kind, size)
        states = self._states.setdefault(key, {})
        total = 0
        for state, span in spans:
            states.setdefault(state, Samples()).add(span)
            total += span
        self._totals.setdefault(key, Samples()).add(total)

    def text(self, kind: str, size: int) -> str:
        """Contents of the file for ``kind`` and ``size``."""
        states = self._states.get((kind, size))
        if not states:
            return HEADING
        lines = [samples.line(name) for name, samples in states.items()]
        total = self._totals[kind, size]
        mean = total.total / total.count
        deviation = math.sqrt(max(total.squares / total.count - mean * mean, 0.0))
        lines.append(f"total {total.count} - - {mean / 10:.1f} {deviation / 10:.1f} us\n")
        return HEADING + "".join(lines)
