"""A file system that is soon full, in a mount namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.mounted import Mounted
from tests.support.needs import need_mounts


@contextmanager
def small_filesystem(directory: Path, size: int) -> Iterator[Path]:
    """Mount a tmpfs of *size* bytes below *directory*; yields a path to it."""
    need_mounts()
    mountpoint = directory / "small"
    mountpoint.mkdir()
    script = f'mount -t tmpfs -o size={size} none "$0" && echo READY && exec sleep infinity'
    with Mounted(["sh", "-c", script, str(mountpoint)], mountpoint, ready="READY") as mounted:
        yield mounted.path
