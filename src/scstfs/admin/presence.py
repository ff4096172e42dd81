"""Checks that there is a tree."""

from __future__ import annotations

import os
from typing import Final

from scstfs.admin.mistakes import Mistake, MistakeKind, no_tree

_ALWAYS_THERE: Final = frozenset({"devices", "handlers", "targets"})


def require_tree(root: str) -> None:
    """Raises Mistake if *root* is not the root of a tree."""
    try:
        names = os.listdir(root)
    except OSError as error:
        raise no_tree(root, error) from None
    if not _ALWAYS_THERE.issubset(names):
        raise Mistake(MistakeKind.NO_TREE, f"no SCST is running at {root}: it is another directory")
