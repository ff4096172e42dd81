"""Pooled data buffers and their statistics (SCST's SGV caches).

A buffer belongs to a size class, a power of two from 4 KiB to 4 MiB; larger ones are not
pooled.  Buffers are anonymous mappings: page aligned, as O_DIRECT wants them, and given back to
the system when the pool drops them.  Reuse is last in, first out: a buffer that was just used is
still in the CPU's cache.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import Final

from scstfs.aio.address import address_of

MIN_SHIFT: Final = 12
CLASSES: Final = 11
MAX_POOLED: Final = 1 << (MIN_SHIFT + CLASSES - 1)

#: Room in front of each buffer for whatever goes with its data (bytes): a page, so that the data is
#: aligned like one.
_HEADROOM: Final = mmap.PAGESIZE

#: Bytes that a pool keeps for reuse before it gives buffers back to the system.
DEFAULT_KEEP: Final = 64 << 20


@dataclass(slots=True)
class ClassStatistics:
    """Allocations of one size class since the last reset."""

    hits: int = 0
    total: int = 0


@dataclass(slots=True)
class PoolStatistics:
    """What ``sgv/NAME/stats`` shows."""

    classes: list[ClassStatistics] = field(
        default_factory=lambda: [ClassStatistics() for _ in range(CLASSES)]
    )
    big: int = 0

    def reset(self) -> None:
        """Zero everything, as any write to ``stats`` does."""
        for row in self.classes:
            row.hits = row.total = 0
        self.big = 0


class Buffer:
    """One buffer: ``view`` is exactly as long as was asked for."""

    __slots__ = ("_frame", "_memory", "_pool", "address", "index", "length", "view")

    def __init__(self, pool: BufferPool, index: int, size: int) -> None:
        """Memory of size class ``index``, or of ``size`` bytes if that is negative."""
        self._pool = pool
        self.index = index
        self.length = size if index < 0 else 1 << (MIN_SHIFT + index)
        self._memory = memoryview(mmap.mmap(-1, _HEADROOM + self.length))
        self.view = self._memory[_HEADROOM:][:size]
        self._frame = self.view
        #: Where it is.
        self.address = address_of(self.view)

    def cut(self, size: int) -> None:
        """Make ``view`` as long as is needed."""
        if len(self.view) != size:
            self.view = self._memory[_HEADROOM:][:size]

    def frame(self, head: int) -> memoryview:
        """``view`` and as many bytes in front of it as a header takes, at most 4096."""
        if len(self._frame) != head + len(self.view):
            self._frame = self._memory[_HEADROOM - head :][: head + len(self.view)]
        return self._frame

    def release(self) -> None:
        """Give the buffer back; ``view`` must not be used afterwards."""
        self._pool.put_back(self)


class BufferPool:
    """Size classes of page-aligned buffers."""

    def __init__(self, name: str, keep: int = DEFAULT_KEEP) -> None:
        self.name = name
        self.statistics = PoolStatistics()
        self._keep = keep
        self._free: list[list[Buffer]] = [[] for _ in range(CLASSES)]
        self._free_bytes = 0

    @property
    def cached_pages(self) -> int:
        """Pages (4096 bytes) that the pool holds for reuse."""
        return self._free_bytes >> MIN_SHIFT

    @property
    def cached_buffers(self) -> int:
        """Buffers that the pool holds for reuse."""
        return sum(map(len, self._free))

    def get(self, size: int) -> Buffer:
        """A buffer of ``size`` bytes; its contents are undefined."""
        if size > MAX_POOLED:
            self.statistics.big += 1
            return Buffer(self, -1, size)
        index = max((size - 1).bit_length() - MIN_SHIFT, 0) if size > 1 else 0
        row = self.statistics.classes[index]
        row.total += 1
        free = self._free[index]
        if free:
            row.hits += 1
            buffer = free.pop()
            self._free_bytes -= buffer.length
        else:
            buffer = Buffer(self, index, size)
        buffer.cut(size)
        return buffer

    def put_back(self, buffer: Buffer) -> None:
        """Keep ``buffer`` for reuse, or drop it when the pool is full."""
        if buffer.index >= 0 and self._free_bytes + buffer.length <= self._keep:
            self._free_bytes += buffer.length
            self._free[buffer.index].append(buffer)
