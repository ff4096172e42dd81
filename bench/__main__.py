"""The benchmarks' command line: `python -m bench`, usually by `make bench`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench import (
    digests,
    disks,
    engines,
    fairness,
    hanging,
    latency,
    scale,
    sessions,
    throughput,
    tree,
)
from bench.options import Options
from bench.servers import SERVERS

BENCHMARKS: Final[Mapping[str, Callable[[Path, Options], None]]] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "digests": digests.run,
    "fairness": fairness.run,
    "scale": scale.run,
    "tree": tree.run,
    "sessions": sessions.run,
    "engines": engines.run,
    "disks": disks.run,
    "hanging": hanging.run,
}
"""By name, in the default order."""

_MIB: Final = 1 << 20


def make_file(directory: str, mebibytes: int) -> Path:
    """Make the disks' file: random data, in the page cache, so no disk is measured."""
    path = Path(directory, "disk")
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(_MIB))
    return path


def main() -> None:
    """Run the requested benchmarks."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "benchmarks", nargs="*", metavar="BENCHMARK", help=f"of {list(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="per point (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=2, help="per measurement (default: %(default)s)"
    )
    parser.add_argument("--digests", action="store_true", help="with header and data digests")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only points with this name part"
    )
    parser.add_argument(
        "--servers", default="scstfs,tgt", metavar="A,B", help=f"of {list(SERVERS)}"
    )
    parser.add_argument(
        "--scenario", default="", metavar="TEXT", help="only scenarios of disks with this name part"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures of disks, for programs")
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the file")
    parser.add_argument(
        "--directory", default="/var/tmp", help="where the file is put (default: %(default)s)"
    )
    given = parser.parse_args()
    names = given.servers.split(",")
    chosen = given.benchmarks or list(BENCHMARKS)
    if len(names) != 2 or not set(names) <= set(SERVERS) or not set(chosen) <= set(BENCHMARKS):
        parser.error("no such servers or benchmarks")
    options = Options(
        given.rounds,
        given.seconds,
        given.digests,
        given.only,
        (names[0], names[1]),
        given.scenario,
        given.json,
    )
    if os.geteuid() != 0:
        sys.exit("the targets must be run by root")
    with tempfile.TemporaryDirectory(prefix="scstfs-bench.", dir=given.directory) as directory:
        file = make_file(directory, given.mebibytes)
        for name in chosen:
            print(f"\n{name}", flush=True)
            BENCHMARKS[name](file, options)


if __name__ == "__main__":
    main()
