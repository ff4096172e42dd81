"""Giving memory back to the system after many objects have gone.

Python and the C library keep freed memory for reuse, and a single remaining object can keep a
megabyte.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Final

#: Least number of objects that must have gone; a trim takes milliseconds.
MANY: Final = 64

# Only glibc has it.
_malloc_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim() -> None:
    """Give back what can be given back in a few milliseconds, for any number of objects."""
    # A full collection empties Python's free lists. With all objects frozen it does nothing else;
    # otherwise its time would grow with the number of objects.
    gc.freeze()
    try:
        gc.collect()
    finally:
        gc.unfreeze()
    if _malloc_trim is not None:
        _malloc_trim(0)


class Trimmer:
    """Decides when to trim: after many objects have gone, as soon as no more go."""

    def __init__(self, trim: Callable[[], None] = trim) -> None:
        self._trim = trim
        self._gone = 0
        self._seen = 0

    def gone(self) -> None:
        """Count an object that has gone."""
        self._gone += 1

    def tick(self) -> None:
        """Called about once a second."""
        if self._gone >= MANY and self._gone == self._seen:
            self._gone = 0
            self._trim()
        self._seen = self._gone
