"""A time after which the system must not get requests any more, wherever they wait.

Requests wait in many places: for others, for their batch, for a thread.  So what hands them over
looks at the clock itself, right before it does so (``is_late`` in native/shared.h).
"""

from __future__ import annotations

import math
from typing import Any, Final

from scstfs.aio._native import ffi

_NANOSECONDS: Final = 1_000_000_000
_NEVER: Final = (1 << 63) - 1
_PAST: Final = 0

#: Requests that are under way may refer to them at any time.
_kept: Final[list[Any]] = []


class Deadline:
    """A deadline by CLOCK_BOOTTIME, which can be changed.

    ``address`` is what requests refer to it by (``DiskRequest.deadline``).  Those that come too
    late end with ETIME.
    """

    __slots__ = ("_cell", "address")

    def __init__(self) -> None:
        """In the past."""
        self._cell = ffi.new("int64_t *", _PAST)
        _kept.append(self._cell)
        self.address: Final = int(ffi.cast("uintptr_t", self._cell))

    def set(self, seconds: float) -> None:
        """Set it; infinities are never and always."""
        if math.isinf(seconds):
            self._cell[0] = _NEVER if seconds > 0 else _PAST
        else:
            self._cell[0] = min(int(seconds * _NANOSECONDS), _NEVER)
