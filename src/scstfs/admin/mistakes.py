"""What a user of the management commands can do wrong."""

from __future__ import annotations

import enum
from collections.abc import Sequence


class MistakeKind(enum.Enum):
    """What kind of mistake; the program has an exit status for each."""

    USAGE = "usage"
    CONFIG = "config"
    NO_TREE = "no tree"
    ATTENTION = "attention"
    """Not the user's: something in what runs."""


class Mistake(Exception):  # noqa: N818 - of the user, not of the program
    """An ordinary mistake, or several, each told in one line."""

    def __init__(self, kind: MistakeKind, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.kind = kind
        self.messages: Sequence[str] = messages


def no_tree(root: str, error: OSError) -> Mistake:
    """There is no tree."""
    return Mistake(MistakeKind.NO_TREE, f"no SCST is running at {root}: {error.strerror}")


def at(file: str, line: int, message: str) -> str:
    """A message about a line of a file; 0 for the file as a whole."""
    return f"{file}:{line}: {message}" if line else f"{file}: {message}"
