"""Mistakes of a user before anything is served, and the exit status of each.

`UsageError` is the one exception of the command line, the mount point and the daemon's start for
ordinary mistakes: `scstfs.cli` prints its one line and exits with its status. Any other exception
that leaves `main` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import enum
import errno
import os
import pwd


class ExitStatus(enum.IntEnum):
    """Exit statuses of the program. `meaning` is the text in the help and the README."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        """Make a status with its explanation."""
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    OK = 0, "done, or stopped by SIGTERM, SIGINT or SIGHUP"
    BUG = 1, "unexpected error; the traceback is in the log"
    USAGE = 2, "wrong command line"
    NOT_PERMITTED = 3, "not root, or the system refuses to mount"
    NO_FUSE = 4, "/dev/fuse is missing or cannot be opened"
    PORTAL = 5, "a portal cannot be bound, for instance its port is in use"
    MOUNTED = 6, "another scstfs is serving there"
    REAL_SCST = 7, "the SCST kernel module is loaded"
    MOUNTPOINT = 8, "the mount point is not a usable directory"
    STATE_DIR = 9, "the state directory is not writable, or in use by another scstfs"
    PID_FILE = 10, "the pid file cannot be written, or belongs to a running daemon"
    CONFIG = 11, "a configuration is wrong or was refused; nothing was changed"
    NO_TREE = 12, "no SCST runs where it was looked for, or it does not answer"
    RESUME = 13, "the last configuration cannot be resumed, e.g. because a disk is missing"
    ATTENTION = 14, "`status --check` found problems"
    INTERRUPTED = 130, "interrupted; partial changes are undone"


class UsageError(Exception):
    """An ordinary mistake, reported in one line."""

    def __init__(self, status: ExitStatus, message: str) -> None:
        """Describe the mistake.

        Args:
            status: the exit status of the process.
            message: one line, no final full stop; says what was requested and why it is refused.
        """
        super().__init__(message)
        self.status = status
        self.message = message


def reason(error: OSError) -> str:
    """Return the system's reason, without Python's `[Errno N]` and path."""
    return error.strerror or str(error)


def described(error: OSError) -> str:
    """Return the file that the error is about, the system's reason, and who may not do it."""
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    whose = f" to the user {_user()}" if error.errno in (errno.EACCES, errno.EPERM) else ""
    return f"{where}{reason(error)}{whose}"


def _user() -> str:
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
