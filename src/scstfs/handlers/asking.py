"""Whether a file can be read and written without waiting for a disk: one place that knows.

Most file systems can be asked not to wait for data that is not in memory (RWF_NOWAIT), some only
when reading, such as ext4 and the page cache of block devices.  Those in memory never wait.  All
others, such as FUSE and NFS, may wait for whomever it takes, as long as it takes.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

from scstfs.aio import apart
from scstfs.handlers import syscalls

_TMPFS: Final = 0x01021994
_RAMFS: Final = 0x858458F6
_IN_MEMORY: Final = frozenset({_TMPFS, _RAMFS})

#: What a file says that does not know RWF_NOWAIT.
CAN_NOT: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Asking:
    """How to read and write in the event loop, if at all."""

    #: There is something to be tried: with these flags of preadv2(2) and pwritev2(2).
    tries: bool
    flags: int

    @property
    def asks(self) -> bool:
        """The system is asked not to wait."""
        return bool(self.flags)


def asking(fd: int) -> Asking:
    """How an open file can be read and written; may wait for the disk itself."""
    # The nodes of block devices are in memory, too.
    if stat.S_ISREG(apart.status(fd).mode) and syscalls.file_system(fd) in _IN_MEMORY:
        return Asking(tries=True, flags=0)
    try:
        apart.read(fd, memoryview(bytearray(1)), 0, os.RWF_NOWAIT)
    except OSError as error:
        # Memory that is not aligned, or data that is not in memory, is another matter.
        if error.errno in CAN_NOT:
            return Asking(tries=False, flags=0)
    return Asking(tries=True, flags=os.RWF_NOWAIT)
