"""Durable small files.

A file is replaced as a whole: the new contents are written beside it and renamed to its name when
they are on disk. So after any crash there is either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from scstfs.persist import calls

#: Bytes that are read at once.
_PART: Final = 1 << 20
#: Symbolic links that lead to one another, as the system allows.
_MOST_LINKS: Final = 40


def read(path: Path, limit: int) -> bytes | None:
    """The contents of ``path``, at most ``limit`` bytes.

    None if there is no such file.  Other errors are raised.
    """
    try:
        fd = calls.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    parts, left = [], limit
    try:
        while left:
            part = calls.read(fd, min(left, _PART))
            if not part:
                break
            parts.append(part)
            left -= len(part)
    finally:
        calls.close(fd)
    return b"".join(parts)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Make ``data`` the contents of ``path``, durably; ``mode`` are the permissions of the file.

    If this raises OSError, the file is the old one, with one exception: it was renamed, but the
    rename could not be made durable.
    """
    path = _place(path)
    new = path.with_name(path.name + ".new")
    try:
        _fill(new, data, mode)
        calls.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            calls.unlink(new)
        raise
    sync_directory(path.parent)


def move(path: Path, to: Path) -> None:
    """Rename one file to another in the same directory, durably. Raises OSError."""
    to = _place(to)
    calls.replace(path, to)
    sync_directory(to.parent)


def remove(*paths: Path) -> None:
    """Delete files durably, one after the other; missing ones are ignored."""
    for path in paths:
        try:
            calls.unlink(path)
        except FileNotFoundError:
            continue
        sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory, and those that it is in, durably, if there is none. Raises OSError."""
    for directory in (*reversed(path.parents), path):
        kind = calls.kind(directory)
        if kind is None or not stat.S_ISDIR(kind):
            calls.mkdir(directory, 0o755)
            sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make creations, renames and deletions in ``path`` durable."""
    fd = calls.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        calls.fsync(fd)
    finally:
        calls.close(fd)


def _place(path: Path) -> Path:
    """The path to write to: a symbolic link is kept, and a block device is not replaced."""
    for _ in range(_MOST_LINKS):
        target = calls.link_target(path)
        if target is None:
            break
        path = target
    kind = calls.kind(path)
    if kind is not None and not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, f"{path} is not a regular file")
    return path


def overwrite(fd: int, data: bytes) -> None:
    """Write all of ``data`` from the beginning of a file on.

    Raises OSError; a part may have been written then.
    """
    view, offset = memoryview(data), 0
    while view:
        written = calls.pwrite(fd, view, offset)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]
        offset += written


def _fill(path: Path, data: bytes, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        calls.unlink(path)  # what a crash left may have another mode, and readers
    fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        overwrite(fd, data)
        calls.fsync(fd)
    finally:
        calls.close(fd)
