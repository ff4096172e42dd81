"""Backing stores: where a virtual device's blocks are.

A store takes requests (``submit``) that are done while the event loop goes on, and has two
*attempts*: ``try_read`` and ``try_write`` do the whole transfer without waiting for a disk, or
decline.  Where the kernel cannot be asked whether they would wait (``asking``), they decline.
The other methods of a store block, and are for worker threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from scstfs.aio import DiskRequest, Engine, File, RequestKind, apart
from scstfs.aio.apart import FileStatus
from scstfs.aio.order import WriteOrder
from scstfs.core.quick import Loan
from scstfs.handlers import aligned, store_steps, syscalls
from scstfs.handlers.asking import CAN_NOT
from scstfs.handlers.asking import asking as find_asking
from scstfs.handlers.block_device import BlockDevice
from scstfs.handlers.page_cache import LentFile
from scstfs.handlers.store_steps import StoreSteps
from scstfs.scsi.unit import ThinLimits

#: As many extents as the parameter list of one UNMAP has room for.
MOST_EXTENTS: Final = (0xFFFF - 8) // 16

_ZEROS: Final = memoryview(bytes(aligned.MOST))
#: A file system or device does not have an operation.
_CAN_NOT: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)


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

    @property
    def tries(self) -> bool:
        """There is a point in attempts."""

    def try_read(self, offset: int, into: memoryview) -> bool:
        """Read without waiting, all or nothing."""

    def try_write(
        self, offset: int, data: memoryview, *, stays: bool = False, deadline: int = 0
    ) -> bool:
        """Write without waiting for long, or decline; what was declined has to be submitted.

        A declined write may have happened in part, or go on until what is submitted begins.  If
        ``data`` ``stays`` as it is until that has ended, no copy of it is needed.  ``deadline`` is
        that of a request, for whatever else than the caller may write.
        """

    def lend(self, offset: int, length: int) -> Loan | None:
        """Let a range be sent straight from a file, if that needs no waiting."""

    def submit(self, request: DiskRequest) -> None:
        """Begin a request; its errors are errnos, EIO where the store ends too early.

        It may be over when this returns.
        """

    def read(self, offset: int, into: memoryview) -> None:
        """Read; raises OSError, EIO where the store ends too early."""

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        """Write; ``durable`` data is safe from a power failure when this returns."""

    def prefetch(self, offset: int, length: int) -> None:
        """A range will be read soon."""

    def flush(self) -> None:
        """Make all that was written durable."""

    def perform(self, request: DiskRequest) -> None:
        """Do what a request is about; raises OSError."""

    def discarding(self, offset: int, length: int) -> StoreSteps:
        """Give a range back; what it reads as is up to the store."""

    def zeroing_by_discard(self, offset: int, length: int) -> StoreSteps:
        """Make a range read as zeros, giving back what can be given back."""

    def zeroing(self, offset: int, length: int) -> StoreSteps:
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
        """Give everything up; does not wait for it."""


class FileStore:
    """A file, or a block device through the page cache."""

    optimal_io_size = 0

    def __init__(
        self,
        path: str,
        *,
        read_only: bool,
        direct: bool = False,
        block_size: int = 512,
        engine: Engine | None = None,
        attempts: bool = True,
        flags: int = 0,
    ) -> None:
        """Open ``path``; raises OSError, EINVAL for what is neither file nor block device.

        ``direct`` bypasses the page cache, as far as blocks of ``block_size`` bytes can.  Without
        ``engine`` nothing can be submitted, without ``attempts`` everything is.  ``flags`` are more
        of those of open(2).
        """
        self._check_kind(apart.status_of(path).mode)
        flags |= os.O_RDONLY if read_only else os.O_RDWR
        device = self._open(path, flags, direct=direct, block_size=block_size)
        try:
            self.size = self.measure()
            self.can_discard = not read_only and (
                syscalls.can_punch(self.fd, self.size) if device is None else device.can_discard
            )
            asking = find_asking(self.fd)
        except OSError:
            self.abandon()
            raise
        self.physical_block_size: int | None = 4096
        self.tries: Final = asking.tries and attempts and not self.is_direct
        #: Attempts are made; of writing, until it turns out that that cannot be asked.
        self._tries_reading = self._tries_writing = self.tries
        self._flags = asking.flags
        self._file: File | None = None
        if engine is not None:
            self._file = engine.open(self.fd, direct=self.is_direct, asks=asking.asks)
        self._order = WriteOrder() if self._file is None else self._file.order
        self._lent = LentFile(self.fd, self._close_descriptor)

    def _check_kind(self, mode: int) -> None:
        """Refuse what is no disk; raises OSError."""
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _open(self, path: str, flags: int, *, direct: bool, block_size: int) -> BlockDevice | None:
        """Open what everything else works on; returns the block device, if it is one."""
        self.fd = apart.open_file(path, flags | (os.O_DIRECT if direct else 0))
        try:
            self._identify(apart.status(self.fd))
            self._discards_to_zeros = self._device is None or self._device.discards_to_zeros
        except OSError:
            self.abandon()
            raise
        if direct and not _takes_direct(self.fd, block_size):
            # Blocks that the medium cannot address one by one go through the page cache.
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags)
            direct = False
        self.is_direct = direct
        self._block_size = block_size
        return self._device

    def _identify(self, status: FileStatus) -> None:
        """Find out what it is that was opened; raises OSError."""
        is_block = stat.S_ISBLK(status.mode)
        self._device = BlockDevice(self.fd, MOST_EXTENTS) if is_block else None
        # The path, and which file of that name it is; numbers of devices change.
        inode = 0 if is_block else status.inode
        path = os.readlink(f"/proc/self/fd/{self.fd}")
        self.location = os.fsencode(path) + b"\0" + str(inode).encode()
        #: What is behind the store; equal for two stores of the same file or device.
        self.medium = (True, status.special, 0) if is_block else (False, status.device, inode)

    def try_read(self, offset: int, into: memoryview) -> bool:
        """See Store."""
        if not self._tries_reading:
            return False
        try:
            return os.preadv(self.fd, (into,), offset, self._flags) == len(into)
        except OSError:
            return False

    def try_write(
        self, offset: int, data: memoryview, *, stays: bool = False, deadline: int = 0
    ) -> bool:
        """See Store."""
        order = self._order
        if (order.pieces or order.large) and order.has_overlap(offset, len(data)):
            # It would be overwritten by what was there before.
            return False
        if not self._tries_writing:
            if self._file is None or not self.tries:
                return False
            return self._file.write_soon(offset, data, stays=stays, deadline=deadline)
        try:
            return os.pwritev(self.fd, (data,), offset, self._flags) == len(data)
        except OSError as error:
            if error.errno in CAN_NOT:
                self._tries_writing = False
            return False

    def lend(self, offset: int, length: int) -> Loan | None:
        """See Store; only what is in the page cache."""
        return self._lent.lend(offset, length) if self._tries_reading else None

    def submit(self, request: DiskRequest) -> None:
        """See Store."""
        file = self._file
        assert file is not None, "the store was opened with an engine"
        if self.is_direct and request.memory and not aligned.suits(request, self._block_size):
            through_memory = partial(aligned.submit, file.begin, block_size=self._block_size)
            if request.operation == RequestKind.WRITE:
                file.order.enter(request, through_memory)
            else:
                through_memory(request)
        else:
            file.submit(request)

    def read(self, offset: int, into: memoryview) -> None:
        """See Store."""
        try:
            self._read(offset, into)
        except OSError as error:
            if error.errno != errno.EINVAL or not self.is_direct:
                raise
            # Direct I/O wants aligned memory and whole blocks, and this is not.
            for start in range(0, len(into), aligned.MOST):
                part = into[start : start + aligned.MOST]
                memory = self._aligned(part)
                self._read(offset + start, memory)
                part[:] = memory[: len(part)]

    def _read(self, offset: int, into: memoryview) -> None:
        while into:
            count = apart.read(self.fd, into, offset)
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
            for start in range(0, len(data), aligned.MOST):
                part = data[start : start + aligned.MOST]
                memory = self._aligned(part)
                if len(memory) > len(part):
                    # The initiator sent less than its CDB says; what it did not send stays.
                    last = len(memory) - self._block_size
                    self._read(offset + start + last, memory[last:])
                memory[: len(part)] = part
                self._write(offset + start, memory, flags)

    def _aligned(self, part: memoryview) -> memoryview:
        """Aligned memory for the blocks that ``part`` is in."""
        return aligned.scratch(aligned.whole_blocks(len(part), self._block_size))

    def _write(self, offset: int, data: memoryview, flags: int) -> None:
        while data:
            count = apart.write(self.fd, data, offset, flags)
            data = data[count:]
            offset += count

    def prefetch(self, offset: int, length: int) -> None:
        """See Store."""
        apart.advise(self.fd, offset, length, os.POSIX_FADV_WILLNEED)

    def flush(self) -> None:
        """See Store."""
        apart.flush(self.fd)

    def perform(self, request: DiskRequest) -> None:
        """See Store."""
        offset, length, memory = request.offset, request.length, request.memory
        if memory is not None and request.operation == RequestKind.READ:
            self.read(offset, memory)
        elif memory is not None:
            self.write(offset, memory, durable=bool(request.flags))
        elif request.operation == RequestKind.FLUSH:
            self.flush()
        elif request.operation == RequestKind.PUNCH:
            syscalls.punch_hole(self.fd, offset, length)
        elif request.operation == RequestKind.ZERO:
            syscalls.zero_range(self.fd, offset, length)
        else:
            syscalls.discard(self.fd, offset, length)

    def discarding(self, offset: int, length: int) -> StoreSteps:
        """See Store; only some block devices read as zeros where they were discarded."""
        if self._device is None:
            yield from store_steps.do(DiskRequest(RequestKind.PUNCH, offset, length=length))
            return
        first, end = self._device.whole_sectors(offset, length)
        if self._discards_to_zeros:
            yield from self._punching(offset, first, end, offset + length)
        elif first < end:
            error = yield DiskRequest(RequestKind.DISCARD, first, length=end - first)
            # Giving space back is a wish; some devices on a stack cannot fulfil it.
            if error not in (0, errno.EOPNOTSUPP):
                raise OSError(error, os.strerror(error))

    def zeroing_by_discard(self, offset: int, length: int) -> StoreSteps:
        """See Store."""
        if self.can_discard and self._discards_to_zeros:
            return self.discarding(offset, length)
        return self.zeroing(offset, length)

    def _punching(self, offset: int, first: int, end: int, limit: int) -> StoreSteps:
        """Make a range read as zeros, and give back the sectors from ``first`` to ``end``."""
        if first == end:
            yield from store_steps.write_zeros(offset, limit - offset)
            return
        yield from store_steps.write_zeros(offset, first - offset)
        yield from store_steps.write_zeros(end, limit - end)
        error = yield DiskRequest(RequestKind.PUNCH, first, length=end - first)
        if error in _CAN_NOT:
            # A device that refuses what it had offered loses the offer.
            yield from self.zeroing(first, end - first)
        elif error:
            raise OSError(error, os.strerror(error))

    def zeroing(self, offset: int, length: int) -> StoreSteps:
        """See Store."""
        error = yield DiskRequest(RequestKind.ZERO, offset, length=length)
        if error in _CAN_NOT:
            yield from store_steps.write_zeros(offset, length)
        elif error:
            raise OSError(error, os.strerror(error))

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
            return apart.seek(self.fd, offset, whence)
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
            return apart.seek(self.fd, 0, os.SEEK_END)
        return apart.status(self.fd).size

    def usage(self) -> tuple[int, int]:
        """See Store; asks the file system. A block device does not tell: all may be in use."""
        if self._device is not None:
            return 0, self.size
        return syscalls.available(self.fd), apart.status(self.fd).allocated

    def close(self) -> None:
        """See Store; the file stays open until all that was lent has been given back."""
        self._lent.close()

    def _close_descriptor(self) -> None:
        if self._file is not None:
            self._file.close()
        else:
            os.close(self.fd)

    def abandon(self) -> None:
        """Close a store in which nothing has begun; blocks."""
        apart.close(self.fd)


class NullStore:
    """Nothing: writes are forgotten and reads give zeros.

    SCST leaves in the buffers of reads what they held before, unless ``read_zero`` is set; that
    may have been another initiator's data.
    """

    can_discard = False
    physical_block_size: int | None = 4096
    optimal_io_size = 0
    location = b""
    tries = True

    def __init__(self, size: int) -> None:
        self.size = size

    def try_read(self, offset: int, into: memoryview) -> bool:
        """See Store."""
        for start in range(0, len(into), len(_ZEROS)):
            part = into[start : start + len(_ZEROS)]
            part[:] = _ZEROS[: len(part)]
        return True

    def try_write(
        self, offset: int, data: memoryview, *, stays: bool = False, deadline: int = 0
    ) -> bool:
        """See Store."""
        return True

    def lend(self, offset: int, length: int) -> Loan | None:
        """See Store; there is no file."""
        return None

    def submit(self, request: DiskRequest) -> None:
        """See Store."""
        if request.operation == RequestKind.READ and request.memory is not None:
            self.try_read(request.offset, request.memory)
        request.end(0)

    def read(self, offset: int, into: memoryview) -> None:
        """See Store."""
        self.try_read(offset, into)

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        """See Store."""

    def prefetch(self, offset: int, length: int) -> None:
        """See Store."""

    def flush(self) -> None:
        """See Store."""

    def perform(self, request: DiskRequest) -> None:
        """See Store."""

    def discarding(self, offset: int, length: int) -> StoreSteps:
        """See Store."""
        yield from ()

    def zeroing_by_discard(self, offset: int, length: int) -> StoreSteps:
        """See Store."""
        yield from ()

    def zeroing(self, offset: int, length: int) -> StoreSteps:
        """See Store."""
        yield from ()

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


def _takes_direct(fd: int, block_size: int) -> bool:
    """Direct I/O can address blocks of ``block_size`` bytes."""
    try:
        apart.read(fd, aligned.scratch(block_size), block_size)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True
