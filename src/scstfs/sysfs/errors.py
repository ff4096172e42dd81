"""The one exception of the tree: it carries the errno that a system call on the tree returns."""

from __future__ import annotations

import errno as errno_codes

from scstfs.errors import described


class SysfsError(Exception):
    """A refused operation on the tree.

    Attributes:
        errno: positive, the error of read(2), write(2) or open(2).
        reason: for the log, in the wording of SCST's kernel messages; empty if the errno is enough
            (``last_sysfs_mgmt_res`` read while a command runs). It may quote the written text; keep
            secrets out of it.
    """

    def __init__(self, errno: int, reason: str = "") -> None:
        """Refuse with *errno* because of *reason*."""
        super().__init__(errno, reason)
        self.errno = errno
        self.reason = reason

    def __str__(self) -> str:
        """``EINVAL: Unknown action "x"``."""
        code = errno_codes.errorcode.get(self.errno, str(self.errno))
        return f"{code}: {self.reason}" if self.reason else code


def invalid(reason: str) -> SysfsError:
    """The usual refusal: EINVAL with a *reason*."""
    return SysfsError(errno_codes.EINVAL, reason)


def failed(what: str, error: OSError) -> SysfsError:
    """The system's error for *what*: its errno, or EIO if it has none."""
    return SysfsError(error.errno or errno_codes.EIO, f"{what}: {described(error)}")


def removed() -> SysfsError:
    """The answer of kernfs on a descriptor whose object is gone: ENODEV, and nothing to log."""
    return SysfsError(errno_codes.ENODEV)
