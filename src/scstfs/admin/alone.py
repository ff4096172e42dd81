"""A lock: only one program at a time changes the configuration of a tree."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Final

_DIRECTORY: Final = "/run"
_MODE: Final = 0o600
"""Other users must not be able to take the lock and make the administrator wait."""


@contextlib.contextmanager
def alone(root: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of the tree at *root*; wait for another program that holds it.

    Calls *tell* with a message before it waits. If the lock file cannot be created, there is no
    lock.
    """
    try:
        path = f"{_DIRECTORY}/scstfs-config-{os.stat(root).st_dev}.lock"
        fd = _locked(path, tell)
    except OSError:  # not root, so nothing can be changed; or no tree, which is reported elsewhere
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(fd)


def _locked(path: str, tell: Callable[[str], None]) -> int:
    is_told = False
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not is_told:
                    tell("waiting for another program that changes the configuration")
                is_told = True
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # another program held and removed this file


def _is_at(fd: int, path: str) -> bool:
    """Return whether the locked file still has that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
