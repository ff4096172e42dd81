"""The system calls by which state is kept, under the names that ``os`` gives them.

The state directory may be on a disk that hangs, too: they are made apart (``aio.apart``), in worker
threads or before anything is served.  All of them raise OSError.
"""

from __future__ import annotations

import errno
from pathlib import Path

from scstfs.aio import apart


def open(path: Path, flags: int, mode: int = 0o777) -> int:  # noqa: A001 - as os calls it
    """open(2); ``mode`` is that of a new file."""
    return apart.open_file(str(path), flags, mode)


def dup(fd: int) -> int:
    """dup(2)."""
    return apart.duplicate(fd)


def close(fd: int) -> None:
    """close(2)."""
    apart.close(fd)


def read(fd: int, size: int) -> bytes:
    """read(2)."""
    memory = memoryview(bytearray(size))
    return bytes(memory[: apart.read(fd, memory, apart.HERE)])


def pwrite(fd: int, data: memoryview, offset: int) -> int:
    """pwrite(2), of at least one byte; to the end of what was opened with O_APPEND."""
    return apart.write(fd, data, offset)


def fsync(fd: int) -> None:
    """fsync(2)."""
    apart.flush_everything(fd)


def fdatasync(fd: int) -> None:
    """fdatasync(2)."""
    apart.flush(fd)


def ftruncate(fd: int, length: int) -> None:
    """ftruncate(2)."""
    apart.truncate(fd, length)


def flock(fd: int, operation: int) -> None:
    """flock(2)."""
    apart.lock(fd, operation)


def unlink(path: Path) -> None:
    """unlink(2)."""
    apart.unlink(str(path))


def replace(path: Path, to: Path) -> None:
    """rename(2)."""
    apart.rename(str(path), str(to))


def mkdir(path: Path, mode: int) -> None:
    """mkdir(2)."""
    apart.make_directory(str(path), mode)


def size(fd: int) -> int:
    """The size of an open file (bytes)."""
    return apart.status(fd).size


def kind(path: Path) -> int | None:
    """The kind and mode of what is at a path (``stat.S_ISREG``); None if nothing is."""
    try:
        return apart.status_of(str(path)).mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def link_target(path: Path) -> Path | None:
    """Where a symbolic link leads; None if it is none, or nothing is there."""
    try:
        return path.parent / apart.link_target(str(path))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return None
