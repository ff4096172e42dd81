"""A block device as a backing store, without the page cache (vdisk_blockio)."""

from __future__ import annotations

import errno
import os
import stat

from scstfs.core.quick import Loan
from scstfs.handlers.page_cache import LentFile
from scstfs.handlers.store import FileStore, location


class BlockStore(FileStore):
    """A block device that is opened exclusively."""

    def __init__(self, path: str, *, read_only: bool, block_size: int) -> None:
        """Open the block device at ``path`` exclusively.

        Raises OSError: ENOTBLK for anything else, EBUSY if it is in use.  Blocks that the device
        cannot address one by one go through the page cache after all.
        """
        status = os.stat(path)
        if not stat.S_ISBLK(status.st_mode):
            raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))
        self.location = location(path, status)
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_EXCL | os.O_CLOEXEC
        device = self._open(path, flags, direct=True, block_size=block_size)
        assert device is not None, "it is a block device"
        try:
            self.size = self.measure()
            self.physical_block_size = device.physical_block_size
            self.optimal_io_size = device.optimal_io_size
            self.can_discard = not read_only and device.can_discard
            self._lent = LentFile(self.fd)
        except OSError:
            os.close(self.fd)
            raise

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
