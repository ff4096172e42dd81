from __future__ import annotations

import pytest

from bench import throughput
from bench.clients import Measurement, Point, bench_seconds, last_average
from bench.options import Options
from bench.servers import Server
from bench.throughput import Comparison, compare, heading, line

POINT = Point("4 KiB random read, depth 1", False, 4096, 1, True)
OURS = Server("scstfs", 1, "iqn.a", 0, 1)
THEIRS = Server("tgt", 2, "iqn.b", 1, 2)


def measurements(*rates: float, busy: float = 0.1) -> tuple[Measurement, ...]:
    return tuple(Measurement(rate, busy) for rate in rates)


def test_the_last_average_of_iscsi_perf_counts() -> None:
    output = (
        "\r00:00:01 - lba 1, iops current 9 (0 MB/s), iops average 100 (1 MB/s), in_flight 1"
        "\riops average 250 (2 MB/s)          \n\nfinished.\n"
    )
    assert last_average(output) == 250


def test_output_without_an_average_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no average"):
        last_average("connected\n")


def test_qemu_img_says_how_long_it_took() -> None:
    output = "Sending 500 write requests, 65536 bytes each\nRun completed in 0.250 seconds.\n"
    assert bench_seconds(output) == 0.25
    with pytest.raises(SystemExit, match="how long"):
        bench_seconds("Sending\n")


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    comparison = Comparison(POINT, measurements(100, 300, 200), measurements(100, 100, 50))
    assert comparison.ratios == [1, 3, 4]
    assert comparison.ratio == 3


def test_the_table_has_rates_bandwidths_ratio_and_spread() -> None:
    comparison = Comparison(POINT, measurements(10000, 30000), measurements(10000, 10000))
    assert line(comparison).split() == [
        *POINT.name.split(),
        *("20000", "82", "10000", "41", "2.00", "1.00-3.00"),
    ]
    assert heading(OURS, THEIRS).split()[:3] == ["scstfs", "/s", "MB/s"]


def test_a_busy_client_is_told() -> None:
    busy = measurements(1, busy=0.97)
    assert "client 97% busy" in line(Comparison(POINT, busy, measurements(1)))


def test_rounds_are_interleaved_in_changing_order(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def fake(server: Server, point: Point, seconds: float, digests: bool) -> Measurement:
        order.append(server.name)
        return Measurement(len(order), 0.0)

    monkeypatch.setattr(throughput, "measure", fake)
    comparison = compare(OURS, THEIRS, POINT, Options(3, 1, False, ""))
    assert order == ["scstfs", "tgt", "tgt", "scstfs", "scstfs", "tgt"]
    assert [m.rate for m in comparison.ours] == [1, 4, 5]
    assert [m.rate for m in comparison.theirs] == [2, 3, 6]
