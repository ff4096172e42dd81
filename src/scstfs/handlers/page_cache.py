"""Sending from the page cache: which parts of a file are in memory, and which are still being sent.

sendfile(2) spares two copies of large reads, but waits for the disk where something is missing.
mincore(2) tells in advance; the mapping that it wants is never touched, so that neither a missing
page nor a file that was cut short can hurt.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Final

from scstfs.core.quick import Loan

#: Bytes that are lent at once, at most.
LONGEST: Final = 1 << 20

_PAGE: Final = mmap.PAGESIZE
_MOST_PAGES: Final = LONGEST // _PAGE + 1
_FAILED: Final = ctypes.c_void_p(-1).value

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_mincore: Final = _libc.mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class LentFile:
    """A file descriptor that stays open until all that was lent has been given back.

    Everything here is for the event loop, and for files that can be asked not to wait (RWF_NOWAIT):
    those of a network would be waited for.
    """

    def __init__(self, fd: int, close: Callable[[], None]) -> None:
        """``close`` closes ``fd``."""
        self._fd = fd
        self._close = close
        self._loans = 0
        self._is_closed = False
        self._address: int | None = None
        self._mapped = 0
        self._residency = bytearray(_MOST_PAGES)
        self._vector = (ctypes.c_ubyte * _MOST_PAGES).from_buffer(self._residency)

    def lend(self, offset: int, length: int) -> Loan | None:
        """Lend a range of at most LONGEST bytes if all of it is in memory."""
        if self._is_closed or length > LONGEST or not self._is_resident(offset, length):
            return None
        self._loans += 1
        return Loan(self._fd, offset, self._give_back)

    def close(self) -> None:
        """Close the file as soon as nothing of it is lent any more; once is enough."""
        last = not self._is_closed and not self._loans
        self._is_closed = True
        if last:
            self._release()

    def _give_back(self) -> None:
        self._loans -= 1
        if self._is_closed and not self._loans:
            self._release()

    def _release(self) -> None:
        self._unmap()
        self._close()

    def _is_resident(self, offset: int, length: int) -> bool:
        start = offset - offset % _PAGE
        end = offset + length
        # The page behind the end of a file that was cut short may still be there.
        if end > os.lseek(self._fd, 0, os.SEEK_END):
            return False
        if end > self._mapped and not self._map(end):
            return False
        assert self._address is not None
        if _mincore(self._address + start, end - start, self._vector):
            return False
        pages = (end - start + _PAGE - 1) // _PAGE
        return self._residency.find(0, 0, pages) < 0

    def _map(self, end: int) -> bool:
        """Map the file at least up to ``end``; False where that is impossible."""
        self._unmap()
        size = max(end, os.lseek(self._fd, 0, os.SEEK_END))
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, self._fd, 0)
        if address == _FAILED:
            return False
        self._address, self._mapped = address, size
        return True

    def _unmap(self) -> None:
        if self._address is not None:
            _libc.munmap(self._address, self._mapped)
        self._address, self._mapped = None, 0
