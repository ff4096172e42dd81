"""Errors of a backing store as status and sense data: one table."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition, Sense
from scstfs.scsi.status import TaskStatus, busy

#: errno → sense data; whatever is missing here is a medium error of reading or writing.
_SENSE: Final[Mapping[int, Sense]] = MappingProxyType(
    {
        errno.ENOSPC: sense.SPACE_ALLOCATION_FAILED,
        errno.EDQUOT: sense.SPACE_ALLOCATION_FAILED,
        errno.EFBIG: sense.SPACE_ALLOCATION_FAILED,
        errno.EROFS: sense.WRITE_PROTECTED,
        errno.EACCES: sense.WRITE_PROTECTED,
        errno.EPERM: sense.WRITE_PROTECTED,
        errno.EBADF: sense.WRITE_PROTECTED,
        errno.ENOMEDIUM: sense.MEDIUM_NOT_PRESENT,
        errno.ENODEV: sense.MEDIUM_NOT_PRESENT,
        errno.ENXIO: sense.MEDIUM_NOT_PRESENT,
        errno.ENOMEM: sense.INTERNAL_TARGET_FAILURE,
        errno.EINVAL: sense.INTERNAL_TARGET_FAILURE,
    }
)


def translate(error: OSError, *, writing: bool) -> CheckCondition | TaskStatus:
    """The answer for ``error``, which happened while ``writing`` or else reading."""
    if error.errno in (errno.EAGAIN, errno.ETIME):
        return busy()
    found = _SENSE.get(error.errno or 0)
    if found is None:
        found = sense.WRITE_ERROR if writing else sense.UNRECOVERED_READ_ERROR
    return CheckCondition(found)
