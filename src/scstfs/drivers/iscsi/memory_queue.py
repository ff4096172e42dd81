"""READs of one session that wait until others leave them memory.

What a session's answers take in memory is limited (``Replies.reading_limit``).  A READ that finds
the limit reached waits here, where it can be aborted, and the connection goes on: a disk that does
not answer must not keep task management, or commands for other disks, from being received.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.threads import Completions
    from scstfs.iscsi.replies import Replies


class MemoryQueue:
    """The commands that wait, in the order in which they came."""

    def __init__(self, completions: Completions) -> None:
        """Commands go on in a batch of ``completions``."""
        self._completions = completions
        self._waiting: dict[Command, tuple[Replies, Callable[[], None]]] = {}
        self._is_called = False

    def add(self, cmd: Command, replies: Replies, call: Callable[[], None]) -> None:
        """Call ``call`` when ``cmd`` has memory (``Command.has_memory``), or is aborted.

        ``replies`` has the answers that others take memory for.
        """
        self._waiting[cmd] = replies, call
        replies.less_is_read = self.look

    def look(self) -> None:
        """Something has changed: look soon whether a command may go on."""
        if self._waiting and not self._is_called:
            self._is_called = True
            self._completions.post(self._go_on, None, None)

    def _go_on(self, _value: object, _error: BaseException | None) -> None:
        self._is_called = False
        for cmd, (replies, call) in tuple(self._waiting.items()):
            if cmd.abort is not None or cmd.has_memory:
                del self._waiting[cmd]
                if not self._waiting:
                    replies.less_is_read = None
                call()
