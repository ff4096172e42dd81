"""Writes by a thread for which the event loop waits a moment.

Some file systems cannot be asked whether a write would have to wait for the disk; nearly none does.
Handing it over and going on takes several times as long as most of them do.  So the event loop
waits for a thread, PATIENCE at most: then it goes on, and what is under way is a write like any
other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from scstfs.aio._native import ffi, lib
from scstfs.aio.request import DiskRequest, RequestDone, RequestKind

if TYPE_CHECKING:
    from scstfs.aio.order import WriteOrder

#: Bytes of a write that is handed over, at most: longer ones do not end soon.
LONGEST: Final = 1 << 20
#: … and of one whose memory is used for other things soon.
LONGEST_COPY: Final[int] = lib.DISK_HANDED_OVER
#: Of shorter ones (bytes) only so many are handed over in a batch of work: together, more of them
#: cost less elsewhere.
SHORT: Final = 16 << 10
MOST_SHORT: Final = 1
ANY: Final = 1 << 62
#: How long the event loop waits (nanoseconds).
PATIENCE: Final = 300_000
#: How long it does not try again after it had to go on (seconds).
PAUSE: Final = 0.05


class Handover:
    """The thread, which begins with the first write."""

    def __init__(self, cancel: Callable[[DiskRequest], None]) -> None:
        """``cancel`` ends what need not wait any more.

        Raises OSError for want of memory or descriptors.
        """
        self._cancel = cancel
        #: Readable when what was under way has ended.
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        error = ffi.new("int *")
        self._handle = lib.disk_handover_open(self.eventfd, error)
        if self._handle == ffi.NULL:
            os.close(self.eventfd)
            raise OSError(error[0], os.strerror(error[0]))
        self.is_closed = False
        #: How many short ones may be handed over before the present batch of work is done.
        self.short_ones = ANY
        self._not_before = 0.0
        #: What the event loop did not wait for.
        self._left: DiskRequest | None = None

    def write(
        self,
        fd: int,
        order: WriteOrder,
        ended: RequestDone,
        offset: int,
        data: memoryview,
        *,
        stays: bool,
        deadline: int,
    ) -> bool:
        """Write all of ``data``, or decline.

        A write that was declined may have happened in part, or go on.  In that case it counts as
        one of those that change the file, in ``order``, until it has ended, and ``ended`` is called
        then: whatever overlaps it waits.  ``data`` that ``stays`` is as it is until a write that
        waits so has ended.  ``deadline`` is that of a request.
        """
        length = len(data)
        if length > (LONGEST if stays else LONGEST_COPY):
            return False
        if self._left is not None or self.is_closed:
            return False
        if length < SHORT:
            if not self.short_ones:
                return False
            self.short_ones -= 1
        if self._not_before:
            if monotonic() < self._not_before:
                return False
            self._not_before = 0.0
        result = lib.disk_handover_write(
            self._handle, fd, ffi.from_buffer(data), length, offset, deadline, stays, PATIENCE
        )
        if result == -errno.EINPROGRESS:
            self._not_before = monotonic() + PAUSE
            self._left = DiskRequest(RequestKind.WRITE, offset, done=ended, length=length)
            order.enter(self._left, lambda request: None)
        return bool(result == length)

    def look(self) -> None:
        """Have what was under way end, if it has."""
        if self._left is None or lib.disk_handover_ended(self._handle) == -errno.EINPROGRESS:
            return
        request, self._left = self._left, None
        followers = request.followers
        # What became of it does not matter: it was declined, and is done again.
        request.end(0)
        for follower in followers:
            if follower.is_canceled:
                self._cancel(follower)

    def delays(self, request: DiskRequest) -> bool:
        """``request`` waits for what is under way: its data may be what is being written."""
        return self._left is not None and request in self._left.followers

    def close(self) -> None:
        """Leave alone what is under way.  Once is enough."""
        if not self.is_closed:
            self.is_closed = True
            lib.disk_handover_close(self._handle)
            os.close(self.eventfd)
