"""What is done to a store one request after the other, while the event loop goes on.

Steps are a generator that yields requests and gets their errors, an errno or 0, when they are over
(``core.device.Program``).  Where one fails, they raise OSError.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Generator, Iterator
from typing import Final, Protocol, TypeAlias

from scstfs.aio import DiskRequest, RequestKind

StoreSteps: TypeAlias = Generator[DiskRequest, int, None]

#: Bytes that one step of something long moves.
MOST: Final = 1 << 20


def do(request: DiskRequest) -> StoreSteps:
    """One request."""
    error = yield request
    if error:
        raise OSError(error, os.strerror(error))


def read(offset: int, into: memoryview) -> StoreSteps:
    """Read; EIO where the store ends too early."""
    yield from do(DiskRequest(RequestKind.READ, offset, into))


def write(offset: int, data: memoryview, *, durable: bool = False) -> StoreSteps:
    """Write; ``durable`` data is safe from a power failure at the end."""
    yield from do(DiskRequest(RequestKind.WRITE, offset, data, durable=durable))


def flush() -> StoreSteps:
    """Make all that was written durable."""
    yield from do(DiskRequest(RequestKind.FLUSH))


def write_zeros(offset: int, length: int) -> StoreSteps:
    """Write zeros, for want of anything better."""
    zeros = room(min(length, MOST))
    for start, size in pieces(offset, length):
        yield from write(start, zeros[:size])


def pieces(offset: int, length: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Cut a range into parts of about MOST bytes, each a multiple of ``multiple``."""
    step = max(MOST // multiple, 1) * multiple
    end = offset + length
    while offset < end:
        yield offset, min(step, end - offset)
        offset += step


def room(length: int) -> memoryview:
    """Memory that direct I/O takes."""
    return memoryview(mmap.mmap(-1, max(length, 1)))[:length]


class Performer(Protocol):
    """A store, as far as steps that block need it."""

    def perform(self, request: DiskRequest) -> None:
        """Do what a request is about; raises OSError."""


def run(store: Performer, steps: StoreSteps) -> None:
    """Do everything at once, in a worker thread; raises OSError."""
    error: int | None = None
    while True:
        try:
            request = next(steps) if error is None else steps.send(error)
        except StopIteration:
            return
        try:
            store.perform(request)
        except OSError as failure:
            error = failure.errno or 0
        else:
            error = 0
