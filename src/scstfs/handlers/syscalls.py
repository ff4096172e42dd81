"""System calls that Python's ``os`` does not have: fallocate(2) with modes, block device ioctls.

What may wait for a disk is done apart (``aio.apart``), and is for worker threads.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from typing import Final

from scstfs.aio import apart

_KEEP_SIZE: Final = 0x01
_PUNCH_HOLE: Final = 0x02
_ZERO_RANGE: Final = 0x10

_BLKSSZGET: Final = 0x1268
_BLKPBSZGET: Final = 0x127B
_BLKIOOPT: Final = 0x1279
_BLKDISCARD: Final = 0x1277

#: Of ``struct statfs``: f_type, f_bsize, f_bavail, f_frsize.
_STATFS: Final = struct.Struct("@ll16xL32xl")


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Give the space of a range back; it reads as zeros. Raises OSError."""
    apart.allocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)


def zero_range(fd: int, offset: int, length: int) -> None:
    """Make a range read as zeros and keep its space. Raises OSError."""
    apart.allocate(fd, _ZERO_RANGE | _KEEP_SIZE, offset, length)


def can_punch(fd: int, size: int) -> bool:
    """The file system can punch holes; asked with a range behind the end of ``size`` bytes."""
    try:
        punch_hole(fd, max(size, 1), 1)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EBADF)
    return True


def file_system(fd: int) -> int:
    """The type of the file system that an open file is in: statfs(2), ``f_type``. Raises OSError.

    Of the node of a block device, it is that of the node.
    """
    return int(_STATFS.unpack_from(apart.file_system(fd))[0])


def available(fd: int) -> int:
    """Bytes that can still be allocated in the file system of an open file. Raises OSError."""
    _type, transfer_size, blocks, block_size = _STATFS.unpack_from(apart.file_system(fd))
    return int(blocks * (block_size or transfer_size))


def discard(fd: int, offset: int, length: int) -> None:
    """Discard a range of a block device. Raises OSError."""
    apart.control(fd, _BLKDISCARD, struct.pack("=QQ", offset, length))


def logical_block_size(fd: int) -> int:
    """The smallest unit of a block device that can be addressed (bytes)."""
    return _get_int(fd, _BLKSSZGET)


def physical_block_size(fd: int) -> int:
    """The smallest unit of a block device that is written at once (bytes)."""
    return _get_int(fd, _BLKPBSZGET)


def optimal_io_size(fd: int) -> int:
    """The transfer size a block device prefers (bytes), 0 if it has none."""
    return _get_int(fd, _BLKIOOPT)


def _get_int(fd: int, request: int) -> int:
    (value,) = struct.unpack("=i", fcntl.ioctl(fd, request, bytes(4)))
    return int(value)
