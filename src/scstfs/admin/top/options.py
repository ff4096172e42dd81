"""The command line of `scstfs top`."""

from __future__ import annotations

import argparse
import math
from typing import Final

from scstfs.admin.top.report import Order, View

_INTERVAL_SECONDS: Final = 2.0
_SHORTEST_SECONDS: Final = 0.1


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST_SECONDS <= seconds < math.inf:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of at least {_SHORTEST_SECONDS}"
        )
    return seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options, except the one for the path of the tree."""
    parser.add_argument(
        "--by",
        choices=[view.value for view in View],
        default=View.SESSIONS.value,
        help="the objects, one on each line (default: %(default)s)",
    )
    parser.add_argument(
        "--order",
        choices=[order.value for order in Order],
        default=Order.COMMANDS.value,
        help="the column to sort by, largest first (default: %(default)s)",
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
