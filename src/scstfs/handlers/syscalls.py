"""System calls that Python's ``os`` does not have: fallocate(2) with modes, block device ioctls."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Final

_KEEP_SIZE: Final = 0x01
_PUNCH_HOLE: Final = 0x02
_ZERO_RANGE: Final = 0x10

_BLKSSZGET: Final = 0x1268
_BLKPBSZGET: Final = 0x127B
_BLKIOOPT: Final = 0x1279
_BLKDISCARD: Final = 0x1277
_BLKZEROOUT: Final = 0x127F

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate64.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Give the space of a range back; it reads as zeros. Raises OSError."""
    _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)


def zero_range(fd: int, offset: int, length: int) -> None:
    """Make a range read as zeros and keep its space. Raises OSError."""
    _fallocate(fd, _ZERO_RANGE | _KEEP_SIZE, offset, length)


def can_punch(fd: int, size: int) -> bool:
    """The file system can punch holes; asked with a range behind the end of ``size`` bytes."""
    try:
        punch_hole(fd, max(size, 1), 1)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EBADF)
    return True


def discard(fd: int, offset: int, length: int) -> None:
    """Discard a range of a block device. Raises OSError."""
    fcntl.ioctl(fd, _BLKDISCARD, struct.pack("=QQ", offset, length))


def zero_out(fd: int, offset: int, length: int) -> None:
    """Make a range of a block device read as zeros. Raises OSError."""
    fcntl.ioctl(fd, _BLKZEROOUT, struct.pack("=QQ", offset, length))


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


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    if _libc.fallocate64(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
