"""The benchmarks' command line: `python -m bench`, usually by `make bench`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench import throughput
from bench.options import Options
from bench.servers import SERVERS, Server

BENCHMARKS: Final[Mapping[str, Callable[[Server, Server, Options], None]]] = {
    "throughput": throughput.run,
}
"""By name; the first is the usual one. Each compares two running targets."""

_MIB: Final = 1 << 20


def make_file(directory: str, mebibytes: int) -> Path:
    """Make the file behind the disks: random data, in the page cache, so no disk is measured."""
    path = Path(directory, "disk")
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(_MIB))
    return path


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "benchmark", nargs="?", choices=tuple(BENCHMARKS), default=next(iter(BENCHMARKS))
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
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the file")
    parser.add_argument(
        "--directory", default="/var/tmp", help="where the file is put (default: %(default)s)"
    )
    given = parser.parse_args()
    options = Options(given.rounds, given.seconds, given.digests, given.only)
    names = given.servers.split(",")
    if len(names) != 2 or not set(names) <= set(SERVERS):
        parser.error("nothing to compare")
    if os.geteuid() != 0:
        sys.exit("the targets must be run by root")
    with contextlib.ExitStack() as stack:
        directory = tempfile.TemporaryDirectory(prefix="scstfs-bench.", dir=given.directory)
        file = make_file(stack.enter_context(directory), given.mebibytes)
        ours, theirs = (stack.enter_context(SERVERS[name](file)) for name in names)
        BENCHMARKS[given.benchmark](ours, theirs, options)


if __name__ == "__main__":
    main()
