"""A file system with one file whose reads and writes take a while, each for a chosen time.

The times are taken in turn. What is written is kept in memory.
"""

from __future__ import annotations

import errno
import itertools
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import trio

from scstfs import capabilities
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts

_FILE = 2


class SlowDisk(pyfuse3.Operations):
    """See the module's text."""

    def __init__(self, size: int, seconds: Sequence[float]) -> None:
        super().__init__()
        self._data = bytearray(size)
        self._seconds = itertools.cycle(seconds)

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        is_file = inode == _FILE
        entry.st_mode = stat.S_IFREG | 0o600 if is_file else stat.S_IFDIR | 0o700
        entry.st_size = len(self._data) if is_file else 0
        entry.st_blksize = 4096
        return entry

    async def getattr(
        self, inode: int, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if name != b"disk":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(_FILE)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        # Without the page cache, so that each access reaches the disk.
        return pyfuse3.FileInfo(fh=_FILE, direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await trio.sleep(next(self._seconds))
        return bytes(self._data[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        await trio.sleep(next(self._seconds))
        self._data[off : off + len(buf)] = buf
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Nothing is lost."""

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = 4096
        return found


@contextmanager
def slow_disk(directory: Path, seconds: Sequence[float], size: int = 16 << 20) -> Iterator[Path]:
    """Mount it below *directory*, in a mount namespace of its own; gives the file."""
    need_mounts()
    mountpoint = directory / "slow"
    mountpoint.mkdir()
    argv = [sys.executable, "-m", __name__, str(mountpoint), str(size), *map(str, seconds)]
    with Mounted(argv, mountpoint, ready="READY") as mounted:
        yield mounted.path / "disk"


def main(mountpoint: str, size: str, *seconds: str) -> None:
    """Mount it until killed."""
    disk = SlowDisk(int(size), [float(each) for each in seconds])
    pyfuse3.init(disk, mountpoint, {"fsname=slow_disk", "allow_other"})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Whoever gave up capabilities may look into the namespaces only of those that have no more.
    capabilities.limit(())
    print("READY", flush=True)
    trio.run(pyfuse3.main)


if __name__ == "__main__":
    main(*sys.argv[1:])
