"""Worker threads for back-end I/O that would block the event loop.

The pools follow SCST's attributes: the global pool has ``threads`` workers, a device with
``threads_num`` > 0 has pools of that size, one per session or one for all according to
``threads_pool_type``, and ``cpu_mask`` places them.  Threads are created when work first needs
them, so that thousands of idle LUNs cost nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Final, Protocol, TypeAlias

from scstfs.log import RateLimited

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

Work: TypeAlias = Callable[[], object]
Done: TypeAlias = Callable[[object, BaseException | None], None]


class Wake(Protocol):
    """Schedules a call in the event loop's thread; callable from any thread."""

    def __call__(self, call: Callable[[], None], /) -> None:
        """Call ``call`` in the loop soon."""


class Completions:
    """Brings results of worker threads back to the event loop, many per wake-up.

    ``wake`` is called once for any number of completions that pile up before the loop gets to
    run; all in ``before`` and ``after`` are called around each such batch (drivers send their
    replies all at once then).
    """

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._ready: deque[tuple[Done, object, BaseException | None]] = deque()
        self._armed = False
        self.before: list[Callable[[], None]] = []
        self.after: list[Callable[[], None]] = []

    def begin(self) -> None:
        """A batch of completions begins, from threads or elsewhere."""
        for call in self.before:
            call()

    def end(self) -> None:
        """A batch of completions is over."""
        for call in self.after:
            call()

    def post(self, done: Done, value: object, error: BaseException | None) -> None:
        """Called in a worker thread: queue ``done(value, error)`` for the loop."""
        self._ready.append((done, value, error))
        if not self._armed:
            # Benign race: two workers may both see False and wake twice; the second drain finds
            # nothing. No completion is missed, because drain() disarms before it looks.
            self._armed = True
            self._wake(self._drain)

    def _drain(self) -> None:
        self._armed = False
        self.begin()
        ready = self._ready
        while ready:
            done, value, error = ready.popleft()
            try:
                done(value, error)
            except Exception:
                # A bug in one command's completion must not lose the others'.
                log.exception("completion of a command failed")
        self.end()


_STOP: Final = None


class WorkerPool:
    """A pool of at most ``size`` threads that run blocking work for the event loop."""

    def __init__(
        self,
        name: str,
        size: int,
        completions: Completions,
        cpus: Iterable[int] = (),
    ) -> None:
        self.name = name
        self._size = size
        self._completions = completions
        self._cpus = frozenset(cpus)
        self._queue: SimpleQueue[tuple[Work, Done] | None] = SimpleQueue()
        self._threads: dict[int, threading.Thread] = {}
        self._spawned = 0
        self._in_flight = 0

    @property
    def size(self) -> int:
        """The most threads this pool may have."""
        return self._size

    @property
    def thread_ids(self) -> list[int]:
        """Kernel thread ids of the threads that run now, newest first."""
        return list(reversed(self._threads))

    def submit(self, work: Work, done: Done) -> None:
        """Run ``work()`` in a thread, then ``done(value, error)`` in the event loop.

        ``error`` is what ``work`` raised, or OSError EAGAIN if the system has no thread for it.
        """
        self._in_flight += 1

        def finished(value: object, error: BaseException | None) -> None:
            self._in_flight -= 1
            done(value, error)

        if self._in_flight > self._spawned and self._spawned < self._size:
            try:
                self._spawn()
            except RuntimeError as error:
                _incidents.warning("%s: %s", self.name, error)
                if not self._spawned:
                    refusal = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                    self._completions.post(finished, None, refusal)
                    return
        self._queue.put((work, finished))

    def resize(self, size: int) -> None:
        """Change the number of threads; surplus ones end when they are idle."""
        surplus = self._spawned - size
        self._size = size
        for _ in range(surplus):
            self._spawned -= 1
            self._queue.put(_STOP)

    def set_cpus(self, cpus: Iterable[int]) -> None:
        """Place the pool's threads on ``cpus`` (an empty set leaves them as they are)."""
        self._cpus = frozenset(cpus)
        if self._cpus:
            for tid in list(self._threads):
                _pin(tid, self._cpus)

    def close(self) -> None:
        """End every thread after the work already queued."""
        self.resize(0)

    def _spawn(self) -> None:
        """Start a thread; raises RuntimeError where the system allows no more."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()
        self._spawned += 1

    def _run(self) -> None:
        tid = threading.get_native_id()
        self._threads[tid] = threading.current_thread()
        if self._cpus:
            _pin(tid, self._cpus)
        get, post = self._queue.get, self._completions.post
        while True:
            item = get()
            if item is None:
                break
            work, done = item
            try:
                value = work()
            except BaseException as error:
                post(done, None, error)
            else:
                post(done, value, None)
            # An idle thread's frame must not keep objects of a finished command alive.
            del item, work, done
            value = None
        self._threads.pop(tid, None)


def _pin(tid: int, cpus: frozenset[int]) -> None:
    try:
        os.sched_setaffinity(tid, cpus)
    except OSError as error:
        log.warning("cannot place thread %d on CPUs %s: %s", tid, sorted(cpus), error)
