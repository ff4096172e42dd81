"""A backing store in memory that can fail and wait, and that records its calls."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from typing import Final

import trio

from scstfs.aio import DiskRequest, RequestKind
from scstfs.core.quick import Loan
from scstfs.handlers.store import StoreExtent
from scstfs.handlers.store_steps import StoreSteps, do
from scstfs.scsi.unit import ThinLimits

_ERASING = {
    RequestKind.DISCARD: "discard",
    RequestKind.PUNCH: "zero_by_discard",
    RequestKind.ZERO: "zero",
}


#: For requests that need not wait for each other.
NO_TURNS: Final = (threading.Event(), threading.Event())
NO_TURNS[0].set()


class Turns:
    """Requests end in the order in which they were begun, of all stores that share this.

    What is behind a flush that is held up need not wait for it, but for other flushes.
    """

    def __init__(self) -> None:
        nothing = threading.Event()
        nothing.set()
        #: The end of the last one, and of the last that was held up.
        self._last = self._last_held = nothing

    def take(self, *, is_held: bool) -> tuple[threading.Event, threading.Event]:
        """What to wait for, and what to set at the end."""
        end = threading.Event()
        if is_held:
            before, self._last_held = self._last_held, end
        else:
            before, self._last = self._last, end
        return before, end


class FakeStore:
    """Declines every attempt of the event loop unless ``quick``.

    ``errors`` maps the name of a method to what it raises; ``pause`` holds worker threads that
    come to a method until ``resume``.
    """

    physical_block_size: int | None = 4096
    optimal_io_size = 0
    location = b"fake"
    tries = True

    def __init__(
        self,
        size: int = 1 << 16,
        *,
        thin: bool = True,
        quick: bool = False,
        turns: Turns | None = None,
    ) -> None:
        self.size = size
        self.can_discard = thin
        self.quick = quick
        self.content = bytearray(size)
        self.calls: list[tuple[object, ...]] = []
        self.errors: dict[str, OSError] = {}
        self.closed = False
        self._held: dict[str, threading.Event] = {}
        #: Kernel ids of the waiting threads, by method.
        self.held_up: dict[int, str] = {}
        #: Which thread is at a request.
        self.thread_of: dict[DiskRequest, int] = {}
        self._turns = turns
        #: Called in the worker thread when it comes to a method, before it may go on.
        self.arrived: Callable[[str], None] = lambda name: None

    def pause(self, name: str) -> None:
        """Let worker threads wait in method ``name``."""
        self._held.setdefault(name, threading.Event())

    def resume(self, name: str) -> None:
        """Let waiting threads continue."""
        held = self._held.pop(name, None)
        if held is not None:
            for thread in [thread for thread, where in self.held_up.items() if where == name]:
                del self.held_up[thread]
            held.set()

    def _enter(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        assert not self.closed, f"{name} of a closed store"
        self.arrived(name)
        held = self._held.get(name)
        if held is not None:
            self.held_up[threading.get_native_id()] = name
            assert held.wait(5)
        if name in self.errors:
            raise self.errors[name]

    def try_read(self, offset: int, into: memoryview) -> bool:
        if self.quick:
            into[:] = self.content[offset : offset + len(into)]
        return self.quick

    def try_write(
        self, offset: int, data: memoryview, *, stays: bool = False, deadline: int = 0
    ) -> bool:
        if self.quick:
            self.content[offset : offset + len(data)] = data
        return self.quick

    def lend(self, offset: int, length: int) -> Loan | None:
        return None

    def submit(self, request: DiskRequest) -> None:
        """Do it in a thread, which may be paused like any other."""
        token = trio.lowlevel.current_trio_token()
        is_held = request.operation == RequestKind.FLUSH and "flush" in self._held
        before, ended_here = NO_TURNS if self._turns is None else self._turns.take(is_held=is_held)

        def work() -> None:
            thread = self.thread_of[request] = threading.get_native_id()
            if is_held:
                self.held_up[thread] = "flush"
            before.wait(5)
            self.held_up.pop(thread, None)
            try:
                self.perform(request)
            except OSError as failure:
                error = failure.errno or errno.EIO
            else:
                error = 0
            # The test may be over.
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(ended, error)
            ended_here.set()

        def ended(error: int) -> None:
            del self.thread_of[request]
            request.end(error)

        threading.Thread(target=work, daemon=True).start()

    def read(self, offset: int, into: memoryview) -> None:
        self._enter("read", offset, len(into))
        into[:] = self.content[offset : offset + len(into)]

    def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
        self._enter("write", offset, len(data), durable)
        self.content[offset : offset + len(data)] = data

    def prefetch(self, offset: int, length: int) -> None:
        self._enter("prefetch", offset, length)

    def flush(self) -> None:
        self._enter("flush")

    def perform(self, request: DiskRequest) -> None:
        """Each operation is a method with a name of its own."""
        offset, length, memory = request.offset, request.length, request.memory
        if memory is not None and request.operation == RequestKind.READ:
            self.read(offset, memory)
        elif memory is not None:
            self.write(offset, memory, durable=bool(request.flags))
        elif request.operation == RequestKind.FLUSH:
            self.flush()
        else:
            self._enter(_ERASING[RequestKind(request.operation)], offset, length)
            self.content[offset : offset + length] = bytes(length)

    def discarding(self, offset: int, length: int) -> StoreSteps:
        yield from do(DiskRequest(RequestKind.DISCARD, offset, length=length))

    def zeroing_by_discard(self, offset: int, length: int) -> StoreSteps:
        yield from do(DiskRequest(RequestKind.PUNCH, offset, length=length))

    def zeroing(self, offset: int, length: int) -> StoreSteps:
        yield from do(DiskRequest(RequestKind.ZERO, offset, length=length))

    def extents(self, offset: int, length: int) -> Iterator[StoreExtent]:
        self._enter("extents", offset, length)
        yield StoreExtent(offset, offset + length, allocated=True)

    def thin_limits(self, block_size: int) -> ThinLimits:
        return ThinLimits.of_file(block_size)

    def measure(self) -> int:
        return self.size

    def usage(self) -> tuple[int, int]:
        return self.size, 0

    def close(self) -> None:
        self.closed = True
