"""One thing to do with a file, and what is called when it is done."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from scstfs.aio._native import lib
from scstfs.aio.address import address_of

if TYPE_CHECKING:
    from scstfs.aio.lane import Lane
    from scstfs.aio.order import WriteOrder

#: Called in the event loop with 0 or an errno.
RequestDone: TypeAlias = Callable[[int], None]


def _nobody(_error: int) -> None:
    """Nothing follows, or what does is set before the request is submitted."""


class RequestKind(enum.IntEnum):
    """What a request is about."""

    READ = lib.DISK_READ
    WRITE = lib.DISK_WRITE
    #: Make durable what was written: fdatasync(2).
    FLUSH = lib.DISK_SYNC
    #: Give a range of a file back, which reads as zeros then: fallocate(2).
    PUNCH = lib.DISK_PUNCH
    #: Make a range read as zeros, and keep its space: fallocate(2).
    ZERO = lib.DISK_ZERO
    #: Discard a range of a block device: BLKDISCARD.
    DISCARD = lib.DISK_DISCARD
    #: For File.
    CLOSE = lib.DISK_CLOSE


class DiskRequest:
    """One request; it belongs to what made it, and to the engine until ``done`` is called.

    ``offset`` and ``length`` are in bytes.  READ and WRITE move ``memory``, all of it: it must stay
    where it is, at ``address`` if that is known.  A ``durable`` WRITE is safe from a power failure
    at its end.  ``deadline`` is the address of one (``deadline.Deadline``), or 0.  ``done`` is
    called exactly once, in the event loop: with 0, or an errno of which EIO is also a READ behind
    the end of the file, and ECANCELED what was cancelled in time.
    """

    __slots__ = (
        "address",
        "ahead",
        "begin",
        "deadline",
        "done",
        "expected",
        "flags",
        "followers",
        "is_canceled",
        "lane",
        "length",
        "memory",
        "offset",
        "operation",
        "order",
        "span",
        "token",
    )

    def __init__(
        self,
        operation: int,
        offset: int = 0,
        memory: memoryview | None = None,
        done: RequestDone = _nobody,
        address: int = 0,
        durable: bool = False,
        *,
        length: int = 0,
    ) -> None:
        self.operation = operation
        self.offset = offset
        self.memory = memory
        self.done = done
        self.flags: int = lib.DISK_DURABLE if durable else 0
        if memory is not None:
            #: What the system says when all is done.
            self.expected = self.length = len(memory)
            self.address = address or address_of(memory)
        else:
            self.expected = self.address = 0
            self.length = length
        self.deadline = 0
        self.is_canceled = False
        #: Where it waits or is under way; None before and afterwards.
        self.lane: Lane | None = None
        #: Where its turn is decided, if it changes something, until it has ended; what it changes,
        #: how many requests it has to wait for, which wait for it, and what begins it.
        self.order: WriteOrder | None = None
        self.span: tuple[int, int]
        self.ahead = 0
        self.followers: tuple[DiskRequest, ...] = ()
        self.begin: Callable[[DiskRequest], None]
        #: What the system calls it, -1 while it waits.
        self.token = -1

    def end(self, error: int) -> None:
        """Call ``done``, and refer to nothing any more: the memory may be large."""
        done, self.done = self.done, _nobody
        self.memory = None
        order, self.order = self.order, None
        if order is not None:
            order.leave(self)
        done(error)

    def moved(self, count: int) -> None:
        """``count`` bytes of it are done; the rest is yet to do."""
        self.offset += count
        self.address += count
        self.length -= count
        self.expected -= count
