"""Curves of rate and latency against depth: `python -m bench.plot FIGURES.json CURVES.svg`.

The figures are those that `make bench ARGS="disks --scenario curves --json FIGURES.json"` wrote.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

_POINT: Final = re.compile(r"4 KiB random (read|write), depth (\d+)")
#: The same colour everywhere: by target.
_COLOURS: Final = {"scstfs": "C0", "tgt aio": "C1", "tgt rdwr": "C2", "fio": "C7"}

Curve = list[tuple[int, float]]
"""Depths, and commands a second."""


def curves(figures: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """What each target did at each depth, by kind of command and target."""
    found: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(list))
    for figure in figures:
        match = _POINT.fullmatch(figure["point"])
        if match is not None and figure["scenario"].startswith("curves"):
            found[match[1]][figure["target"]].append((int(match[2]), figure["rate"]))
    return {kind: {name: sorted(curve) for name, curve in of.items()} for kind, of in found.items()}


def draw(figures: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the plot: a row for rates and one for latencies, a column for each kind of command."""
    # Text that can be found, and the same file for the same figures.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scstfs"})
    found = curves(figures)
    plot = Figure(figsize=(9, 7), layout="constrained")
    axes = plot.subplots(2, len(found), sharex=True, squeeze=False)
    for column, (kind, targets) in enumerate(found.items()):
        rates, latencies = axes[0][column], axes[1][column]
        for target, curve in targets.items():
            depths, rate = zip(*curve, strict=True)
            # Little's law: what is under way, divided by what is done in a second.
            took = [1e6 * depth / each for depth, each in curve]
            style = {"color": _COLOURS.get(target), "marker": "o", "label": target}
            rates.plot(depths, rate, **style)
            latencies.plot(depths, took, **style)
        rates.set_title(f"4 KiB random {kind}")
        rates.set_ylabel("commands a second")
        latencies.set_ylabel("mean latency (microseconds)")
        latencies.set_xlabel("depth")
        for one in (rates, latencies):
            one.set_xscale("log", base=2)
            one.set_yscale("log")
            one.grid(visible=True, which="both", alpha=0.3)
            one.xaxis.set_major_formatter("{x:.0f}")
    axes[0][0].legend()
    plot.savefig(path, metadata={"Date": None})


def main() -> None:
    """Draw the curves."""
    parser = argparse.ArgumentParser(prog="bench.plot", description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("svg", type=Path)
    given = parser.parse_args()
    draw(json.loads(given.figures.read_text()), given.svg)


if __name__ == "__main__":
    main()
