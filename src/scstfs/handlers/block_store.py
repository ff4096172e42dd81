"""A block device as a backing store, without the page cache (vdisk_blockio)."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from scstfs.core.device import Loan
from scstfs.handlers import syscalls
from scstfs.handlers.page_cache import LentFile
from scstfs.handlers.store import MOST_EXTENTS, FileStore, location
from scstfs.scsi.unit import ThinLimits


class BlockStore(FileStore):
    """A block device that nobody else has open."""

    def __init__(self, path: str, *, read_only: bool, block_size: int) -> None:
        """Open the block device at ``path`` for ourselves alone.

        Raises OSError: ENOTBLK for anything else, EBUSY if somebody else has it.  Blocks that
        the device can not address one by one go through the page cache after all.
        """
        status = os.stat(path)
        if not stat.S_ISBLK(status.st_mode):
            raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))
        self.location = location(path, status)
        self.is_block_device = True
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_EXCL | os.O_CLOEXEC
        self._open(path, flags, direct=True, block_size=block_size)
        try:
            self.size = self.measure()
            self.physical_block_size = syscalls.physical_block_size(self.fd)
            self.optimal_io_size = syscalls.optimal_io_size(self.fd)
            self._sector = syscalls.logical_block_size(self.fd)
            self._queue = _queue_directory(self.fd)
            self.can_discard = not read_only and self._limit("discard_max_bytes") > 0
            self._lent = LentFile(self.fd)
        except OSError:
            os.close(self.fd)
            raise

    def _limit(self, name: str) -> int:
        """A number from the request queue's directory in /sys; 0 if there is none."""
        try:
            return int((self._queue / name).read_text())
        except (OSError, ValueError):
            return 0

    def try_read(self, offset: int, into: memoryview) -> bool:
        """Always declines: the device may take its time."""
        return False

    def try_write(self, offset: int, data: memoryview) -> bool:
        """Always declines, too."""
        return False

    def lend(self, offset: int, length: int) -> Loan | None:
        """Lends nothing: what is in the page cache is not what is on the device."""
        return None

    def prefetch(self, offset: int, length: int) -> None:
        """Does nothing: there is no cache to fill."""

    def discard(self, offset: int, length: int) -> None:
        """See Store; parts of sectors stay as they are."""
        first = -(-offset // self._sector) * self._sector
        end = (offset + length) // self._sector * self._sector
        if first >= end:
            return
        try:
            syscalls.discard(self.fd, first, end - first)
        except OSError as error:
            # Giving space back is a wish; some devices on a stack can not fulfil it.
            if error.errno != errno.EOPNOTSUPP:
                raise

    def thin_limits(self, block_size: int) -> ThinLimits:
        """See Store; what the kernel knows of the device."""
        granularity = self._limit("discard_granularity") // block_size
        alignment = self._limit("../discard_alignment") // block_size
        return ThinLimits(
            max_unmap_blocks=self._limit("discard_max_bytes") // block_size,
            granularity=granularity,
            alignment=0 if alignment == granularity else alignment,
            max_unmap_extents=MOST_EXTENTS,
        )

    def usage(self) -> tuple[int, int]:
        """A block device does not tell: all of it may be in use."""
        return 0, self.size


def _queue_directory(fd: int) -> Path:
    """Where /sys describes the request queue of a block device, or of the disk it is part of."""
    number = os.fstat(fd).st_rdev
    base = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return next((d for d in (base / "queue", base / "../queue") if d.is_dir()), base)
