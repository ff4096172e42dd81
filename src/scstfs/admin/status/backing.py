"""Whether files are where they should be.

A file system that does not answer (a server that is gone, a process that was stopped) keeps whoever
asks for ever. So a thread asks, and is left behind when it does not come back.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable
from typing import Final

from scstfs.admin.status.model import FileState

PATIENCE_SECONDS: Final = 1.0
"""How long one file may take."""

MOST_SILENT: Final = 3
"""After so many files nothing more is asked: that would take as long again for each."""


class _Asker:
    """A thread that asks for one file after the other."""

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
    """What is at each of the *paths*; None when that was not found out.

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
    """Whether a file is there; None when that was not found out."""
    return None if state in (None, FileState.SILENT) else state is FileState.PRESENT
