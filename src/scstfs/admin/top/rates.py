"""Counters, and the rates and averages from two readings."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOTAL: Final = re.compile(r"^total (\d+) \S+ \S+ (\d+(?:\.\d+)?) ", re.MULTILINE)
_RESOLUTION_US: Final = 0.05
"""The averages in latency files are rounded to 0.1 us."""

_COARSE: Final = 0.1
"""An average with a larger relative error is left out."""


class Counters(NamedTuple):
    """One reading of a session's counters.

    Attributes:
        seconds: when, of a monotonic clock.
        reads, writes: commands that ended, with data to and from the initiator.
        others: commands that ended, without data.
        read_kib, write_kib: data read and written (KiB).
    """

    seconds: float
    reads: int
    writes: int
    others: int
    read_kib: int
    write_kib: int


class Rates(NamedTuple):
    """Rates per second."""

    reads: float = 0.0
    writes: float = 0.0
    others: float = 0.0
    read_bytes: float = 0.0
    write_bytes: float = 0.0

    @property
    def commands(self) -> float:
        """Commands of all kinds."""
        return self.reads + self.writes + self.others

    @property
    def bytes(self) -> float:
        """Data in both directions."""
        return self.read_bytes + self.write_bytes

    def plus(self, other: Rates) -> Rates:
        """The sum of both."""
        return Rates(*(mine + its for mine, its in zip(self, other, strict=True)))

    def times(self, share: float) -> Rates:
        """A part of the rates."""
        return Rates(*(rate * share for rate in self))


NOTHING: Final = Rates()


def between(before: Counters, after: Counters) -> Rates:
    """The rates between two readings.

    A counter that fell was reset in between; its value counts since then.
    """
    seconds = after.seconds - before.seconds
    if seconds <= 0:
        return NOTHING
    reads, writes, others, read_kib, write_kib = (
        (now - then if now >= then else now) / seconds
        for then, now in zip(before[1:], after[1:], strict=True)
    )
    return Rates(reads, writes, others, read_kib * 1024, write_kib * 1024)


class Times(NamedTuple):
    """Latencies: the number of commands, and the sum of their times (us)."""

    commands: int = 0
    total_us: float = 0.0
    error_us: float = 0.0

    @classmethod
    def read(cls, text: str) -> Times:
        """From one file of ``latency/``."""
        match = _TOTAL.search(text)
        if match is None:
            return cls()
        count = int(match[1])
        return cls(count, count * float(match[2]), count * _RESOLUTION_US)

    def plus(self, other: Times) -> Times:
        """The sum of both."""
        return Times(
            self.commands + other.commands,
            self.total_us + other.total_us,
            self.error_us + other.error_us,
        )

    def since(self, before: Times) -> Times:
        """Those of the commands since *before*."""
        if self.commands < before.commands:
            return self
        return Times(
            self.commands - before.commands,
            max(self.total_us - before.total_us, 0.0),
            self.error_us + before.error_us,
        )

    @property
    def average_us(self) -> float | None:
        """The average (us); None without commands, or if rounding hides it."""
        if not self.commands or self.error_us > _COARSE * self.total_us:
            return None
        return self.total_us / self.commands
