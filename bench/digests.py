"""The cost of header and data digests: the rate with them compared with that without, and with
tgt's.

LIMIT is the ratio with only the calculation added: data without a digest need not be read by the
CPU at all, so no program can be closer to 1 on the same machine.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from fastcrc import crc32

from bench.clients import Measurement, own_load
from bench.options import Options
from bench.servers import running
from bench.throughput import POINTS

_TRIES = 200


def ratio(these: list[Measurement], those: list[Measurement]) -> float:
    """Return the median of the ratios of the rounds' rates."""
    return statistics.median(a.rate / b.rate for a, b in zip(these, those, strict=True))


def digest_seconds(size: int) -> float:
    """Return how long this CPU takes for the digest of ``size`` bytes that are in its cache."""
    data = os.urandom(size)
    times = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        crc32.iscsi(data)
        times.append(time.perf_counter() - began)
    return min(times)


def run(file: Path, options: Options) -> None:
    """Measure every point with and without digests, all with the same client, in turn."""
    with running(file, options.servers) as (ours, theirs):
        print(
            f"{'':34}{'digests /s':>12}{'none /s':>10}{'RATIO':>7}{'LIMIT':>7}"
            f"{theirs.name + ' /s':>11}{'RATIO':>7}"
        )
        for point in POINTS:
            if options.only not in point.name:
                continue
            with_them: list[Measurement] = []
            without: list[Measurement] = []
            other: list[Measurement] = []
            for _ in range(options.rounds):
                with_them.append(own_load(ours, point, options.seconds, digests=True))
                without.append(own_load(ours, point, options.seconds))
                other.append(own_load(theirs, point, options.seconds, digests=True))
            rates = [statistics.median(m.rate for m in m_) for m_ in (with_them, without, other)]
            limit = 1 / (1 + rates[1] * digest_seconds(point.size))
            print(
                f"{point.name:34}{rates[0]:12.0f}{rates[1]:10.0f}{ratio(with_them, without):7.2f}"
                f"{limit:7.2f}"
                f"{rates[2]:11.0f}{ratio(with_them, other):7.2f}",
                flush=True,
            )
