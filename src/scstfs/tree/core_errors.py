"""Maps the core's refusals to the errors of a write to the tree."""

from __future__ import annotations

import errno

from scstfs.core.errors import AlreadyExists, Refused, StillBusy, SystemRefused
from scstfs.sysfs.errors import SysfsError


def translate(error: Exception) -> SysfsError | None:
    """The SysfsError for a refusal of the core; None for other exceptions."""
    match error:
        case SystemRefused():
            return SysfsError(error.error.errno or errno.EIO, error.reason)
        case AlreadyExists():
            return SysfsError(errno.EEXIST, error.reason)
        case StillBusy():
            return SysfsError(errno.EBUSY, error.reason)
        case Refused():
            return SysfsError(errno.EINVAL, error.reason)
    return None
