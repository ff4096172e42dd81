"""What the commands that only look at a tree have in common."""

from __future__ import annotations

import argparse
import os
from typing import Final

from scstfs.admin.files import SCST_TGT

_ALWAYS_THERE: Final = frozenset({"devices", "handlers", "targets"})


class NoTree(Exception):  # noqa: N818 - it says what is missing
    """There is no tree at that place; the message says what there is instead."""


def require_tree(root: str) -> None:
    """Raises NoTree where *root* is not the root of a tree."""
    try:
        names = os.listdir(root)
    except OSError as error:
        raise NoTree(error.strerror or str(error)) from None
    if not _ALWAYS_THERE.issubset(names):
        raise NoTree("it is another directory")


def add_mountpoint(parser: argparse.ArgumentParser) -> None:
    """Describe the option that says where the tree is."""
    parser.add_argument(
        "--mountpoint",
        metavar="DIR",
        default=SCST_TGT,
        help="where the tree is mounted (default: %(default)s)",
    )
