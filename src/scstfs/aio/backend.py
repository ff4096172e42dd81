"""A way to have requests executed by the system, by the functions of native/native.h.

The system knows requests by *tokens*: the number of a slot, and in the bits above that how many
cancellations there had been, so that none of them is ever about another request than the one that
it was meant for.  What is begun is collected, and handed over by one system call when the present
batch of work is done (``flush``).
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scstfs.aio._native import ffi, lib

if TYPE_CHECKING:
    from scstfs.aio.lane import Lane
    from scstfs.aio.request import DiskRequest

log = logging.getLogger(__name__)

#: Requests that the system has at the same time, at most, of all files.
ENTRIES: Final = 4096
#: … where the system has a limit for all programs together (fs.aio-max-nr).
AIO_ENTRIES: Final = 1024
#: Threads, the kernel's for io_uring or our own: for each file, a few at most.
MOST_THREADS: Final = 512

#: struct disk_request
_REQUEST: Final = Struct("=QQQQQiHBB")
#: Completions that are taken at once, and the numbers in one of them: token and result.
_MOST: Final = 256
_NUMBERS: Final = 2

_SLOT: Final = 0xFFFF
_CANCELLATION: Final = _SLOT + 1

#: What one back end says of a request that another one may be able to do.
_ELSEWHERE: Final = frozenset(
    {errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOTTY}
)

Arm = Callable[["Backend"], None]


class BackendFunctions(NamedTuple):
    """The functions of one kind of back end; native/native.h says what they do."""

    submit: Callable[[Any, Any, int], int]
    drain: Callable[[Any, Any, int, bool], int]
    close: Callable[[Any], None]


class Backend:
    """One of them, open."""

    def __init__(
        self,
        functions: BackendFunctions,
        open_handle: Callable[[int, Any], Any],
        entries: int,
        arm: Arm,
        *,
        cancels: bool,
    ) -> None:
        """``open_handle(eventfd, error)`` opens it for ``entries`` requests at the same time.

        ``arm`` is called when there is something to flush; ``cancels`` says whether requests can be
        cancelled.  Raises OSError where the system refuses.
        """
        #: Readable when something is done.
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        error = ffi.new("int *")
        self._handle = open_handle(self.eventfd, error)
        if self._handle == ffi.NULL:
            os.close(self.eventfd)
            raise OSError(error[0], os.strerror(error[0]))
        self.is_closed = False
        self._functions = functions
        self._arm = arm
        self._cancels = cancels
        #: Requests that can be begun now.
        self.room = entries
        #: Lanes that have nothing under way and wait for room.
        self.hungry: dict[Lane, None] = {}
        #: Where to try what this back end cannot do, if anywhere.
        self.other: Backend | None = None
        self._requests: list[DiskRequest | None] = [None] * entries
        self._free = list(reversed(range(entries)))
        self._cancellations = 0
        # Cancellations have no slots: as many again.
        self._batch = bytearray(2 * entries * _REQUEST.size)
        self._batch_in_c = ffi.from_buffer("struct disk_request[]", self._batch)
        self._collected = 0
        self._stuck = 0
        self._completions = ffi.new("struct disk_completion[]", _MOST)
        self._numbers = ffi.cast("int64_t *", self._completions)

    @property
    def under_way(self) -> int:
        """Requests that the system has, or is about to get."""
        return len(self._requests) - self.room

    @property
    def is_stuck(self) -> bool:
        """The system has not taken everything: ``flush`` has to be called again."""
        return bool(self._stuck)

    def start(self, lane: Lane, request: DiskRequest) -> None:
        """Hand ``request`` over with the present batch; there is room for it."""
        if not lane.under_way:
            lane.since = monotonic()
        lane.under_way += 1
        self.room -= 1
        slot = self._free.pop()
        self._requests[slot] = request
        token = request.token = slot | self._cancellations
        collected = self._collected
        _REQUEST.pack_into(
            self._batch, collected * _REQUEST.size, token, request.address, request.offset,
            request.length, request.deadline, lane.fd, request.operation, request.flags,
            lane.threads,
        )  # fmt: skip
        self._collected = collected + 1
        if not collected:
            self._arm(self)

    def cancel(self, request: DiskRequest) -> None:
        """Try to end ``request``, which is under way, before its time."""
        at = self._collected * _REQUEST.size
        if not self._cancels or at == len(self._batch):
            return
        self._cancellations += _CANCELLATION
        fd = request.lane.fd if request.lane is not None else -1
        _REQUEST.pack_into(self._batch, at, 0, 0, request.token, 0, 0, fd, lib.DISK_CANCEL, 0, 0)
        self._collected += 1
        self._arm(self)

    def flush(self) -> None:
        """Hand over what was collected, as much as the system takes."""
        if self.is_closed:
            return
        submit = self._functions.submit
        if self._stuck:
            self._stuck = submit(self._handle, ffi.NULL, 0)
        begin, end = 0, self._collected
        while begin < end and not self._stuck:
            count = min(end - begin, lib.DISK_BATCH)
            self._stuck = submit(self._handle, self._batch_in_c + begin, count)
            begin += count
        size = _REQUEST.size
        if begin and begin < end:
            self._batch[: (end - begin) * size] = self._batch[begin * size : end * size]
        self._collected = end - begin
        if self._stuck:
            # What waits for completions has to know.
            os.eventfd_write(self.eventfd, 1)

    def completions(self, *, woken: bool = False) -> list[int]:
        """Tokens and results, in turn, of some of what is done; empty if nothing is.

        ``woken`` says that the eventfd was readable.  Costs no system call where nothing is done.
        """
        if self.is_closed:
            return []
        count = self._functions.drain(self._handle, self._completions, _MOST, woken)
        return ffi.unpack(self._numbers, _NUMBERS * count) if count else []

    def end(self, numbers: list[int]) -> None:
        """Call back for each request that is done, by the numbers of ``completions``."""
        requests, free = self._requests, self._free
        now = monotonic()
        pairs = iter(numbers)
        for token, result in zip(pairs, pairs, strict=True):
            slot = token & _SLOT
            request = requests[slot]
            assert request is not None, "a slot is in use until its completion"
            lane = request.lane
            assert lane is not None, "it is under way"
            requests[slot] = None
            free.append(slot)
            self.room += 1
            lane.under_way -= 1
            lane.since = now
            error = 0 if result == request.expected else self._judge(request, result)
            if lane.waiting:
                lane.go_on()
            if error is not None:
                end(request, error)
            if lane.file.is_closing and not lane.under_way:
                lane.file.close_when_idle()
        hungry = self.hungry
        while hungry and self.room:
            lane = next(iter(hungry))
            del hungry[lane]
            lane.go_on()

    def _judge(self, request: DiskRequest, result: int) -> int | None:
        """Another end than the ordinary one: its errno, or None if the request goes on."""
        lane = request.lane
        assert lane is not None, "it was under way"
        if result > 0:
            request.moved(result)
        elif result == 0:
            return errno.EIO
        elif request.is_canceled and -result in (errno.EINTR, errno.ECANCELED):
            return errno.ECANCELED
        elif -result in _ELSEWHERE and self.other is not None:
            lane = lane.file.lane_elsewhere(self.other)
        elif -result != errno.EINTR:
            return -result
        if request.is_canceled:
            return errno.ECANCELED
        request.token = -1
        lane.submit(request)
        return None

    def close(self) -> None:
        """Leave alone what is under way; nothing is called back any more.  Once is enough."""
        if self.is_closed:
            return
        self.flush()
        left = [request for request in self._requests if request is not None]
        if left:
            _abandoned.append(left)
        self._functions.close(self._handle)
        self.is_closed = True
        os.close(self.eventfd)


#: Requests whose memory the system may still write to although their engine is gone.
_abandoned: Final[list[list[DiskRequest]]] = []


def end(request: DiskRequest, error: int) -> None:
    """Call back for ``request``."""
    request.lane = None
    try:
        request.end(error)
    except Exception:
        # A bug in what one request is for must not lose the others' ends.
        log.exception("what follows a disk request failed")


def open_ring(arm: Arm) -> Backend:
    """io_uring; raises OSError where the system refuses it, as containers are wont to."""
    return Backend(
        BackendFunctions(lib.disk_ring_submit, lib.disk_ring_drain, lib.disk_ring_close),
        lambda eventfd, error: lib.disk_ring_open(ENTRIES, MOST_THREADS, eventfd, error),
        ENTRIES,
        arm,
        cancels=True,
    )


def open_aio(arm: Arm) -> Backend:
    """The kernel's AIO, for direct transfers; raises OSError where the system refuses it."""
    return Backend(
        BackendFunctions(lib.disk_aio_submit, lib.disk_aio_drain, lib.disk_aio_close),
        lambda eventfd, error: lib.disk_aio_open(AIO_ENTRIES, eventfd, error),
        AIO_ENTRIES,
        arm,
        cancels=False,
    )


def open_threads(arm: Arm) -> Backend:
    """Threads, which do whatever it is; raises OSError for want of memory or descriptors."""
    return Backend(
        BackendFunctions(lib.disk_threads_submit, lib.disk_threads_drain, lib.disk_threads_close),
        lambda eventfd, error: lib.disk_threads_open(ENTRIES, MOST_THREADS, eventfd, error),
        ENTRIES,
        arm,
        cancels=True,
    )
