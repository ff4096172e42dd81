"""A device's bytes as a third-party copy sees them."""

from __future__ import annotations

from typing import Protocol


class SourceError(Exception):
    """A copy failed because its source cannot be read: ``error`` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Blocks(Protocol):
    """Where a copy reads or writes; offsets and lengths in bytes, all methods may block.

    Worker threads call the methods, while the copy holds claims on what they touch.
    """

    def copy_from(self, source: Blocks, source_offset: int, offset: int, length: int) -> None:
        """Copy from ``source``, which is of a device of the same family.

        Ranges of one medium may overlap.  Raises SourceError if reading fails, OSError if
        writing does.
        """

    def shares_medium(self, other: Blocks) -> bool:
        """Both are the same bytes, be it behind two devices; does not block."""

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros; raises OSError."""

    def flush(self) -> None:
        """Make durable what was written, if the device promises that; raises OSError."""
