"""Throughput: commands per second at several points, and the ratio to the other target."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.clients import Measurement, Point, measure
from bench.options import Options
from bench.servers import Server, running

_KIB: Final = 1024

POINTS: Final = (
    Point("4 KiB random read, depth 1", False, 4 * _KIB, 1, True),
    Point("4 KiB random read, depth 32", False, 4 * _KIB, 32, True),
    Point("64 KiB sequential read, depth 8", False, 64 * _KIB, 8, False),
    Point("256 KiB sequential read, depth 8", False, 256 * _KIB, 8, False),
    Point("1 MiB sequential read, depth 8", False, 1024 * _KIB, 8, False),
    Point("4 KiB random write, depth 1", True, 4 * _KIB, 1, True),
    Point("4 KiB random write, depth 32", True, 4 * _KIB, 32, True),
    Point("64 KiB sequential write, depth 8", True, 64 * _KIB, 8, False),
    Point("256 KiB sequential write, depth 8", True, 256 * _KIB, 8, False),
    Point("1 MiB sequential write, depth 8", True, 1024 * _KIB, 8, False),
)

# Above this the client may be the limit.
_BUSY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of several rounds for two targets at one point."""

    point: Point
    ours: tuple[Measurement, ...]
    theirs: tuple[Measurement, ...]

    @property
    def ratios(self) -> list[float]:
        """The ratio of ours to theirs in each round."""
        return [a.rate / b.rate for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)


def compare(ours: Server, theirs: Server, point: Point, options: Options) -> Comparison:
    """Measure both in turn, in alternating order, so that drift affects both alike."""
    results: dict[int, list[Measurement]] = {0: [], 1: []}
    for number in range(options.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            server = (ours, theirs)[which]
            results[which].append(measure(server, point, options.seconds, options.digests))
    return Comparison(point, tuple(results[0]), tuple(results[1]))


def heading(ours: Server, theirs: Server) -> str:
    """Return the first line of the table."""
    return (
        f"{'':34}{ours.name + ' /s':>11}{'MB/s':>7}{theirs.name + ' /s':>11}{'MB/s':>7}"
        f"{'RATIO':>8}  spread"
    )


def line(comparison: Comparison) -> str:
    """Return the table's line for one point."""
    text = f"{comparison.point.name:34}"
    for measurements in (comparison.ours, comparison.theirs):
        rate = statistics.median(m.rate for m in measurements)
        text += f"{rate:11.0f}{rate * comparison.point.size / 1e6:7.0f}"
    text += f"{comparison.ratio:8.2f}"
    text += f"  {min(comparison.ratios):.2f}-{max(comparison.ratios):.2f}"
    busy = max(m.busy for m in (*comparison.ours, *comparison.theirs))
    if busy > _BUSY:
        text += f"  (client {busy:.0%} busy: it may be the limit)"
    return text


def run(file: Path, options: Options) -> None:
    """Compare two targets over `file`, printing the line of each point when it is finished."""
    with running(file, options.servers) as (ours, theirs):
        print(heading(ours, theirs), flush=True)
        for point in POINTS:
            if options.only in point.name:
                print(line(compare(ours, theirs, point, options)), flush=True)
