"""Histograms as clients see them: bounds, percentiles, differences."""

from __future__ import annotations

import random

import pytest

from scstfs.admin.distribution import Distribution, lower_bound, together
from scstfs.core.histogram import BUCKETS, Histogram, upper_bound


def told(*times: float) -> list[int]:
    histogram = Histogram()
    for time in times:
        histogram.add(round(time * 1e9))
    return [histogram.total, *(number for pair in histogram.filled() for number in pair)]


def test_the_target_has_the_same_buckets() -> None:
    for bucket in range(BUCKETS):
        assert lower_bound(bucket + 1) == pytest.approx(upper_bound(bucket) * 1e-9)


def test_percentiles() -> None:
    dice = random.Random(3)
    times = sorted(dice.expovariate(1000) for _ in range(5000))
    found = Distribution.of(told(*times))
    assert found.count == 5000
    assert found.total == pytest.approx(sum(times))
    for share in (0.1, 0.5, 0.9, 0.99):
        exact = times[round(share * 5000)]
        assert found.percentile(share) == pytest.approx(exact, rel=0.03)
    assert Distribution().percentile(0.5) is None


def test_what_came_since() -> None:
    before, now = Distribution.of(told(1e-3, 2e-3)), Distribution.of(told(1e-3, 2e-3, 2e-3, 1.0))
    new = now.since(before)
    assert new.count == 2
    assert new.total == pytest.approx(1.002)
    assert now.since(now).counts == {}
    # Another device has this name now.
    assert before.since(now).counts == before.counts
    assert Distribution.of(told(5.0)).since(Distribution.of(told(1.0))).count == 1


def test_groups() -> None:
    found = together([Distribution.of(told(1e-4)), Distribution.of(told(1e-4, 0.5))])
    assert found.grouped([1e-3, 1e-2]) == [2, 0, 1]
    assert found.cumulated([1e-3, 1e-2]) == [2, 2, 3]
