"""A fuzzer's input, read as numbers and bytes; zeros follow its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Takes values from the front of an input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Return whether some input is left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """One byte."""
        if not self.more:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def flag(self) -> bool:
        """True or False."""
        return bool(self.byte() & 1)

    def number(self, most: int) -> int:
        """A number from 0 to ``most``, from as many bytes as necessary."""
        value = 0
        for _ in range((most.bit_length() + 7) // 8):
            value = value << 8 | self.byte()
        return value % (most + 1)

    def take(self, count: int) -> bytes:
        """At most ``count`` bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def choose(self, choices: Sequence[T]) -> T:
        """One of several choices."""
        return choices[self.byte() % len(choices)]

    def odd(self, usual: int, bits: int = 32) -> int:
        """Mostly ``usual``, else a value near it, or any value."""
        kind = self.byte()
        if kind < 192:
            return usual
        if kind < 240:
            return (usual + kind - 216) % (1 << bits)
        return self.number((1 << bits) - 1)
