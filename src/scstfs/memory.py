"""Giving memory back to the system after many objects have gone.

Python and the C library keep what was freed for reuse, and a single object that is left in the
wrong place keeps a megabyte of it.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Final

#: So many must have gone before it is worth the time (milliseconds).
MANY: Final = 64

# Only glibc has it.
_malloc_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim() -> None:
    """Give back what can be given back in a few milliseconds, however many objects there are."""
    # A full collection empties Python's free lists. With all objects out of its sight it has
    # nothing else to do; a real one would take as long as there are objects.
    gc.freeze()
    try:
        gc.collect()
    finally:
        gc.unfreeze()
    if _malloc_trim is not None:
        _malloc_trim(0)


class Trimmer:
    """Decides when to trim: after many have gone, as soon as no more go."""

    def __init__(self, trim: Callable[[], None] = trim) -> None:
        self._trim = trim
        self._gone = 0
        self._seen = 0

    def gone(self) -> None:
        """Something has gone that took some memory."""
        self._gone += 1

    def tick(self) -> None:
        """Called about once a second."""
        if self._gone >= MANY and self._gone == self._seen:
            self._gone = 0
            self._trim()
        self._seen = self._gone
