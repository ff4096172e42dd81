"""SCSI status codes (SAM-5 5.3.1) and the exception that ends a command with one of them."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """The status byte of a command's completion."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class TaskStatus(Exception):  # noqa: N818 - not an error, an outcome
    """The command ends with a status other than GOOD and without sense data.

    CHECK CONDITION is `scstfs.scsi.sense.CheckCondition` instead, because it carries sense data.
    """

    def __init__(self, status: Status) -> None:
        """End the command with `status`."""
        super().__init__(status.name)
        self.status = status


def reservation_conflict() -> TaskStatus:
    """Return the exception for RESERVATION CONFLICT."""
    return TaskStatus(Status.RESERVATION_CONFLICT)


def busy() -> TaskStatus:
    """Return the exception for BUSY."""
    return TaskStatus(Status.BUSY)
