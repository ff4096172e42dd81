"""Memory that connections borrow while they have data.

A connection that waits for its peer holds none, so that idle sessions cost little.  The chunk
returned last is lent first: it is still in the CPU's cache.
"""

from __future__ import annotations

from typing import Final, TypeAlias

#: Bytes of a chunk.
SIZE: Final = 320 * 1024

#: Chunks that are kept for reuse; the memory of others goes back to the system.
KEPT: Final = 16

Chunk: TypeAlias = tuple[bytearray, memoryview]
"""Memory and a view of it."""

_NOTHING: Final = bytearray()
#: Stands for no chunk.
NO_CHUNK: Final[Chunk] = _NOTHING, memoryview(_NOTHING)


class Chunks:
    """Chunks of one size; their contents are undefined."""

    __slots__ = ("_free", "_kept", "size")

    def __init__(self, size: int = SIZE, kept: int = KEPT) -> None:
        """``size`` is in bytes; at most ``kept`` unused chunks are kept."""
        self.size = size
        self._kept = kept
        self._free: list[Chunk] = []

    @property
    def free(self) -> int:
        """Chunks that are kept for reuse."""
        return len(self._free)

    def take(self) -> Chunk:
        """Borrow a chunk."""
        if self._free:
            return self._free.pop()
        memory = bytearray(self.size)
        return memory, memoryview(memory)

    def give_back(self, chunk: Chunk) -> None:
        """Return a chunk; nothing may refer to its contents any more."""
        if len(self._free) < self._kept:
            self._free.append(chunk)
