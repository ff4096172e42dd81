"""The engine: what hands requests to the system and hears of their ends, one for the process."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from time import monotonic
from typing import Final

import trio

from scstfs.aio import backend, handover
from scstfs.aio.backend import Backend, end
from scstfs.aio.file import File
from scstfs.aio.handover import Handover
from scstfs.aio.request import DiskRequest

log = logging.getLogger(__name__)

IO_URING: Final = "io_uring"
LIBAIO: Final = "libaio"
THREADS: Final = "threads"
#: Kinds of engines, the best first.
ENGINES: Final = (IO_URING, LIBAIO, THREADS)

#: Names the engine to be used, for tests.
ENVIRONMENT: Final = "SCSTFS_IO_ENGINE"

#: A disk that does something in so much time (seconds) is looked at rather than slept for.
PROMPT: Final = 200e-6

#: Seconds after which what the system would not take is tried again.
_AGAIN: Final = 0.001

Soon = Callable[[Callable[[], None]], None]


class Engine:
    """Executes requests.

    Everything here is for the event loop, in which ``run`` goes on for as long as there are
    requests.
    """

    def __init__(self, name: str, soon: Soon) -> None:
        """``name`` is one of ENGINES; ``soon`` has a function called in the loop soon.

        Raises OSError where the system refuses.
        """
        if name not in ENGINES:
            raise OSError(errno.EINVAL, f"there is no engine {name}")
        self.name = name
        self._soon = soon
        self._held = 0
        self._is_called = False
        self.is_closed = False
        self._armed: dict[Backend, None] = {}
        self._canceled: list[DiskRequest] = []
        #: Files that are closed when their last request has ended.
        self.closing: dict[File, None] = {}
        #: When something was handed over last, and how long it was until something was done.
        self._flushed = self._took = 0.0
        #: Called around each batch of requests that have ended.
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        #: What may wait for a disk in any way.
        self.threads = backend.open_threads(self._arm)
        self._backends = [self.threads]
        #: What does better than threads, by what it is given to do.
        self.direct = self.buffered = self.discards = self.threads
        #: What writes while the event loop waits a moment.
        self.handover = Handover(self._cancel_waiting)
        try:
            if name == IO_URING:
                self.direct = self.buffered = self.discards = backend.open_ring(self._arm)
            elif name == LIBAIO:
                self.direct = backend.open_aio(self._arm)
        except OSError:
            self.threads.close()
            self.handover.close()
            raise
        if self.direct is not self.threads:
            self._backends.append(self.direct)
            self.direct.other = self.threads

    def open(self, fd: int, *, direct: bool, asks: bool) -> File:
        """Take over a file descriptor; see File."""
        return File(self, fd, direct=direct, asks=asks)

    # Batches

    def hold(self) -> None:
        """A batch of work begins: what it submits is handed over at its end."""
        self._held += 1
        if self._held == 1:
            self.handover.short_ones = handover.MOST_SHORT

    def release(self) -> None:
        """A batch of work is done."""
        self._held -= 1
        if not self._held:
            self.handover.short_ones = handover.ANY
            if self._armed:
                self.flush()

    def _arm(self, what: Backend) -> None:
        self._armed[what] = None
        if not self._held:
            self._call_soon()

    def _call_soon(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._soon(self._called)

    def _called(self) -> None:
        self._is_called = False
        canceled, self._canceled = self._canceled, []
        if canceled:
            self.before()
            for request in canceled:
                end(request, errno.ECANCELED)
            self.after()
            for file in tuple(self.closing):
                file.close_when_idle()
        self.flush()

    @property
    def under_way(self) -> int:
        """Requests that the system has."""
        return sum(one.under_way for one in self._backends)

    @property
    def is_prompt(self) -> bool:
        """What was done last was done so soon that sleeping meanwhile would have taken longer."""
        return self._took < PROMPT

    def flush(self) -> None:
        """Hand over what was submitted."""
        self._flushed = monotonic()
        armed, self._armed = self._armed, {}
        for one in armed:
            one.flush()

    # Ends

    def drain(self) -> int:
        """Call back for all that is done, if anything is; returns how much that was.

        Costs no system call where nothing is: good for looking whether it is worth to sleep.
        """
        return sum(map(self._drain, self._backends))

    def _drain(self, one: Backend, *, woken: bool = False) -> int:
        ended = one.completions(woken=woken)
        if not ended:
            return 0
        self._took = monotonic() - self._flushed
        self.before()
        self.hold()
        total = 0
        while ended:
            total += len(ended)
            one.end(ended)
            ended = one.completions()
        self.release()
        self.after()
        return total

    async def run(self) -> None:
        """Call back whenever something is done, until cancelled; that is the engine's end."""
        try:
            async with trio.open_nursery() as nursery:
                for one in self._backends:
                    nursery.start_soon(self._watch, one)
                nursery.start_soon(self._watch_handover)
        finally:
            self.close()

    async def _watch(self, one: Backend) -> None:
        while True:
            if one.is_stuck:
                with trio.move_on_after(_AGAIN):
                    await trio.lowlevel.wait_readable(one.eventfd)
                one.flush()
            else:
                await trio.lowlevel.wait_readable(one.eventfd)
            self._drain(one, woken=True)

    async def _watch_handover(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.handover.eventfd)
            self.handover.look()

    def cancel(self, request: DiskRequest) -> None:
        """Have ``request`` end soon, if it has not begun or can be interrupted.

        ``done`` is called in any case, and not from here.
        """
        lane = request.lane
        if (lane is None and not request.ahead) or request.is_canceled:
            return
        request.is_canceled = True
        if lane is None:
            # It waits for an older one.
            if not self.handover.delays(request):
                self._cancel_waiting(request)
        elif request.token >= 0:
            lane.backend.cancel(request)
        else:
            lane.waiting.remove(request)
            self._cancel_waiting(request)

    def _cancel_waiting(self, request: DiskRequest) -> None:
        """Have ``request``, which the system has not got, end soon."""
        self._canceled.append(request)
        self._call_soon()

    def close(self) -> None:
        """End at once, whatever is under way: nothing is called back any more.

        What is submitted from now on is forgotten, but for files to be closed.
        """
        self.is_closed = True
        for one in self._backends:
            one.close()
        self.handover.close()


def open_engine(name: str, soon: Soon) -> Engine:
    """The engine called ``name``, or with an empty name the best one that the system allows.

    The environment may ask for one, too (ENVIRONMENT).  Raises OSError where the system refuses
    the one that was asked for.
    """
    name = name or os.environ.get(ENVIRONMENT, "")
    refusals: list[str] = []
    for kind in (name,) if name else ENGINES[:-1]:
        try:
            engine = Engine(kind, soon)
        except OSError as error:
            if name:
                raise
            refusals.append(f"no {kind}: {error.strerror}")
        else:
            break
    else:
        engine = Engine(ENGINES[-1], soon)
    log.info("disk I/O by %s%s", engine.name, "".join(f" ({why})" for why in refusals))
    return engine
