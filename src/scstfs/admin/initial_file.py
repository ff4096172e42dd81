"""The configuration file that a target starts with, as it was when the program was started.

It is read with the rights that the program had then, which may be more than those of the user that
the target is served as.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from scstfs.admin import storing
from scstfs.admin.mistakes import Mistake

OPTIONAL: Final = "-"
"""Prefix of a configuration file that may be missing, as in systemd."""


@dataclass(frozen=True, slots=True)
class InitialFile:
    """A file that was read, or is missing and may be, or cannot be read.

    A mistake is none until the text is needed: the last configuration may be resumed instead.
    """

    path: str
    _read: str | Mistake | None

    @classmethod
    def read(cls, name: str) -> InitialFile:
        """Read the file; with `OPTIONAL` in front of its name it may be missing."""
        path = name.removeprefix(OPTIONAL)
        if path != name and _is_missing(path):
            return cls(path, None)
        try:
            return cls(path, storing.read_text(path, path))
        except Mistake as mistake:
            return cls(path, mistake)

    @property
    def text(self) -> str | None:
        """The text, None if the file may be and is missing. Raises Mistake."""
        if isinstance(self._read, Mistake):
            raise self._read
        return self._read


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass  # reading it tells why
    return False
