"""What counters say, and what follows from two readings of them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOTAL: Final = re.compile(r"^total (\d+) \S+ \S+ (\d+(?:\.\d+)?) ", re.MULTILINE)
_RESOLUTION_US: Final = 0.05
"""The averages in latency files are rounded to 0.1 us."""

_COARSE: Final = 0.1
"""An average that may be off by more than this part of itself is not told."""


class Counters(NamedTuple):
    """One reading of a session's counters.

    Attributes:
        seconds: when, of a monotonic clock.
        reads, writes: commands that ended, with data to and from the initiator.
        others: commands that ended, without data.
        read_kib, write_kib: data that reads and writes were about (KiB).
    """

    seconds: float
    reads: int
    writes: int
    others: int
    read_kib: int
    write_kib: int


class Rates(NamedTuple):
    """How much there is per second."""

    reads: float = 0.0
    writes: float = 0.0
    others: float = 0.0
    read_bytes: float = 0.0
    write_bytes: float = 0.0

    @property
    def commands(self) -> float:
        """Of all kinds."""
        return self.reads + self.writes + self.others

    @property
    def bytes(self) -> float:
        """Both ways."""
        return self.read_bytes + self.write_bytes

    def plus(self, other: Rates) -> Rates:
        """Both together."""
        return Rates(*(mine + its for mine, its in zip(self, other, strict=True)))

    def times(self, share: float) -> Rates:
        """A share of it."""
        return Rates(*(rate * share for rate in self))


NOTHING: Final = Rates()


def between(before: Counters, after: Counters) -> Rates:
    """The rates between two readings.

    A counter that fell was set to zero in between, and has counted since then what it shows.
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
    """How long commands took: how many they were, and all their times together (us)."""

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
        """Both together."""
        return Times(
            self.commands + other.commands,
            self.total_us + other.total_us,
            self.error_us + other.error_us,
        )

    def since(self, before: Times) -> Times:
        """Of the commands that came after *before*."""
        if self.commands < before.commands:
            return self
        return Times(
            self.commands - before.commands,
            max(self.total_us - before.total_us, 0.0),
            self.error_us + before.error_us,
        )

    @property
    def average_us(self) -> float | None:
        """None where there were none, or where so few came to so many that rounding hides it."""
        if not self.commands or self.error_us > _COARSE * self.total_us:
            return None
        return self.total_us / self.commands
