"""Refusals of management commands; ``tree.core_errors`` maps them to errnos."""

from __future__ import annotations

from scstfs.errors import described


class Refused(Exception):  # noqa: N818 - it is no error, but an answer
    """The command does not fit the present configuration.

    ``reason`` is for the log, in the wording of SCST's kernel messages.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AlreadyExists(Refused):
    """The name or number is taken."""


class StillBusy(Refused):
    """Commands did not end in time."""


class SystemRefused(Refused):
    """The operating system refused an operation on *what*; ``error`` is its error."""

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(f"{what}: {described(error)}")
        self.error = error
