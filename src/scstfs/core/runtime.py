"""What the core needs from the event loop it lives in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import trio

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Calls of ``run_blocking`` that go on at the same time: some may hang with their disk.
MOST_BLOCKING: Final = 256


class Runtime(Protocol):
    """The event loop, as the core sees it."""

    def wake(self, call: Callable[[], None], /) -> None:
        """Call ``call`` in the loop soon; may be used from any thread."""

    def run_blocking(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run ``work`` in a thread and wait for it."""

    def start(self, task: Callable[[], Awaitable[None]], /) -> None:
        """Run ``task`` in the loop until the loop ends; only from within the loop."""

    def call_later(self, delay: float, call: Callable[[], None], /) -> None:
        """Call ``call`` in ``delay`` seconds; only from within the loop."""

    def now(self) -> float:
        """The time (seconds) of the clock that ``call_later`` uses."""


class TrioRuntime:
    """The running trio loop; ``nursery`` holds what waits for its time."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._limiter = trio.CapacityLimiter(MOST_BLOCKING)

    def wake(self, call: Callable[[], None], /) -> None:
        """See Runtime."""
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            # The loop is gone, and with it all users of the result.
            return

    async def run_blocking(self, work: Callable[[], T], /) -> T:
        """See Runtime."""
        # Nothing waits for a disk that hangs when everything ends.
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    def start(self, task: Callable[[], Awaitable[None]], /) -> None:
        """See Runtime."""
        self._nursery.start_soon(task)

    def call_later(self, delay: float, call: Callable[[], None], /) -> None:
        """See Runtime."""
        self._nursery.start_soon(_later, delay, call)

    def now(self) -> float:
        """See Runtime."""
        return trio.current_time()


async def _later(delay: float, call: Callable[[], None]) -> None:
    await trio.sleep(delay)
    try:
        call()
    except Exception:
        # A bug in one call must not end everything that the nursery holds.
        log.exception("a delayed call failed")
