"""The command line of `scstfs top`."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, TextIO

from scstfs.admin.client import add_mountpoint
from scstfs.admin.top.kept import Kept, permitted
from scstfs.admin.top.report import Order, Page, Report, View, make
from scstfs.admin.top.watch import Watch

HELP: Final = "show what sessions, LUNs and devices do, again and again"
DESCRIPTION: Final = (
    "Show rates, queue depths and latencies by session, LUN, device or target. On a terminal "
    "until q is pressed; elsewhere a list for each interval, until it is stopped."
)

_INTERVAL_SECONDS: Final = 2.0
_SHORTEST_SECONDS: Final = 0.1
_SAMPLES: Final = 4
"""How many times in an interval it is looked how many commands are under way."""

_SHARE: Final = 0.2
"""Looking takes at most this part of the time: with very many sessions the interval gets longer."""


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST_SECONDS <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from {_SHORTEST_SECONDS} on")
    return seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--by",
        choices=[view.value for view in View],
        default=View.SESSIONS.value,
        help="what a line is about (default: %(default)s)",
    )
    parser.add_argument(
        "--order",
        choices=[order.value for order in Order],
        default=Order.COMMANDS.value,
        help="of what those with most come first (default: %(default)s)",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_seconds,
        default=_INTERVAL_SECONDS,
        help="over which rates and depths are averaged (default: %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="stop after one interval")
    parser.add_argument("--all", action="store_true", help="show what is idle, too")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each interval, for programs"
    )
    add_mountpoint(parser)


def reports(watch: Watch, interval: float, wait: Callable[[float], None]) -> Iterator[Report]:
    """A report for each interval (seconds); *wait* waits so many seconds.

    Raises NoTree, also when the tree goes away.
    """
    watch.look()  # which opens everything, and so takes longer than any other
    looked, spent = time.monotonic(), 0.0
    while True:
        pause = max(interval, spent / _SHARE)
        samples = _SAMPLES if spent < interval * _SHARE / _SAMPLES else 1
        for sample in range(1, samples + 1):
            wait(max(looked + pause * sample / samples - time.monotonic(), 0.0))
            if sample < samples:
                watch.sample(busy_only=True)
        began = time.monotonic()
        seen = watch.look()
        before, looked = looked, time.monotonic()
        spent = looked - began
        yield make(seen, datetime.now().astimezone(), looked - before, watch.is_measuring)


def _print(
    found: Iterator[Report], page: Page, arguments: argparse.Namespace, output: TextIO
) -> None:
    from scstfs.admin.display import show, tolerant
    from scstfs.admin.top.text import render

    for report in found:
        if arguments.json:
            json.dump(report.json(page.order, idle=page.all), output)
            output.write("\n")
            output.flush()
        else:
            show(tolerant(output), *render(report, page, arguments.mountpoint), "")


def run(arguments: argparse.Namespace, output: TextIO | None = None) -> int:
    """Show reports until there is a reason to stop; returns 0.

    Raises NoTree, also when the tree goes away, and OSError when the output cannot be written.
    """
    output = output or sys.stdout
    is_terminal = output.isatty() and not arguments.json
    width = shutil.get_terminal_size().columns if is_terminal else None
    page = Page(View(arguments.by), Order(arguments.order), arguments.all, width)
    with closing(Kept(arguments.mountpoint, permitted())) as kept:
        watched = partial(reports, Watch(kept), arguments.interval)
        try:
            if is_terminal and not arguments.once:
                from scstfs.admin.top.live import Screen

                Screen(arguments.mountpoint, page, output, sys.stdin).run(watched)
            else:
                found = islice(watched(time.sleep), 1 if arguments.once else None)
                _print(found, page, arguments, output)
        except KeyboardInterrupt:
            pass
    return 0
