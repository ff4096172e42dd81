"""A block device as a backing store, without the page cache (vdisk_blockio)."""

from __future__ import annotations

import errno
import os
import stat

from scstfs.aio import Engine
from scstfs.handlers.store import FileStore


class BlockStore(FileStore):
    """A block device that is opened exclusively."""

    def __init__(
        self, path: str, *, read_only: bool, block_size: int, engine: Engine | None = None
    ) -> None:
        """Open the block device at ``path`` for ourselves alone.

        Raises OSError: ENOTBLK for anything else, EBUSY if it is in use.  Blocks that
        the device cannot address one by one go through the page cache after all.  Without
        ``engine`` nothing can be submitted.
        """
        super().__init__(
            path,
            read_only=read_only,
            direct=True,
            block_size=block_size,
            engine=engine,
            attempts=False,
            flags=os.O_EXCL,
        )
        assert self._device is not None, "it is a block device"
        self.physical_block_size = self._device.physical_block_size
        self.optimal_io_size = self._device.optimal_io_size

    def _check_kind(self, mode: int) -> None:
        """See FileStore."""
        if not stat.S_ISBLK(mode):
            raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))

    def prefetch(self, offset: int, length: int) -> None:
        """Does nothing: there is no cache to fill."""
