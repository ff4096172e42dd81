"""Histograms of times: constant memory, and an error that is bounded relative to the time.

Buckets are log-linear: each power of two is divided into the same number of equal parts, so a
bucket is at most 1/8 as wide as the times in it are long.  Percentiles of 100 ns to two minutes
are exact to a few per cent, in less than 2 KiB.
"""

from __future__ import annotations

import sys
from array import array
from typing import Final

#: Bits of a nanosecond count that are dropped: the unit is 256 ns.
_UNIT_BITS: Final = 8
#: log2 of the buckets in a power of two.
_PART_BITS: Final = 3
#: Times from this number of units on (2**29 units are 137 s) are counted in the last bucket.
_MOST_UNITS: Final = (1 << 29) - 1

#: Buckets that are kept one by one.
_FEW: Final = 16

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
    """How often something took how long.

    A nexus that is hardly used has only a few buckets; only when more are needed, all are made.
    """

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts: array[int] | dict[int, int] = {}
        #: The sum of all times (ns).
        self.total = 0

    def add(self, time: int, count: int = 1) -> None:
        """Count ``count`` times of ``time`` ns."""
        units = time >> _UNIT_BITS
        bucket = _NEAR[units] if units < _NEAR_UNITS else _bucket(min(units, _MOST_UNITS))
        try:
            self._counts[bucket] += count
        except KeyError:
            self._add_to_new(bucket, count)
        self.total += time * count

    def _add_to_new(self, bucket: int, count: int) -> None:
        if len(self._counts) >= _FEW:
            counts = array("Q", bytes(8 * BUCKETS))
            for known, known_count in self.filled():
                counts[known] = known_count
            self._counts = counts
        self._counts[bucket] = count

    def merge(self, other: Histogram) -> None:
        """Count all that ``other`` has counted."""
        for bucket, count in other.filled():
            try:
                self._counts[bucket] += count
            except KeyError:
                self._add_to_new(bucket, count)
        self.total += other.total

    def filled(self) -> list[tuple[int, int]]:
        """The buckets with something in them, in order, each with its count."""
        if isinstance(self._counts, dict):
            return sorted(self._counts.items())
        return [(bucket, count) for bucket, count in enumerate(self._counts) if count]

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(count for _, count in self.filled())

    @property
    def size(self) -> int:
        """Bytes of memory for its counts."""
        return sys.getsizeof(self._counts)
