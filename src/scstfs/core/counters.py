"""I/O counters of a session: what the ``*_cmd_count`` and ``*_io_count_kb`` attributes show."""

from __future__ import annotations

from typing import Final

#: A command is unaligned when its start or length is no multiple of this (bytes).
ALIGNMENT: Final = 4096
_UNALIGNED: Final = ALIGNMENT - 1

#: Directions in the order of the tree's names.
DIRECTIONS: Final = ("unknown", "write", "read", "bidi", "none")


class DirectionCounter:
    """Counts of one data direction."""

    __slots__ = ("cmds", "io_bytes", "unaligned")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start from zero, as any write to one of the attributes does."""
        self.cmds = 0
        self.io_bytes = 0
        self.unaligned = 0

    def count(self, length: int, start: int) -> None:
        """Count one command that transferred ``length`` bytes from byte ``start``."""
        self.cmds += 1
        self.io_bytes += length
        if (length | start) & _UNALIGNED:
            self.unaligned += 1


class SessionCounters:
    """The five directions of one session."""

    __slots__ = DIRECTIONS

    def __init__(self) -> None:
        self.unknown = DirectionCounter()
        self.write = DirectionCounter()
        self.read = DirectionCounter()
        self.bidi = DirectionCounter()
        self.none = DirectionCounter()

    def of(self, direction: str) -> DirectionCounter:
        """The counter of ``direction``, one of DIRECTIONS."""
        counter: DirectionCounter = getattr(self, direction)
        return counter
