from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.admin.top.rates import NOTHING, Counters, Rates, Times, between
from scstfs.core.latency import LatencyStatistics


def test_rates_are_per_second_and_in_bytes() -> None:
    before = Counters(10.0, 100, 50, 7, 1000, 2000)
    after = Counters(12.0, 300, 150, 9, 1800, 2400)
    assert between(before, after) == Rates(100.0, 50.0, 1.0, 400 * 1024.0, 200 * 1024.0)
    assert between(before, before) == NOTHING
    assert between(before, before._replace(seconds=11)) == NOTHING


def test_a_counter_that_was_set_to_zero_counts_from_there() -> None:
    before = Counters(10.0, 100, 50, 7, 1000, 2000)
    after = Counters(11.0, 20, 60, 7, 80, 2040)
    assert between(before, after) == Rates(20.0, 10.0, 0.0, 80 * 1024.0, 40 * 1024.0)


def test_arithmetic() -> None:
    rates = Rates(1, 2, 3, 4, 5)
    assert rates.plus(rates) == rates.times(2) == Rates(2, 4, 6, 8, 10)
    assert (rates.commands, rates.bytes) == (6, 9)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_times_as_the_tree_writes_them(spans: list[int]) -> None:
    statistics = LatencyStatistics()
    for span in spans:
        statistics.add("r", 4096, [("PARSE", span // 2), ("EXEC", span - span // 2)])
    times = Times.read(statistics.text("r", 4096))
    assert times.commands == len(spans)
    # The tree has units of 100 ns.
    assert times.total_us == pytest.approx(sum(spans) / 10, abs=times.error_us * 1.001)
    assert Times.read(statistics.text("w", 4096)) == Times()


def test_the_times_of_the_commands_in_between() -> None:
    before = Times(100, 5000.0, 5.0)
    after = Times(110, 6000.0, 5.5)
    assert after.since(before).average_us == 100.0
    assert before.since(before).average_us is None
    # The files were cleared in between.
    assert Times(3, 30.0, 0.15).since(before).average_us == 10.0


def test_an_average_that_rounding_hides_is_not_told() -> None:
    before = Times(1_000_000, 40e6, 50_000.0)
    after = Times(1_000_010, 40e6 + 400, 50_000.5)
    assert after.since(before).average_us is None
    many = Times(2_000_000, 80e6, 100_000.0)
    assert many.since(before).average_us == 40.0
