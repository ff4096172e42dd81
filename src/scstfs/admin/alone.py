"""One program at a time makes a tree what a file says."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Final

_DIRECTORY: Final = "/run"
_MODE: Final = 0o600
"""Nobody else must be able to keep the administrator waiting."""


@contextlib.contextmanager
def alone(root: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other program does this with the tree at *root*, and keep others waiting.

    Tells when it has to wait. Where no file can be made for that, nothing is waited for.
    """
    try:
        path = f"{_DIRECTORY}/scstfs-config-{os.stat(root).st_dev}.lock"
        fd = _locked(path, tell)
    except OSError:  # not root, who alone can change anything; or no tree, which others tell
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
        os.close(fd)  # of one that has ended


def _is_at(fd: int, path: str) -> bool:
    """The file that is locked is still the one by that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
