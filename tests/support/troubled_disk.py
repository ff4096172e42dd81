"""A file system whose one file is slow, stops answering, or fails, as the test says.

`troubled_disk` runs ``python -m tests.support.troubled_disk MOUNTPOINT CONTROL`` in a mount
namespace of its own.  It cannot be asked not to wait (RWF_NOWAIT), and keeps nothing in the page
cache that it was not asked for, like many network file systems.
"""

from __future__ import annotations

import itertools
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import trio

from scstfs import capabilities
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts

SIZE = 16 << 20
DISK = b"disk"
_INODE = pyfuse3.ROOT_INODE + 1

#: Calls that can hang or fail.
CALLS = ("lookup", "getattr", "open", "read", "write", "fsync", "flush", "statfs")


class _Files(pyfuse3.Operations):
    def __init__(self, control: Path) -> None:
        super().__init__()
        self._control = control
        self._data = bytearray(SIZE)
        #: How long (seconds) reads and writes take in turn; nothing if they take no time.
        self._delays: Iterator[float] | None = None

    async def _trouble(self, call: str) -> None:
        """Wait for as long as ``hang-CALL`` exists, fail with the errno in ``fail-CALL``."""
        hang = self._control / f"hang-{call}"
        if hang.exists():
            with (self._control / f"hung-{call}").open("ab") as file:
                file.write(b".")
            while hang.exists():
                await trio.sleep(0.01)
        if self._delays is not None and call in ("read", "write"):
            await trio.sleep(next(self._delays))
        fail = self._control / f"fail-{call}"
        if fail.exists():
            raise pyfuse3.FUSEError(int(fail.read_text()))

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        found = pyfuse3.EntryAttributes()
        found.st_ino = inode
        found.st_nlink = 1
        if inode == pyfuse3.ROOT_INODE:
            found.st_mode = stat.S_IFDIR | 0o755
        else:
            found.st_mode, found.st_size = stat.S_IFREG | 0o666, SIZE
            found.st_blocks = SIZE // 512
        found.attr_timeout = found.entry_timeout = 0
        return found

    async def getattr(
        self, inode: int, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        if inode == _INODE:
            await self._trouble("getattr")
        return self._attributes(inode)

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        await self._trouble("lookup")
        if name != DISK:
            raise pyfuse3.FUSEError(2)
        return self._attributes(_INODE)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        await self._trouble("open")
        delays = self._control / "delays"
        if delays.exists():
            self._delays = itertools.cycle(map(float, delays.read_text().split()))
        # A slow disk has no page cache, so that each access reaches it.
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=delays.exists())

    async def read(self, fh: int, off: int, size: int) -> bytes:
        await self._trouble("read")
        return bytes(self._data[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        await self._trouble("write")
        self._data[off : off + len(buf)] = buf
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._trouble("fsync")

    async def flush(self, fh: int) -> None:
        await self._trouble("flush")

    async def release(self, fh: int) -> None:
        pass

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        await self._trouble("statfs")
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = 4096
        found.f_blocks = found.f_bfree = found.f_bavail = SIZE // 4096
        return found


class TroubledDisk(Mounted):
    """The file system and its switches.

    Attributes:
        disk: its file, as the test process can open it.
    """

    def __init__(self, directory: Path) -> None:
        """Everything it writes goes below *directory*."""
        mountpoint, self._control = directory / "troubled", directory / "control"
        mountpoint.mkdir()
        self._control.mkdir()
        argv = [sys.executable, "-m", __name__, str(mountpoint), str(self._control)]
        super().__init__(argv, mountpoint, ready="READY")
        self.disk = self.path / DISK.decode()

    def hang(self, *calls: str) -> None:
        """Let these calls wait until ``answer``."""
        for call in calls:
            assert call in CALLS
            (self._control / f"hang-{call}").touch()

    def answer(self) -> None:
        """Nothing waits or fails any more."""
        for pattern in ("hang-*", "hung-*", "fail-*"):
            for file in self._control.glob(pattern):
                file.unlink()

    def slow(self, *seconds: float) -> None:
        """Let reads and writes take so long in turn, from the next opening of the file on."""
        (self._control / "delays").write_text(" ".join(map(str, seconds)))

    def fail(self, call: str, error: int) -> None:
        """Let a call fail with this errno."""
        file = self._control / "new"
        file.write_text(str(error))
        file.rename(self._control / f"fail-{call}")

    def hanging(self, call: str) -> int:
        """How many calls of this name have come to wait."""
        try:
            return (self._control / f"hung-{call}").stat().st_size
        except FileNotFoundError:
            return 0

    def wait_until_hanging(self, call: str, count: int = 1, seconds: float = 10) -> None:
        """Wait for that many calls to wait."""
        wait_until(lambda: self.hanging(call) >= count, seconds)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Look again and again, for a limited time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@contextmanager
def troubled_disk(directory: Path) -> Iterator[TroubledDisk]:
    """Mount it below *directory*; whatever hangs in the end fails when it is gone."""
    need_mounts()
    with TroubledDisk(directory) as disk:
        yield disk


def main(mountpoint: str, control: str) -> None:
    """Mount and serve until killed."""
    pyfuse3.init(_Files(Path(control)), mountpoint, {"fsname=troubled", "allow_other"})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Whoever gave up capabilities may look into the namespaces only of those that have no more.
    capabilities.limit(())
    print("READY", flush=True)
    trio.run(pyfuse3.main)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
