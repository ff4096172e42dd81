"""Reads the tree as often as it is asked for, and no more often than the target can bear."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from scstfs.admin.mistakes import Mistake
from scstfs.exporter.picture import LivePicture
from scstfs.exporter.reading import Reading, TreeReader

log: Final = logging.getLogger(__name__)

_INTERVAL_SECONDS: Final = 1.0
_SHARE: Final = 8
"""Reading takes at most one part of so many of the time."""

_WANTED_SECONDS: Final = 15.0
"""After the last request of a page the tree is read for so long."""

_FRESH_SECONDS: Final = 0.4


class Lookout:
    """The latest reading; a thread makes new ones while a page is open."""

    def __init__(self, reader: TreeReader) -> None:
        """Start the thread."""
        self._reader = reader
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._read_at = float("-inf")
        self._wanted_at = float("-inf")
        self._wake = threading.Event()
        self._changed = threading.Event()
        self._stop = False
        self.picture = LivePicture()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
        self._thread.start()

    def reading(self) -> Reading | None:
        """A fresh reading, for metrics; None if there is no tree. Blocks while it is made."""
        with self._lock:
            if time.monotonic() - self._read_at > _FRESH_SECONDS:
                self._read()
            return self._reading

    def want(self) -> LivePicture:
        """A page is open. Returns what it shows; blocks only the first time."""
        was_wanted = time.monotonic() - self._wanted_at < _WANTED_SECONDS
        self._wanted_at = time.monotonic()
        self._wake.set()
        if not was_wanted:
            with self._lock:
                if time.monotonic() - self._read_at > _FRESH_SECONDS:
                    self._read()
        return self.picture

    def changed(self) -> None:
        """The configuration has changed: look at once if a page is open."""
        self._changed.set()
        self._wake.set()

    def close(self) -> None:
        """Stop the thread."""
        self._stop = True
        self._wake.set()
        self._thread.join(1.0)

    def _read(self) -> None:
        changed = self._changed.is_set()
        self._changed.clear()
        try:
            self._reading = self._reader.read(changed=changed)
        except Mistake:
            self._reading = None
        except Exception:
            # A bug must not end the thread; the page shows that nothing is read.
            log.exception("cannot read the tree")
            self._reading = None
        self._read_at = time.monotonic()
        self.picture.update(self._reading)

    def _run(self) -> None:
        while not self._stop:
            now = time.monotonic()
            if now - self._wanted_at > _WANTED_SECONDS:
                self._wake.clear()
                self._wake.wait(_WANTED_SECONDS)
                continue
            took = self._reading.took if self._reading is not None else 0.0
            due = self._read_at + max(_INTERVAL_SECONDS, _SHARE * took)
            if now < due:
                if self._changed.is_set() and now > self._read_at + 2 * took:
                    due = now
                else:
                    self._wake.clear()
                    self._wake.wait(due - now)
                    continue
            with self._lock:
                self._read()
