"""The command line of `scstfs status`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final, TextIO

from scstfs.admin.client import add_mountpoint
from scstfs.admin.files import Files
from scstfs.admin.status.model import ALL, Section
from scstfs.admin.status.survey import survey

HELP: Final = "show what runs, and what of it needs attention"
DESCRIPTION: Final = (
    "Show what runs: targets with LUNs and groups, sessions with addresses, devices with backing "
    "files, device groups; and before all that what needs attention."
)

MOST_SESSIONS: Final = 20
"""Of each target, on a terminal."""


_SECTIONS: Final = ", ".join(section.value for section in Section)


def _section(text: str) -> Section:
    # `choices` would refuse a command line without any (https://bugs.python.org/issue27227).
    try:
        return Section(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is none of {_SECTIONS}") from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "sections",
        metavar="SECTION",
        nargs="*",
        type=_section,
        help=f"what to show: {_SECTIONS} (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"show all sessions, also on a terminal (default there: {MOST_SESSIONS} of a target)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with a status of its own when something needs attention",
    )
    add_mountpoint(parser)


def run(arguments: argparse.Namespace, output: TextIO | None = None) -> int:
    """Print what runs; returns how many things need attention if that was asked for.

    Raises NoTree, and OSError when the tree goes away or the output cannot be written.
    """
    output = output or sys.stdout
    sections = frozenset(arguments.sections) or ALL
    needed = sections | {Section.PROBLEMS} if arguments.check else sections
    limited = output.isatty() and not (arguments.all or arguments.json)
    status = survey(Files(arguments.mountpoint), needed, MOST_SESSIONS if limited else None)
    if arguments.json:
        json.dump(status.json(needed), output, indent=2)
        output.write("\n")
    else:
        # Loaded only here: a daemon has no use for it.
        from scstfs.admin.display import show, tolerant
        from scstfs.admin.status.text import render

        show(tolerant(output), *render(status, sections))
    output.flush()
    return len(status.problems or ()) if arguments.check else 0
