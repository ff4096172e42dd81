"""A file system with one file whose reads and writes take a while, each for a chosen time.

`python -m tests.support.slow_disk MOUNTPOINT SIZE SECONDS...` mounts it and prints READY. The times
are taken in turn. The file is called `disk`; what is written to it is kept in memory.
"""

from __future__ import annotations

import errno
import itertools
import stat
import sys
from collections.abc import Sequence

import pyfuse3
import trio

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


def main() -> None:
    """Mount it until killed."""
    mountpoint, size, *seconds = sys.argv[1:]
    disk = SlowDisk(int(size), [float(each) for each in seconds])
    pyfuse3.init(disk, mountpoint, {"fsname=slow_disk"})
    print("READY", flush=True)
    trio.run(pyfuse3.main)


if __name__ == "__main__":
    main()
