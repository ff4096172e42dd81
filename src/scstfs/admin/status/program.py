"""The main function of `scstfs status`."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from typing import Final

from scstfs.admin.display import several, show, tolerant
from scstfs.admin.files import Files
from scstfs.admin.mistakes import Mistake, MistakeKind
from scstfs.admin.status.model import ALL, Section
from scstfs.admin.status.options import MOST_SESSIONS
from scstfs.admin.status.status_text import render
from scstfs.admin.status.survey import survey

_WIDE: Final = 100
"""Columns of a terminal with room for less important data."""


def run(arguments: Namespace) -> None:
    """Print the status.

    Raises Mistake if there is no tree and, if requested, if there are problems; OSError if the
    output cannot be written.
    """
    output = tolerant(sys.stdout)
    sections = frozenset(arguments.sections) or ALL
    if arguments.check:
        sections |= {Section.PROBLEMS}
    limited = output.isatty() and not (arguments.all or arguments.json)
    status = survey(Files(arguments.mountpoint), sections, MOST_SESSIONS if limited else None)
    if arguments.json:
        json.dump(status.json(sections), output, indent=2)
        output.write("\n")
    else:
        wide = not output.isatty() or shutil.get_terminal_size().columns >= _WIDE
        show(output, *render(status, sections, wide=wide))
    if arguments.check and status.problems:
        things = several(len(status.problems), "thing needs", "things need")
        raise Mistake(MistakeKind.ATTENTION, f"{things} attention")
