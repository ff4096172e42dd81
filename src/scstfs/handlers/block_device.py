"""Properties of a block device that the kernel knows, and discarding ranges of it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from scstfs.handlers import syscalls
from scstfs.scsi.unit import ThinLimits


class BlockDevice:
    """An open block device; the owner of the descriptor closes it."""

    def __init__(self, fd: int, most_extents: int) -> None:
        """Look at the device; raises OSError.

        ``most_extents`` is how many ranges one command can ask to be given back.
        """
        self._fd = fd
        self._most_extents = most_extents
        self._sector = syscalls.logical_block_size(fd)
        self._queue = _queue_directory(fd)

    @property
    def can_discard(self) -> bool:
        """Ranges can be given back."""
        return self._limit("discard_max_bytes") > 0

    @functools.cached_property
    def discards_to_zeros(self) -> bool:
        """What is given back by a punched hole is known to read as zeros, and to be given back.

        Any device with an offload for zeroing takes fallocate(2) with FALLOC_FL_PUNCH_HOLE, but
        some write zeros then and keep the space.  Loop devices punch a hole into their file, SCSI
        disks tell what WRITE SAME does, and since Linux 6.17 every queue does.
        """
        if not self._limit("write_zeroes_max_bytes"):
            return False
        disk = self._queue / ".."
        modes = [path.read_text().strip() for path in disk.glob("device/scsi_disk/*/zeroing_mode")]
        return (
            (disk / "loop").is_dir()
            or any(mode.endswith("_unmap") for mode in modes)
            or self._limit("write_zeroes_unmap_max_hw_bytes") > 0
        )

    @property
    def physical_block_size(self) -> int:
        """The smallest unit that is written at once (bytes)."""
        return syscalls.physical_block_size(self._fd)

    @property
    def optimal_io_size(self) -> int:
        """The transfer size that the device prefers (bytes), 0 if it has none."""
        return syscalls.optimal_io_size(self._fd)

    def whole_sectors(self, offset: int, length: int) -> tuple[int, int]:
        """Where the sectors that are altogether in a range begin and end; equal if there are none.

        All numbers are bytes.
        """
        first = -(-offset // self._sector) * self._sector
        return first, max(first, (offset + length) // self._sector * self._sector)

    def thin_limits(self, block_size: int) -> ThinLimits:
        """How ranges may be given back, in blocks of ``block_size`` bytes."""
        granularity = self._limit("discard_granularity") // block_size
        alignment = self._limit("../discard_alignment") // block_size
        return ThinLimits(
            max_unmap_blocks=self._limit("discard_max_bytes") // block_size,
            granularity=granularity,
            alignment=0 if alignment == granularity else alignment,
            reads_zero=self.discards_to_zeros,
            max_unmap_extents=self._most_extents,
        )

    def _limit(self, name: str) -> int:
        """A number from the request queue's directory in /sys; 0 if there is none."""
        try:
            return int((self._queue / name).read_text())
        except (OSError, ValueError):
            return 0


def _queue_directory(fd: int) -> Path:
    """Where /sys describes the request queue of a block device, or of the disk it is part of."""
    number = os.fstat(fd).st_rdev
    base = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    return next((d for d in (base / "queue", base / "../queue") if d.is_dir()), base)
