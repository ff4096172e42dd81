"""The latency of single commands."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.clients import own_load
from bench.options import Options
from bench.servers import running
from bench.throughput import POINTS


def run(file: Path, options: Options) -> None:
    """Print median and 99th percentile of both targets for the points of depth 1."""
    with running(file, options.servers) as servers:
        print(f"{'':34}" + "".join(f"{s.name + ' us':>12}{'99 %':>8}" for s in servers) + "  RATIO")
        for point in POINTS:
            if point.depth != 1 or options.only not in point.name:
                continue
            rounds = [
                [own_load(server, point, options.seconds) for server in servers]
                for _ in range(options.rounds)
            ]
            text = f"{point.name:34}"
            for which in range(len(servers)):
                median = statistics.median(results[which].median for results in rounds)
                slowest = statistics.median(results[which].slowest for results in rounds)
                text += f"{median * 1e6:12.0f}{slowest * 1e6:8.0f}"
            ratio = statistics.median(ours.median / theirs.median for ours, theirs in rounds)
            print(f"{text}{ratio:7.2f}", flush=True)
