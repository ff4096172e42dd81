"""A queue of requests to one file, of which only so many are handed to the system at a time."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scstfs.aio.backend import Backend
    from scstfs.aio.file import File
    from scstfs.aio.request import DiskRequest

#: Requests of a lane that are under way, at most.
DEPTH: Final = 128
#: Seconds without an end of any request after which a lane counts as stalled …
STALLED: Final = 1.0
#: … and gets no more than so many under way: on the way to a device that does not answer, sooner or
#: later even asking would have to wait.
FEW: Final = 8


class Lane:
    """What one file has to do of one kind.

    Requests that are under way may overtake each other, as commands of initiators may.
    """

    __slots__ = ("backend", "fd", "file", "since", "threads", "under_way", "waiting")

    def __init__(self, file: File, backend: Backend, threads: int = 1) -> None:
        """``threads`` of the back end may work for it at the same time, if it has any."""
        self.file = file
        self.fd = file.fd
        self.backend = backend
        self.threads = threads
        self.under_way = 0
        self.waiting: deque[DiskRequest] = deque()
        #: When a request ended, or one was begun while there was no other (seconds).
        self.since = 0.0

    @property
    def is_idle(self) -> bool:
        """There is no request, neither waiting nor under way."""
        return not self.under_way and not self.waiting

    @property
    def is_stalled(self) -> bool:
        """Nothing that is under way has ended for long."""
        return self.under_way > 0 and monotonic() - self.since > STALLED

    def submit(self, request: DiskRequest) -> None:
        """Begin ``request`` if there is room, else have it wait."""
        request.lane = self
        if self.waiting or not self._has_room():
            self.waiting.append(request)
            if not self.under_way:
                self.backend.hungry[self] = None
        else:
            self.backend.start(self, request)

    def _has_room(self) -> bool:
        under_way = self.under_way
        if under_way >= DEPTH or not self.backend.room:
            return False
        return under_way < FEW or monotonic() - self.since <= STALLED

    def go_on(self) -> None:
        """Begin what waits, as far as there is room."""
        waiting, backend = self.waiting, self.backend
        while waiting and self._has_room():
            backend.start(self, waiting.popleft())
        if waiting and not self.under_way:
            # None of its own will end: it is others who have all the room that the back end has.
            backend.hungry[self] = None
