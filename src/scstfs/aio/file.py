"""A file that requests are about."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from scstfs.aio import apart
from scstfs.aio.lane import Lane
from scstfs.aio.order import WriteOrder
from scstfs.aio.request import DiskRequest, RequestKind

if TYPE_CHECKING:
    from scstfs.aio.backend import Backend
    from scstfs.aio.engine import Engine

#: Threads for what each of them may have to wait for …
THREADS: Final = 16
#: … for what would only wait for each other, as writers of one file in the page cache do …
WRITERS: Final = 1
#: … and for what is about everything that was written.
FLUSHES: Final = 4


#: What it matters for which comes first.
_CHANGES: Final = frozenset(
    (RequestKind.WRITE, RequestKind.PUNCH, RequestKind.ZERO, RequestKind.DISCARD)
)


class File:
    """A file descriptor that stays open until the last request that uses it has ended.

    Reading, writing and everything else have a lane each, so that a flush that takes its time, or
    a write, keeps no read waiting.  What overlaps an older change waits for that (``order``).
    """

    def __init__(self, engine: Engine, fd: int, *, direct: bool, asks: bool) -> None:
        """``fd`` belongs to the file from now on; ``direct`` is O_DIRECT.

        ``asks`` says that the system can be told not to wait for the disk (RWF_NOWAIT).  All that
        cannot is done in threads of our own.  io_uring has threads, too.  But it watches
        files that cannot be asked by poll(2), which those of some file systems, FUSE before all,
        answer late, wrongly, or never; and its threads cost more than ours, which take what comes
        in a batch one after the other.
        """
        self.engine = engine
        self.fd = fd
        self.is_closing = False
        self._closed: Callable[[int], None] = lambda error: None
        if not asks:
            reads, writes = (Lane(self, engine.threads, THREADS) for _ in range(2))
        elif direct:
            reads, writes = (Lane(self, engine.direct, THREADS) for _ in range(2))
        else:
            reads = Lane(self, engine.buffered, THREADS)
            writes = Lane(self, engine.threads, WRITERS)
        others = Lane(self, engine.threads, FLUSHES)
        self._writes = writes
        self._lanes: Mapping[int, Lane] = {
            **dict.fromkeys(RequestKind, others),
            RequestKind.READ: reads,
            RequestKind.WRITE: writes,
            RequestKind.DISCARD: Lane(self, engine.discards, FLUSHES),
        }
        self._all_lanes = [*dict.fromkeys(self._lanes.values())]
        self._elsewhere: dict[Backend, Lane] = {}
        #: Everything that changes the file and has not ended.
        self.order: Final = WriteOrder()

    def submit(self, request: DiskRequest) -> None:
        """Begin ``request``, with the present batch of work (``Engine.hold``)."""
        assert not self.is_closing
        if request.operation in _CHANGES:
            self.order.enter(request, self.begin)
        else:
            self._lanes[request.operation].submit(request)

    def write_soon(self, offset: int, data: memoryview, *, stays: bool, deadline: int = 0) -> bool:
        """Have all of ``data`` written before this returns, or decline: see Handover."""
        if not self._writes.is_idle or self.is_closing:
            return False
        return self.engine.handover.write(
            self.fd, self.order, self._left_ended, offset, data, stays=stays, deadline=deadline
        )

    def _left_ended(self, _error: int) -> None:
        if self.is_closing:
            self.close_when_idle()

    def begin(self, request: DiskRequest) -> None:
        """Begin ``request`` whatever else is under way, which is the caller's business."""
        self._lanes[request.operation].submit(request)

    def lane_elsewhere(self, backend: Backend) -> Lane:
        """The lane for what another back end than the first has to do."""
        lane = self._elsewhere.get(backend)
        if lane is None:
            lane = self._elsewhere[backend] = Lane(self, backend, THREADS)
            self._all_lanes.append(lane)
        return lane

    @property
    def is_stalled(self) -> bool:
        """The disk has not answered for long."""
        return any(lane.is_stalled for lane in self._all_lanes)

    @property
    def is_idle(self) -> bool:
        """No request waits or is under way."""
        return not self.order and all(lane.is_idle for lane in self._all_lanes)

    def close(self, closed: Callable[[int], None] = lambda error: None) -> None:
        """Close the descriptor when the last request has ended; no other one is taken.

        ``closed`` is called then, with the errno of close(2) or 0.
        """
        assert not self.is_closing
        self.is_closing = True
        self.engine.closing[self] = None
        self._closed = closed
        self.close_when_idle()

    def close_when_idle(self) -> None:
        """Close now if nothing is under way any more; for the lanes."""
        if not self.is_idle:
            return
        self.is_closing = False
        del self.engine.closing[self]
        if self.engine.is_closed:
            threading.Thread(target=apart.close, args=(self.fd,), daemon=True).start()
            return
        # A lane of its own: this one has nothing to do with the file any more.
        lane = Lane(self, self.engine.threads)
        lane.submit(DiskRequest(RequestKind.CLOSE, done=self._has_closed))

    def _has_closed(self, error: int) -> None:
        apart.closed(self.fd)
        self._closed(error)
