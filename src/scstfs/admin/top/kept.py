"""Attributes that are read repeatedly.

Each stays open: reading it again is then one request to the tree instead of four, without a look-up
of names. An open file does not keep the object: reading it fails once the object is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections import OrderedDict
from typing import Final

_PAGE: Final = 4096
_LEFT_FREE: Final = 64
_MOST: Final = 100_000


def permitted() -> int:
    """How many files may be kept open; raises this process's limit as far as possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + _LEFT_FREE
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(most - _LEFT_FREE, 1)


class Kept:
    """The attributes of one tree; paths are relative to its root."""

    def __init__(self, root: str, most: int) -> None:
        """Keep at most *most* files open; the least recently read are closed."""
        self.root = root
        self._most = most
        self._open: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._names: dict[str, set[str]] = {}

    def read(self, directory: str, name: str) -> str:
        """The present text of the attribute *name* in or below a directory.

        Raises OSError if it does not exist.
        """
        key = directory, name
        fd = self._open.get(key)
        if fd is not None:
            self._open.move_to_end(key)
            try:
                return _read(fd)
            except OSError:
                self._close(key)  # another object may have this name now
        fd = os.open(f"{self.root}/{directory}/{name}", os.O_RDONLY)
        self._open[key] = fd
        self._names.setdefault(directory, set()).add(name)
        if len(self._open) > self._most:
            self._close(next(iter(self._open)))
        return _read(fd)

    def number(self, directory: str, name: str) -> int:
        """A numeric attribute. Raises OSError, also if it is not a number."""
        text = self.read(directory, name).partition("\n")[0]
        try:
            return int(text)
        except ValueError:
            raise OSError(errno.EINVAL, f"{text!r} is not a number") from None

    def names(self, directory: str) -> list[str]:
        """The names in a directory; empty if it does not exist."""
        try:
            return os.listdir(f"{self.root}/{directory}")
        except OSError:
            return []

    def directories(self, path: str) -> list[str]:
        """The names of the directories in a directory; empty if it does not exist."""
        try:
            with os.scandir(f"{self.root}/{path}") as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def link(self, path: str) -> list[str]:
        """The components of a link's text; empty if the link does not exist."""
        try:
            return os.readlink(f"{self.root}/{path}").split("/")
        except OSError:
            return []

    def forget(self, directory: str) -> None:
        """Close the files of a directory."""
        for name in list(self._names.get(directory, ())):
            self._close((directory, name))

    def close(self) -> None:
        """Close all."""
        for directory in list(self._names):
            self.forget(directory)

    def _close(self, key: tuple[str, str]) -> None:
        with contextlib.suppress(OSError):  # closed all the same, although its file system is gone
            os.close(self._open.pop(key))
        directory, name = key
        self._names[directory].discard(name)
        if not self._names[directory]:
            del self._names[directory]


def _read(fd: int) -> str:
    return os.pread(fd, _PAGE, 0).decode("utf-8", "surrogateescape")
