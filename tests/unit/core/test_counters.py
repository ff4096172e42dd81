"""The counters of a session's commands, and how latencies are shown."""

from __future__ import annotations

import pytest

from scstfs.core.counters import DIRECTIONS, SessionCounters
from scstfs.core.latency import HEADING, KINDS, SIZES, LatencyStatistics


@pytest.mark.parametrize(
    ("length", "start", "is_aligned"),
    [
        (4096, 0, True),
        (8192, 4096, True),
        (0, 0, True),
        (4095, 0, False),
        (4097, 0, False),
        (4096, 512, False),
        (4096, 2048, False),
    ],
)
def test_aligned_is_what_begins_and_ends_at_4_kib(
    length: int, start: int, is_aligned: bool
) -> None:
    counter = SessionCounters().read
    for number in (1, 2):
        counter.count(length, start)
        assert (counter.cmds, counter.io_bytes) == (number, number * length)
        assert counter.unaligned == (0 if is_aligned else number)
    counter.reset()
    assert (counter.cmds, counter.io_bytes, counter.unaligned) == (0, 0, 0)


def test_each_direction_has_a_counter() -> None:
    counters = SessionCounters()
    found = [counters.of(name) for name in DIRECTIONS]
    assert len(set(map(id, found))) == 5
    assert counters.of("read") is counters.read


# Latencies


def spans(*values: int) -> list[tuple[str, int]]:
    return [(f"state{number}", value) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("length", "size"),
    [
        (0, 512),
        (1, 512),
        (512, 512),
        (513, 1024),
        (1024, 1024),
        (1025, 2048),
        (262144, 262144),
        (262145, 524288),
        (524288, 524288),
        (524289, 524288),
        (64 << 20, 524288),
    ],
)
def test_commands_are_told_apart_by_size(length: int, size: int) -> None:
    latency = LatencyStatistics()
    latency.add("r", length, spans(10))
    assert [(kind, at) for kind in KINDS for at in SIZES if latency.text(kind, at) != HEADING] == [
        ("r", size)
    ]


def test_what_is_told_of_each_state() -> None:
    """Units of 100 ns go in, microseconds come out."""
    latency = LatencyStatistics()
    for values in ((10, 400), (30, 200), (20, 300)):
        latency.add("w", 4096, spans(*values))
    assert latency.text("w", 4096) == (
        "state count min max avg stddev\n"
        "state0 3 1.0 3.0 2.0 0.8 us\n"
        "state1 3 20.0 40.0 30.0 8.2 us\n"
        "total 3 - - 32.0 7.3 us\n"
    )
    latency.clear()
    assert latency.text("w", 4096) == HEADING


def test_a_state_that_comes_twice_is_counted_twice() -> None:
    latency = LatencyStatistics()
    latency.add("n", 0, [("wait", 10), ("work", 5), ("wait", 20)])
    assert latency.text("n", 512).splitlines()[1:] == [
        "wait 2 1.0 2.0 1.5 0.5 us",
        "work 1 0.5 0.5 0.5 0.0 us",
        "total 1 - - 3.5 0.0 us",
    ]
