"""Histograms: which bucket a time is in, and how exact percentiles are."""

from __future__ import annotations

import random

import pytest

from scstfs.core.histogram import BUCKETS, Histogram, upper_bound


def of(*times: int) -> Histogram:
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    return histogram


@pytest.mark.parametrize(
    "time", [0, 255, 256, 4095, 4096, 99_999, 4_194_303, 4_194_304, 10**9, 137 * 10**9]
)
def test_a_time_is_in_the_bucket_whose_bounds_enclose_it(time: int) -> None:
    ((bucket, count),) = of(time).filled()
    assert count == 1
    lower = upper_bound(bucket - 1) if bucket else 0
    assert lower <= time < upper_bound(bucket)
    assert upper_bound(bucket) - lower <= max(256, lower / 8)


def test_buckets_follow_each_other_without_a_gap() -> None:
    bounds = [upper_bound(bucket) for bucket in range(BUCKETS)]
    assert bounds == sorted(set(bounds))
    for bucket, bound in enumerate(bounds[:-1]):
        assert [b for b, _ in of(bound - 1).filled()] == [bucket]
        assert [b for b, _ in of(bound).filled()] == [bucket + 1]


def test_what_takes_too_long_is_in_the_last_bucket() -> None:
    assert [bucket for bucket, _ in of(10**15).filled()] == [BUCKETS - 1]


def test_memory_is_bounded_and_little_at_first() -> None:
    histogram = Histogram()
    histogram.add(1000)
    assert histogram.size < 300
    dice = random.Random(1)
    for _ in range(10_000):
        histogram.add(dice.randrange(1 << 40))
    assert histogram.size < 2048
    assert histogram.count == 10_001


def test_nothing_is_lost_when_all_buckets_are_made() -> None:
    histogram, times = Histogram(), [300 << number for number in range(25)]
    for number, time in enumerate(times, 1):
        histogram.add(time, number)
        assert histogram.count == sum(range(number + 1))
    assert [count for _, count in histogram.filled()] == list(range(1, 26))


def test_percentiles_are_exact_to_a_few_per_cent() -> None:
    dice = random.Random(2)
    times = sorted(round(dice.lognormvariate(12, 1.5)) for _ in range(20_000))
    histogram = of(*times)
    for share in (0.1, 0.5, 0.9, 0.99, 0.999):
        exact = times[int(share * len(times))]
        seen = 0
        for bucket, count in histogram.filled():
            seen += count
            if seen > share * len(times):
                assert exact <= upper_bound(bucket) <= exact * 1.14
                break


def test_several_at_once_and_sums() -> None:
    one, other = Histogram(), Histogram()
    one.add(1000, 7)
    other.add(2_000_000, 2)
    one.merge(other)
    assert (one.count, one.total) == (9, 7 * 1000 + 2 * 2_000_000)
