"""Events for pages and programs that follow them: one thread asks the tree for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from scstfs.admin.mistakes import Mistake
from scstfs.admin.watch.events import EventSource, OccurrenceFields, event_source
from scstfs.admin.watch.program import INTERVAL_SECONDS

_KEPT: Final = 200
MOST_FOLLOWERS: Final = 64
_KINDS_OF_CHANGES: Final = frozenset({"configuration", "medium", "reservation"})
_RETRY_SECONDS: Final = 1.0


class TooManyFollowersError(Exception):
    """As many as are served follow events already."""


class EventFeed:
    """The latest events, and those to come. Use it in one event loop."""

    def __init__(self, root: str, changed: Callable[[], None]) -> None:
        """*changed* is called, in another thread, when events say that something was changed."""
        self._root = root
        self._changed = changed
        self._recent: deque[OccurrenceFields] = deque(maxlen=_KEPT)
        self._followers: dict[asyncio.Queue[OccurrenceFields], None] = {}
        self._wanted = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="events", daemon=True).start()

    async def follow(self) -> AsyncIterator[OccurrenceFields]:
        """The latest events, then new ones as they happen. Raises TooManyFollowersError."""
        if len(self._followers) >= MOST_FOLLOWERS:
            raise TooManyFollowersError
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[OccurrenceFields] = asyncio.Queue()
        for event in self._recent:
            queue.put_nowait(event)
        self._followers[queue] = None
        self._wanted.set()
        try:
            while True:
                yield await queue.get()
        finally:
            del self._followers[queue]
            if not self._followers:
                self._wanted.clear()

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._wanted.set()

    def _publish(self, events: list[OccurrenceFields]) -> None:
        self._recent.extend(events)
        for queue in self._followers:
            for event in events:
                if queue.qsize() < _KEPT:  # a client that does not read loses events
                    queue.put_nowait(event)

    def _run(self) -> None:
        source: EventSource | None = None
        while True:
            self._wanted.wait()
            if self._stop.is_set():
                return
            try:
                if source is None:
                    source = event_source(self._root, recent=True)
                found = source.new()
            except Mistake:  # there is no tree, or not any more
                source = None
                self._stop.wait(_RETRY_SECONDS)
                continue
            if found:
                if any(event["kind"] in _KINDS_OF_CHANGES for event in found):
                    self._changed()
                with contextlib.suppress(RuntimeError):  # the event loop has ended
                    if self._loop is not None:
                        self._loop.call_soon_threadsafe(self._publish, found)
            self._stop.wait(INTERVAL_SECONDS)
