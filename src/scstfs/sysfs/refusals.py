"""Why commands were refused: what the errno of write(2) has no room for, kept by file.

SCST says it in the kernel's log. Here it is in the log, too, and can be read from the file that the
command was written to, as an extended attribute that no listing shows.
"""

from __future__ import annotations

from typing import Final

from scstfs.sysfs.errors import SysfsError

XATTR: Final = "user.scst.last_error"
"""The extended attribute of a file that holds why the last refused write to it was refused."""

MOST: Final = 1024
"""Files of which it is kept; the longest ago are forgotten."""


class Refusals:
    """The last refusal of each file."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        """Nothing has been refused."""
        self._last: dict[str, str] = {}

    def note(self, path: str, refusal: SysfsError) -> None:
        """A write to the file at *path* was refused."""
        self._last.pop(path, None)
        self._last[path] = str(refusal)
        if len(self._last) > MOST:
            del self._last[next(iter(self._last))]

    def last(self, path: str) -> str | None:
        """``EINVAL: Unknown action "x"``; None where nothing was refused."""
        return self._last.get(path)
