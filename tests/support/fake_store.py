"""A backing store in memory that can fail and wait, and that records its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from scstfs.core.quick import Loan
from scstfs.handlers.store import StoreExtent
from scstfs.scsi.unit import ThinLimits


class FakeStore:
    """Declines every attempt of the event loop unless ``quick``.

    ``errors`` maps the name of a method to what it raises; ``pause`` holds worker threads that
    come to a method until ``resume``.
    """

    physical_block_size: int | None = 4096
    optimal_io_size = 0
    location = b"fake"

    def __init__(self, size: int = 1 << 16, *, thin: bool = True, quick: bool = False) -> None:
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
        #: Called in the worker thread when it enters a method, before it may continue.
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

    def try_write(self, offset: int, data: memoryview) -> bool:
        if self.quick:
            self.content[offset : offset + len(data)] = data
        return self.quick

    def lend(self, offset: int, length: int) -> Loan | None:
        return None

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

    def discard(self, offset: int, length: int) -> None:
        self._enter("discard", offset, length)
        self.content[offset : offset + length] = bytes(length)

    def zero_by_discard(self, offset: int, length: int) -> None:
        self._enter("zero_by_discard", offset, length)
        self.content[offset : offset + length] = bytes(length)

    def zero(self, offset: int, length: int) -> None:
        self._enter("zero", offset, length)
        self.content[offset : offset + length] = bytes(length)

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
