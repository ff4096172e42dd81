"""The command line of `scstfs status`."""

from __future__ import annotations

import argparse
from typing import Final

from scstfs.admin.status.model import Section

MOST_SESSIONS: Final = 20
"""Sessions shown for each target on a terminal."""

_SECTIONS: Final = ", ".join(section.value for section in Section)


def _section(text: str) -> Section:
    # `choices` would refuse a command line without any (https://bugs.python.org/issue27227).
    try:
        return Section(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is none of {_SECTIONS}") from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options, except the one for the path of the tree."""
    parser.add_argument(
        "sections",
        metavar="SECTION",
        nargs="*",
        type=_section,
        help=f"what to show: {_SECTIONS} (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"show all sessions, also on a terminal (default there: {MOST_SESSIONS} of a target)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with status 14 if there are problems",
    )
