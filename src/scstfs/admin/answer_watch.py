"""Ends a program whose tree does not answer.

If a daemon is stopped or hangs, a process that opens a file of its tree waits in the kernel, and
only a signal that kills it ends that. So one thread reads from the tree again and again, and
another one notices when it gets no answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Final, Self

from scstfs.admin.files import WHY

PATIENCE_SECONDS: Final = 10.0
"""How long the tree may take to answer, in seconds."""

_TICK_SECONDS: Final = 0.25
_ASK_SECONDS: Final = 1.0


class AnswerWatch:
    """Watches one tree while it is used as a context manager."""

    def __init__(
        self,
        path: str,
        give_up: Callable[[str], None],
        tell: Callable[[str], None],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Watch nothing yet.

        Args:
            path: of the tree, or of something in it.
            give_up: called with a message, in another thread than the program's, when the tree does
                not answer; must end the process.
            tell: called with a message when the program continues to wait (`waiting`).
            patience: how long the tree may take, in seconds.
        """
        self._path = path
        self._give_up = give_up
        self._tell = tell
        self._most = round(patience / _TICK_SECONDS)
        self._at_end: list[Callable[[], None]] = []
        self._waiting = 0
        self._asked = 0
        """The number of reads begun; `_answered` is the number of the last one that ended."""
        self._answered = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        for run in self._ask, self._watch:
            threading.Thread(target=run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Do not give up in this context: that would leave a change incomplete."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def at_end(self, clean_up: Callable[[], None]) -> None:
        """Call *clean_up* before the program is given up."""
        self._at_end.append(clean_up)

    def _ask(self) -> None:
        while not self._ended.is_set():
            self._asked += 1
            # The kernel caches much of a tree, but no extended attributes.
            with contextlib.suppress(OSError):  # an error is an answer, too
                os.getxattr(self._path, WHY)
            self._answered = self._asked
            self._ended.wait(_ASK_SECONDS)

    def _watch(self) -> None:
        # Ticks are counted, not seconds: this process may have been stopped itself.
        silent, seen, is_told = 0, 0, False
        while not self._ended.wait(_TICK_SECONDS):
            asked = self._asked
            silent = silent + 1 if asked == seen and self._answered != asked else 0
            seen = asked
            if silent < self._most:
                is_told = False
            elif not self._waiting:
                for clean_up in self._at_end:
                    clean_up()
                self._give_up(f"SCST at {self._path} does not answer")
            elif not is_told:
                is_told = True
                self._tell(f"SCST at {self._path} does not answer; waiting")
