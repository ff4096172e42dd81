"""Mistakes of users of the management commands."""

from __future__ import annotations

import enum
import errno
from collections.abc import Sequence
from typing import Final

_MOST_MESSAGES: Final = 100


class MistakeKind(enum.Enum):
    """The kind of a mistake; the program has an exit status for each."""

    USAGE = "usage"
    CONFIG = "config"
    NO_TREE = "no tree"
    PERMISSION = "permission"
    PORT = "port"
    ATTENTION = "attention"
    """Not a mistake of the user, but a problem in the running configuration."""


class Mistake(Exception):  # noqa: N818 - of the user, not of the program
    """An ordinary mistake, or several, each reported in one line."""

    def __init__(self, kind: MistakeKind, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.kind = kind
        self.messages: Sequence[str] = messages


def no_tree(root: str, error: OSError) -> Mistake:
    """The mistake that there is no tree, or that only root may read it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        where = error.filename or root
        return Mistake(MistakeKind.PERMISSION, f"cannot read {where}: {error.strerror}")
    return Mistake(MistakeKind.NO_TREE, f"no SCST is running at {root}: {error.strerror}")


def at(file: str, line: int, message: str) -> str:
    """A message about a line of a file; 0 for the file as a whole."""
    return f"{file}:{line}: {message}" if line else f"{file}: {message}"


def limited(messages: Sequence[str]) -> list[str]:
    """The first of many messages, and how many more there are."""
    more = len(messages) - _MOST_MESSAGES
    if more <= 0:
        return list(messages)
    return [*messages[:_MOST_MESSAGES], f"and {more:,} more"]
