"""Attributes that are read again and again.

Each stays open: reading it once more is then one request to the tree instead of four, and no name
has to be looked up. An open file does not keep the object: reading it fails once that is gone.
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
    """How many files may be kept open; takes all that this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + _LEFT_FREE
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(most - _LEFT_FREE, 1)


class Kept:
    """The attributes of one tree; paths are relative to its root."""

    def __init__(self, root: str, most: int) -> None:
        """Keep at most *most* files open; those that were not read for longest are closed."""
        self.root = root
        self._most = most
        self._open: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._names: dict[str, set[str]] = {}

    def read(self, directory: str, name: str) -> str:
        """What the attribute *name* in or below a directory holds now.

        Raises OSError when it is not there.
        """
        key = directory, name
        fd = self._open.get(key)
        if fd is not None:
            self._open.move_to_end(key)
            try:
                return _read(fd)
            except OSError:
                self._close(key)  # another object may have taken that name
        fd = os.open(f"{self.root}/{directory}/{name}", os.O_RDONLY)
        self._open[key] = fd
        self._names.setdefault(directory, set()).add(name)
        if len(self._open) > self._most:
            self._close(next(iter(self._open)))
        return _read(fd)

    def number(self, directory: str, name: str) -> int:
        """A numeric attribute. Raises OSError, also when it holds something else."""
        text = self.read(directory, name).partition("\n")[0]
        try:
            return int(text)
        except ValueError:
            raise OSError(errno.EINVAL, f"{text!r} is no number") from None

    def names(self, directory: str) -> list[str]:
        """The names in a directory; none when it is not there."""
        try:
            return os.listdir(f"{self.root}/{directory}")
        except OSError:
            return []

    def directories(self, path: str) -> list[str]:
        """The names of the directories in a directory; none when it is not there."""
        try:
            with os.scandir(f"{self.root}/{path}") as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def link(self, path: str) -> list[str]:
        """The parts of a link's text; none when there is no such link."""
        try:
            return os.readlink(f"{self.root}/{path}").split("/")
        except OSError:
            return []

    def forget(self, directory: str) -> None:
        """Close what was read in a directory."""
        for name in list(self._names.get(directory, ())):
            self._close((directory, name))

    def close(self) -> None:
        """Close all."""
        for directory in list(self._names):
            self.forget(directory)

    def _close(self, key: tuple[str, str]) -> None:
        with contextlib.suppress(OSError):  # closed all the same, though nobody serves it any more
            os.close(self._open.pop(key))
        directory, name = key
        self._names[directory].discard(name)
        if not self._names[directory]:
            del self._names[directory]


def _read(fd: int) -> str:
    return os.pread(fd, _PAGE, 0).decode("utf-8", "surrogateescape")
