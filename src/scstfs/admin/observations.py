"""What scstfs tells of a directory besides its files: statistics, events, and its log.

They are extended attributes with JSON, for root and for the user that has mounted the tree. The
tree of the kernel's SCST has none.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
from typing import Any, Final

_PREFIX: Final = "user.scst."
_STATISTICS: Final = b"user.scst.statistics"

_MOST: Final = 1 << 16
"""Most bytes of an extended attribute (xattr(7))."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


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


class KeptStatistics:
    """Reads statistics of directories again and again, by one request each.

    Directories stay open, so that their names are not looked up each time.
    """

    def __init__(self, root: str, most: int) -> None:
        """Keep at most *most* directories open."""
        self.root = root
        self._most = most
        self._open: dict[str, int] = {}
        self._room = ctypes.create_string_buffer(_MOST)

    def statistics(self, path: str) -> dict[str, Any] | None:
        """As the function; None also if the directory is gone."""
        fd = self._open.get(path)
        found = None if fd is None else self._read(fd)
        if found is not None:
            return found
        self.forget(path)  # another object may have this name now
        try:
            fd = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        found = self._read(fd)
        if found is None or len(self._open) >= self._most:
            os.close(fd)
        else:
            self._open[path] = fd
        return found

    def _read(self, fd: int) -> dict[str, Any] | None:
        # os.getxattr makes two system calls unless the value is very short.
        size = _libc.fgetxattr(fd, _STATISTICS, self._room, ctypes.c_size_t(_MOST))
        if size < 0:
            if ctypes.get_errno() == errno.ENOTCONN:
                self.close()
            return None
        found: dict[str, Any] = json.loads(ctypes.string_at(self._room, size))
        return found

    def forget(self, path: str) -> None:
        """Close a directory."""
        fd = self._open.pop(path, None)
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def keep_only(self, paths: set[str]) -> None:
        """Close all directories but these."""
        for path in self._open.keys() - paths:
            self.forget(path)

    def close(self) -> None:
        """Close all."""
        self.keep_only(set())
