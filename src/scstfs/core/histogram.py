"""Histograms of times: constant memory, and an error that is bounded relative to the time.

Buckets are log-linear: each power of two is divided into the same number of equal parts, so a
bucket is at most 1/8 as wide as the times in it are long.  Percentiles of 100 ns to two minutes
are exact to a few per cent, in less than 2 KiB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

#: Bits of a nanosecond count that are dropped: the unit is 256 ns.
_UNIT_BITS: Final = 8
#: log2 of the buckets in a power of two.
_PART_BITS: Final = 3
#: Times from this number of units on (2**29 units are 137 s) are counted in the last bucket.
_MOST_UNITS: Final = (1 << 29) - 1

#: What divides the nanoseconds of a second.
NANO: Final = 1_000_000_000


def _bucket(units: int) -> int:
    shift = units.bit_length() - _PART_BITS - 1
    return units if shift <= 0 else (shift << _PART_BITS) + (units >> shift)


BUCKETS: Final = _bucket(_MOST_UNITS) + 1

#: The buckets of times up to 4 ms, which most are: looking one up is faster than computing it.
_NEAR: Final = bytes(map(_bucket, range(1 << 14)))
_NEAR_UNITS: Final = len(_NEAR)


def upper_bound(bucket: int) -> int:
    """The time (ns) below which those in a bucket are; they are at or above the bound before."""
    after = bucket + 1
    shift = max((after >> _PART_BITS) - 1, 0)
    return (after - (shift << _PART_BITS)) << (shift + _UNIT_BITS)


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        #: By bucket.
        self.counts = array("Q", bytes(8 * BUCKETS))
        #: The sum of all times (ns).
        self.total = 0

    def add(self, time: int, count: int = 1) -> None:
        """Count ``count`` times of ``time`` ns."""
        units = time >> _UNIT_BITS
        if units < _NEAR_UNITS:
            self.counts[_NEAR[units]] += count
        else:
            self.counts[_bucket(min(units, _MOST_UNITS))] += count
        self.total += time * count

    def merge(self, other: Histogram) -> None:
        """Count all that ``other`` has counted."""
        counts = self.counts
        for bucket, count in other.filled():
            counts[bucket] += count
        self.total += other.total

    def filled(self) -> Iterator[tuple[int, int]]:
        """The buckets with something in them, each with its count."""
        return ((bucket, count) for bucket, count in enumerate(self.counts) if count)

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(self.counts)
