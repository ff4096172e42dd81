"""Backing stores: where a virtual device's blocks are.

A store has blocking methods for worker threads and two *attempts* for the event loop: ``try_read``
and ``try_write`` do the whole transfer without waiting for a disk, or decline.

Whether an attempt would wait is asked of the kernel (RWF_NOWAIT) where the file system knows, and
found out by measuring where it does not: a transfer that took long makes the store decline for a
multiple of that time, so that a disk that cannot keep up gets only a small part of the event loop.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from scstfs.core.quick import Loan
from scstfs.handlers import syscalls
from scstfs.handlers.block_device import BlockDevice
from scstfs.handlers.page_cache import LentFile
from scstfs.scsi.unit import ThinLimits

#: Bytes that are moved at once where memory has to be aligned.
ALIGNED: Final = 1 << 20

#: As many extents as the parameter list of one UNMAP has room for.
MOST_EXTENTS: Final = (0xFFFF - 8) // 16

_ZEROS: Final = memoryview(bytes(ALIGNED))
#: A file system or device does not have an operation.
_CAN_NOT: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)

#: An attempt without RWF_NOWAIT that took longer (seconds) makes the store decline …
SLOW: Final = 0.002
#: … for this many times as long.
REST: Final = 9


@dataclass(frozen=True, slots=True)
class StoreExtent:
    """A range of bytes that is allocated, or a hole."""

    start: int
    end: int
    allocated: bool


class Store(Protocol):
    """Bytes at offsets.

    Offsets and lengths are in range and whole blocks, but that ``read`` and ``write`` may end
    within a block, as data does that an initiator announced too short.  Errors are OSError.
    """

    #: Bytes, as found when the store was opened or last resized.
    size: int
    #: Ranges can be given back (``discard``).
    can_discard: bool
    #: What the medium is written in (bytes), None if unknown.
    physical_block_size: int | None
    #: The transfer size that is best (bytes), 0 if none is.
    optimal_io_size: int
    #: A name for what is behind the store, the same when it is opened again.
    location: bytes

    def try_read(self, offset: int, into: memoryview) -> bool:
        """Read without waiting, all or nothing."""

    def try_write(self, offset: int, data: memoryview) -> bool:
        """Write without waiting, all or nothing (a declined write may have happened in part)."""

    def lend(self, offset: int, length: int) -> Loan | None:
        """Let a range be sent straight from a file, if that needs no waiting."""

    def read(self, offset: int, into: memoryview) -> None:
        """Read; raises OSError, EIO where the store ends too early."""

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        """Write; ``durable`` data is safe from a power failure when this returns."""

    def prefetch(self, offset: int, length: int) -> None:
        """A range will be read soon."""

    def flush(self) -> None:
        """Make all that was written durable."""

    def discard(self, offset: int, length: int) -> None:
        """Give a range back; what it reads as is up to the store."""

    def zero_by_discard(self, offset: int, length: int) -> None:
        """Make a range read as zeros, giving back what can be given back."""

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros."""

    def extents(self, offset: int, length: int) -> Iterator[StoreExtent]:
        """Which parts of a range are allocated."""

    def thin_limits(self, block_size: int) -> ThinLimits:
        """How ranges may be given back, in blocks of ``block_size`` bytes."""

    def measure(self) -> int:
        """The current size of what is behind the store (bytes)."""

    def usage(self) -> tuple[int, int]:
        """Bytes that can still be allocated, and bytes that are."""

    def close(self) -> None:
        """Give everything up."""


class FileStore:
    """A file, or a block device through the page cache."""

    optimal_io_size = 0

    def __init__(
        self, path: str, *, read_only: bool, direct: bool = False, block_size: int = 512
    ) -> None:
        """Open ``path``; raises OSError, EINVAL for what is neither file nor block device.

        ``direct`` bypasses the page cache, as far as blocks of ``block_size`` bytes can.
        """
        status = os.stat(path)
        kind = status.st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.location = location(path, status)
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC
        device = self._open(path, flags, direct=direct, block_size=block_size)
        try:
            self.size = self.measure()
            self.can_discard = not read_only and (
                syscalls.can_punch(self.fd, self.size) if device is None else device.can_discard
            )
        except OSError:
            os.close(self.fd)
            raise
        self.physical_block_size: int | None = 4096
        self._read_flags = _nowait_flags(self.fd)
        self._lent = LentFile(self.fd)

    def _open(self, path: str, flags: int, *, direct: bool, block_size: int) -> BlockDevice | None:
        """Open what everything else works on; returns the block device, if it is one."""
        self.fd = os.open(path, flags | (os.O_DIRECT if direct else 0))
        try:
            is_block = stat.S_ISBLK(os.fstat(self.fd).st_mode)
            self._device = BlockDevice(self.fd, MOST_EXTENTS) if is_block else None
            self._discards_to_zeros = self._device is None or self._device.discards_to_zeros
        except OSError:
            os.close(self.fd)
            raise
        if direct and not _takes_direct(self.fd, block_size):
            # Blocks that the medium cannot address one by one go through the page cache.
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags)
            direct = False
        self.is_direct = direct
        self._block_size = block_size
        self._read_flags = 0
        #: Taken back when the file system turns out not to know it.
        self._write_flags = os.RWF_NOWAIT
        self._declines_until = 0.0
        return self._device

    @property
    def medium(self) -> tuple[bool, int, int]:
        """What is behind the store; equal for two stores of the same file or device."""
        status = os.fstat(self.fd)
        if self._device is not None:
            return True, status.st_rdev, 0
        return False, status.st_dev, status.st_ino

    def try_read(self, offset: int, into: memoryview) -> bool:
        """See Store."""
        flags = self._read_flags
        if self.is_direct or (not flags and time.monotonic() < self._declines_until):
            return False
        began = time.monotonic() if not flags else 0.0
        try:
            done = os.preadv(self.fd, (into,), offset, flags) == len(into)
        except OSError:
            return False
        if not flags:
            self._judge(began)
        return done

    def try_write(self, offset: int, data: memoryview) -> bool:
        """See Store."""
        flags = self._write_flags
        began = 0.0 if flags else time.monotonic()
        if self.is_direct or (not flags and began < self._declines_until):
            return False
        try:
            done = os.pwritev(self.fd, (data,), offset, flags) == len(data)
        except OSError as error:
            if flags and error.errno in _CAN_NOT:
                self._write_flags = 0
                return self.try_write(offset, data)
            return False
        if not flags:
            self._judge(began)
        return done

    def lend(self, offset: int, length: int) -> Loan | None:
        """See Store; only what is in the page cache."""
        return None if self.is_direct else self._lent.lend(offset, length)

    def _judge(self, began: float) -> None:
        now = time.monotonic()
        if now - began > SLOW:
            self._declines_until = now + REST * (now - began)

    def read(self, offset: int, into: memoryview) -> None:
        """See Store."""
        try:
            self._read(offset, into)
        except OSError as error:
            if error.errno != errno.EINVAL or not self.is_direct:
                raise
            # Direct I/O wants aligned memory and whole blocks, and this is not.
            for start in range(0, len(into), ALIGNED):
                part = into[start : start + ALIGNED]
                aligned = _aligned(self._whole_blocks(len(part)))
                self._read(offset + start, aligned)
                part[:] = aligned[: len(part)]

    def _read(self, offset: int, into: memoryview) -> None:
        while into:
            count = os.preadv(self.fd, (into,), offset)
            if count == 0:
                raise OSError(errno.EIO, "the file is shorter than the device")
            into = into[count:]
            offset += count

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        """See Store."""
        flags = os.RWF_DSYNC if durable else 0
        try:
            self._write(offset, data, flags)
        except OSError as error:
            if error.errno != errno.EINVAL or not self.is_direct:
                raise
            for start in range(0, len(data), ALIGNED):
                part = data[start : start + ALIGNED]
                aligned = _aligned(self._whole_blocks(len(part)))
                if len(aligned) > len(part):
                    # The initiator sent less than its CDB says; what it did not send stays.
                    last = len(aligned) - self._block_size
                    self._read(offset + start + last, aligned[last:])
                aligned[: len(part)] = part
                self._write(offset + start, aligned, flags)

    def _whole_blocks(self, length: int) -> int:
        """``length``, up to the end of its last block (bytes)."""
        return -(-length // self._block_size) * self._block_size

    def _write(self, offset: int, data: memoryview, flags: int) -> None:
        while data:
            count = os.pwritev(self.fd, (data,), offset, flags)
            data = data[count:]
            offset += count

    def prefetch(self, offset: int, length: int) -> None:
        """See Store."""
        os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)

    def flush(self) -> None:
        """See Store."""
        os.fdatasync(self.fd)

    def discard(self, offset: int, length: int) -> None:
        """See Store; only some block devices read as zeros where they were discarded."""
        if self._device is None:
            syscalls.punch_hole(self.fd, offset, length)
        elif self._discards_to_zeros:
            self._punch_device(self._device, offset, length)
        else:
            self._device.discard(offset, length)

    def zero_by_discard(self, offset: int, length: int) -> None:
        """See Store."""
        if self.can_discard and self._discards_to_zeros:
            self.discard(offset, length)
        else:
            self.zero(offset, length)

    def _punch_device(self, device: BlockDevice, offset: int, length: int) -> None:
        """Give back what are whole sectors, and have all of a range read as zeros."""
        first, end = device.whole_sectors(offset, length)
        if first == end:
            self._write_zeros(offset, length)
            return
        if first > offset:
            self._write_zeros(offset, first - offset)
        if end < offset + length:
            self._write_zeros(end, offset + length - end)
        try:
            syscalls.punch_hole(self.fd, first, end - first)
        except OSError as error:
            # A device that refuses what it had offered loses the offer.
            if error.errno not in _CAN_NOT:
                raise
            self.zero(first, end - first)

    def zero(self, offset: int, length: int) -> None:
        """See Store."""
        try:
            if self._device is not None:
                syscalls.zero_out(self.fd, offset, length)
            else:
                syscalls.zero_range(self.fd, offset, length)
        except OSError as error:
            if error.errno not in _CAN_NOT:
                raise
            self._write_zeros(offset, length)

    def _write_zeros(self, offset: int, length: int) -> None:
        zeros = memoryview(mmap.mmap(-1, min(length, ALIGNED)))
        while length:
            part = zeros[:length]
            self.write(offset, part)
            offset += len(part)
            length -= len(part)

    def extents(self, offset: int, length: int) -> Iterator[StoreExtent]:
        """See Store; asks the file system (SEEK_DATA, SEEK_HOLE)."""
        end = offset + length
        if self._device is not None:
            yield StoreExtent(offset, end, allocated=True)
            return
        while offset < end:
            data = min(self._seek(offset, os.SEEK_DATA, end), end)
            if data > offset:
                yield StoreExtent(offset, data, allocated=False)
            if data == end:
                return
            offset = min(self._seek(data, os.SEEK_HOLE, end), end)
            yield StoreExtent(data, offset, allocated=True)

    def _seek(self, offset: int, whence: int, end: int) -> int:
        """Where data or a hole begins; ``end`` where the file has no more of it."""
        try:
            return os.lseek(self.fd, offset, whence)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return end

    def thin_limits(self, block_size: int) -> ThinLimits:
        """See Store; holes in files can be anywhere."""
        if self._device is not None:
            return self._device.thin_limits(block_size)
        limits = ThinLimits.of_file(block_size, reads_zero=True)
        return replace(limits, max_unmap_extents=MOST_EXTENTS)

    def measure(self) -> int:
        """See Store."""
        if self._device is not None:
            return os.lseek(self.fd, 0, os.SEEK_END)
        return os.fstat(self.fd).st_size

    def usage(self) -> tuple[int, int]:
        """See Store; asks the file system. A block device does not tell: all may be in use."""
        if self._device is not None:
            return 0, self.size
        system = os.fstatvfs(self.fd)
        return system.f_bavail * system.f_frsize, os.fstat(self.fd).st_blocks * 512

    def close(self) -> None:
        """See Store; the file stays open until all that was lent has been given back."""
        self._lent.close()


class NullStore:
    """Nothing: writes are forgotten and reads give zeros.

    SCST leaves in the buffers of reads what they held before, unless ``read_zero`` is set; that
    may have been another initiator's data.
    """

    can_discard = False
    physical_block_size: int | None = 4096
    optimal_io_size = 0
    location = b""

    def __init__(self, size: int) -> None:
        self.size = size

    def try_read(self, offset: int, into: memoryview) -> bool:
        """See Store."""
        for start in range(0, len(into), len(_ZEROS)):
            part = into[start : start + len(_ZEROS)]
            part[:] = _ZEROS[: len(part)]
        return True

    def try_write(self, offset: int, data: memoryview) -> bool:
        """See Store."""
        return True

    def lend(self, offset: int, length: int) -> Loan | None:
        """See Store; there is no file."""
        return None

    def read(self, offset: int, into: memoryview) -> None:
        """See Store."""
        self.try_read(offset, into)

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        """See Store."""

    def prefetch(self, offset: int, length: int) -> None:
        """See Store."""

    def flush(self) -> None:
        """See Store."""

    def discard(self, offset: int, length: int) -> None:
        """See Store."""

    def zero_by_discard(self, offset: int, length: int) -> None:
        """See Store."""

    def zero(self, offset: int, length: int) -> None:
        """See Store."""

    def extents(self, offset: int, length: int) -> Iterator[StoreExtent]:
        """See Store."""
        yield StoreExtent(offset, offset + length, allocated=True)

    def thin_limits(self, block_size: int) -> ThinLimits:
        """See Store; there is nothing to give back."""
        return ThinLimits(0)

    def measure(self) -> int:
        """See Store."""
        return self.size

    def usage(self) -> tuple[int, int]:
        """See Store."""
        return 0, self.size

    def close(self) -> None:
        """See Store."""


def location(path: str, status: os.stat_result) -> bytes:
    """The path, and which file of that name it is; numbers of devices change."""
    inode = 0 if stat.S_ISBLK(status.st_mode) else status.st_ino
    return os.fsencode(os.path.realpath(path)) + b"\0" + str(inode).encode()


_scratch: Final = threading.local()


def _aligned(length: int) -> memoryview:
    """Page-aligned memory of this thread, for up to ALIGNED bytes and until the next call."""
    memory: memoryview | None = getattr(_scratch, "memory", None)
    if memory is None:
        memory = _scratch.memory = memoryview(mmap.mmap(-1, ALIGNED))
    return memory[:length]


def _takes_direct(fd: int, block_size: int) -> bool:
    """Direct I/O can address blocks of ``block_size`` bytes."""
    try:
        os.preadv(fd, (_aligned(block_size),), block_size)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def _nowait_flags(fd: int) -> int:
    """RWF_NOWAIT if reads of this file can be asked not to wait, else 0."""
    try:
        os.preadv(fd, (bytearray(1),), 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return os.RWF_NOWAIT
    except OSError:
        return 0
    return os.RWF_NOWAIT
