"""The command line of `scstfs watch`."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options, except the one for the path of the tree."""
    parser.add_argument(
        "--recent", action="store_true", help="begin with the events of the past that are kept"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each event, for programs"
    )
