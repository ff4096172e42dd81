"""One timer for any number of things that expire."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scstfs.core.runtime import Runtime


class Sweeper:
    """Calls ``sweep`` when something may have expired.

    ``sweep`` gets the time and returns the time of its next call (seconds of the runtime's clock),
    None if there is nothing to wait for.
    """

    def __init__(self, runtime: Runtime, sweep: Callable[[float], float | None]) -> None:
        self._runtime = runtime
        self._sweep = sweep
        self._due: float | None = None

    def expect(self, when: float) -> None:
        """Something expires at ``when``."""
        if self._due is None or when < self._due:
            self._due = when
            self._runtime.call_later(max(when - self._runtime.now(), 0), partial(self._run, when))

    def _run(self, due: float) -> None:
        if due != self._due:
            # An earlier call was scheduled since; this one is not needed any more.
            return
        self._due = None
        again = self._sweep(self._runtime.now())
        if again is not None:
            self.expect(again)
