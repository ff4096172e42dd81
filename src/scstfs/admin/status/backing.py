"""Checks that backing files exist.

A call to a file system that does not answer (a server that is gone, a stopped process) may never
return. So a thread makes the call, and is abandoned if it does not return.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable
from typing import Final

from scstfs.admin.status.model import FileState

PATIENCE_SECONDS: Final = 1.0
"""Seconds for one file."""

MOST_SILENT: Final = 3
"""After this many silent files no more are checked: each would take as long again."""


class _Asker:
    """A thread that checks one file after another."""

    def __init__(self) -> None:
        self._paths: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[FileState] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            present = os.path.exists(self._paths.get())
            self._answers.put(FileState.PRESENT if present else FileState.MISSING)

    def ask(self, path: str, seconds: float) -> FileState:
        self._paths.put(path)
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            return FileState.SILENT


def states(paths: Iterable[str], patience: float = PATIENCE_SECONDS) -> dict[str, FileState | None]:
    """The state of each of the *paths*; None if it was not determined.

    Takes at most `MOST_SILENT` times *patience* seconds more than the file systems that answer.
    """
    found: dict[str, FileState | None] = {}
    asker, silent = _Asker(), 0
    for path in paths:
        if path in found:
            continue
        if silent >= MOST_SILENT:
            found[path] = None
            continue
        state = found[path] = asker.ask(path, patience)
        if state is FileState.SILENT:
            silent += 1
            asker = _Asker()
    return found


def is_present(state: FileState | None) -> bool | None:
    """The state of a file; None if it was not determined."""
    return None if state in (None, FileState.SILENT) else state is FileState.PRESENT
