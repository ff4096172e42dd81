"""The reasons of refused commands, which an errno cannot express, kept by file.

SCST logs the reason in the kernel's log. Here it is in the log, too, and can be read from the file
that the command was written to, as an extended attribute that listings do not show.
"""

from __future__ import annotations

from typing import Final

from scstfs.sysfs.errors import SysfsError

XATTR: Final = "user.scst.last_error"
"""The extended attribute of a file with the reason of its last refused write."""

MOST: Final = 1024
"""Most files with a kept reason; the oldest are forgotten."""


class Refusals:
    """The last refusal of each file."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        """Nothing has been refused."""
        self._last: dict[str, str] = {}

    def note(self, path: str, refusal: SysfsError) -> None:
        """Record that a write to the file at *path* was refused."""
        self._last.pop(path, None)
        self._last[path] = str(refusal)
        if len(self._last) > MOST:
            del self._last[next(iter(self._last))]

    def last(self, path: str) -> str | None:
        """``EINVAL: Unknown action "x"``; None if no write was refused."""
        return self._last.get(path)
