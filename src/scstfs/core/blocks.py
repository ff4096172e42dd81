"""A device's bytes as a third-party copy sees them."""

from __future__ import annotations

from typing import Protocol


class SourceError(Exception):
    """A copy failed because its source cannot be read: ``error`` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Blocks(Protocol):
    """The source or destination of a copy. Offsets and lengths are in bytes; all methods may block.

    Worker threads call the methods while the copy holds claims on the ranges.
    """

    def copy_from(self, source: Blocks, source_offset: int, offset: int, length: int) -> None:
        """Copy from ``source``, which is of a device of the same family.

        Ranges of one medium may overlap.  Raises SourceError if reading fails, OSError if
        writing does.
        """

    def shares_medium(self, other: Blocks) -> bool:
        """Return whether both are on one medium, even if behind two devices; does not block."""

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros; raises OSError."""

    def flush(self) -> None:
        """Make writes durable if the device promises that; raises OSError."""
