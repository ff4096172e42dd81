"""Histograms as the tree tells them (`scstfs.admin.observations`): counts of times by bucket.

The unit of time is 256 ns. Up to 16 units a bucket is one unit wide; beyond that each power of two
is divided into eight buckets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

_UNIT: Final = 256e-9
_PARTS: Final = 8


def lower_bound(bucket: int) -> float:
    """The least time (seconds) in a bucket, and the bound of those in the bucket before."""
    shift = max(bucket // _PARTS - 1, 0)
    return ((bucket - shift * _PARTS) << shift) * _UNIT


class Distribution:
    """How many commands took how long."""

    def __init__(self, total: float = 0.0, counts: Mapping[int, int] | None = None) -> None:
        """*total* is the sum of all times (seconds)."""
        self.total = total
        self.counts: dict[int, int] = dict(counts or {})

    @classmethod
    def of(cls, told: Sequence[int]) -> Distribution:
        """From what the tree tells: the sum (ns), then buckets and their counts in turn."""
        total, *pairs = told
        return cls(total * 1e-9, dict(zip(pairs[::2], pairs[1::2], strict=True)))

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.counts.values())

    def plus(self, other: Distribution) -> Distribution:
        """Both together."""
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Distribution(self.total + other.total, counts)

    def since(self, before: Distribution) -> Distribution:
        """Those that were not yet in an earlier reading; all if it has more, of another device."""
        new = {b: count - before.counts.get(b, 0) for b, count in self.counts.items()}
        if self.count < before.count or any(count < 0 for count in new.values()):
            return self
        left = {bucket: count for bucket, count in new.items() if count}
        return Distribution(max(self.total - before.total, 0.0), left)

    def percentile(self, share: float) -> float | None:
        """The time (seconds) that a *share* of the commands did not exceed; None without any."""
        wanted, seen = share * self.count, 0
        for bucket in sorted(self.counts):
            count = self.counts[bucket]
            if seen + count >= wanted and count:
                lower, upper = lower_bound(bucket), lower_bound(bucket + 1)
                return lower + (upper - lower) * (wanted - seen) / count
            seen += count
        return None

    def grouped(self, bounds: Sequence[float]) -> list[int]:
        """The counts of what is below each of the ascending *bounds* (seconds), and of the rest.

        A bucket that a bound divides counts below it if most of it is.
        """
        groups = [0] * (len(bounds) + 1)
        for bucket, count in self.counts.items():
            middle = (lower_bound(bucket) + lower_bound(bucket + 1)) / 2
            groups[bisect_right(bounds, middle)] += count
        return groups

    def cumulated(self, bounds: Sequence[float]) -> list[int]:
        """Like `grouped`, each count including those before it."""
        return list(accumulate(self.grouped(bounds)))


def together(distributions: Iterable[Distribution]) -> Distribution:
    """All of them in one."""
    found = Distribution()
    for distribution in distributions:
        found = found.plus(distribution)
    return found
