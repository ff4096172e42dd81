"""``last_sysfs_mgmt_res``: the result of the last queued command.

SCST executes management commands in a worker and keeps one global result of the last that finished.
Commands are awaited here, but the file has the same contents: EAGAIN while any command runs, else 0
or the negative errno of the last one. That includes a command refused while it ran, but not one
refused before (for example, because its number did not parse).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from scstfs.sysfs.errors import SysfsError


class ManagementResult:
    """The result of the last queued command of one tree, and how many are running."""

    __slots__ = ("pending", "value")

    def __init__(self) -> None:
        """Nothing has run: the file reads 0."""
        self.value = 0
        self.pending = 0

    def show(self) -> str:
        """Text of ``last_sysfs_mgmt_res``; raises EAGAIN while a command runs."""
        if self.pending:
            raise SysfsError(errno.EAGAIN)
        return str(self.value)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Count the body as running, then keep its outcome.

        A cancelled body (the daemon is going down) leaves the last result alone.
        """
        self.pending += 1
        try:
            yield
        except SysfsError as refusal:
            self.value = -refusal.errno
            raise
        except Exception:
            self.value = -errno.EIO
            raise
        else:
            self.value = 0
        finally:
            self.pending -= 1
