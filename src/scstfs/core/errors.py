"""What the core refuses to do for management; ``tree.core_errors`` says with which errno."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - it is no error, but an answer
    """It does not go together with what there is.

    ``reason`` is for the log, in the wording of SCST's kernel messages.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AlreadyExists(Refused):
    """There is one of that name or number."""


class StillBusy(Refused):
    """Commands that have to end before do not end."""


class SystemRefused(Refused):
    """The operating system refused something about *what*; ``error`` says how."""

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(f"{what}: {error}")
        self.error = error
