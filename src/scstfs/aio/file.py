"""A file that requests are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from scstfs.aio.lane import Lane
from scstfs.aio.request import Operation, Request

if TYPE_CHECKING:
    from scstfs.aio.backend import Backend
    from scstfs.aio.engine import Engine

#: Requests under way where each costs a place in a queue of the system's …
DEPTH: Final = 128
#: … where each may take a thread …
THREADS: Final = 16
#: … and where it is about everything that was written.
FLUSHES: Final = 4


class File:
    """A file descriptor that stays open until the last request that uses it has ended.

    Reading, writing and everything else have a lane each, so that a flush that takes its time, or
    a write, keeps no read waiting.
    """

    def __init__(
        self, engine: Engine, fd: int, *, direct: bool, asks: bool, asks_writing: bool
    ) -> None:
        """``fd`` belongs to the file from now on; ``direct`` is O_DIRECT.

        ``asks`` says that reads can be told not to wait (RWF_NOWAIT), ``asks_writing`` that writes
        can: where they can not, each takes a thread for as long as the disk takes.  Where not even
        reads can, that is a thread of our own: io_uring would ask such files by poll(2), which
        those of some file systems, FUSE before all, answer late, wrongly, or never.
        """
        self.engine = engine
        self.fd = fd
        self.is_closing = False
        self._closed: Callable[[int], None] = lambda error: None
        general = engine.general if asks else engine.threads
        transfers = engine.direct if asks and direct else general
        reads = Lane(self, transfers, DEPTH if asks else THREADS)
        writes = Lane(self, transfers, DEPTH if asks_writing else THREADS)
        others = Lane(self, general, FLUSHES)
        self._lanes: Mapping[int, Lane] = {
            operation: {Operation.READ: reads, Operation.WRITE: writes}.get(operation, others)
            for operation in Operation
        }
        self._all_lanes = [reads, writes, others]
        self._elsewhere: dict[Backend, Lane] = {}

    def submit(self, request: Request) -> None:
        """Begin ``request``, with the present batch of work (``Engine.hold``)."""
        assert not self.is_closing
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
        return all(lane.is_idle for lane in self._all_lanes)

    def close(self, closed: Callable[[int], None] = lambda error: None) -> None:
        """Close the descriptor when the last request has ended; no other one is taken any more.

        ``closed`` is called then, with the errno of close(2) or 0.
        """
        assert not self.is_closing
        self.is_closing = True
        self._closed = closed
        self.close_when_idle()

    def close_when_idle(self) -> None:
        """Close now if nothing is under way any more; for the lanes."""
        if self.is_idle:
            self.is_closing = False
            # A lane of its own: this one has nothing to do with the file any more.
            lane = Lane(self, self.engine.threads, 1)
            lane.submit(Request(Operation.CLOSE, 0, None, self._closed))
