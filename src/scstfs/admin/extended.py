"""What scstfs tells of a directory besides its files: statistics, events, and its log.

They are extended attributes with JSON, for root and for the user that has mounted the tree. The
tree of the kernel's SCST has none.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

_PREFIX: Final = "user.scst."


def _text(root: str, path: str, name: str) -> str | None:
    try:
        return os.getxattr(f"{root}/{path}" if path else root, _PREFIX + name).decode()
    except OSError:
        return None


def statistics(root: str, path: str = "") -> dict[str, Any] | None:
    """The statistics of a directory of the tree at *root*; None if it has none."""
    text = _text(root, path, "statistics")
    return None if text is None else json.loads(text)


def _lines(root: str, name: str) -> list[Any] | None:
    text = _text(root, "", name)
    return None if text is None else [json.loads(line) for line in text.splitlines()]


def events(root: str) -> list[dict[str, Any]] | None:
    """The latest events, oldest first; None if the tree does not tell.

    Each has ``number`` (counted from 1 on), ``time`` (seconds since the epoch), ``kind``, ``text``,
    and the names of what it is about: ``driver``, ``target``, ``initiator``, ``device``.
    """
    return _lines(root, "events")


def log_lines(root: str) -> list[tuple[float, str, str]]:
    """The latest lines of the target's log: time (seconds since the epoch), level, text."""
    return [(when, level, text) for when, level, text in _lines(root, "log") or ()]
