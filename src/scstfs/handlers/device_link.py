"""The open node of a SCSI device with the threads that use it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from scstfs.core.threads import Completions, WorkerPool
from scstfs.handlers.device_node import DeviceNode
from scstfs.handlers.scsi_kinds import OVERTAKING_LANES
from scstfs.handlers.scsi_transfer import ASIDE_TIMEOUT
from scstfs.scsi.status import Status

log = logging.getLogger(__name__)

_RELEASE: Final = b"\x17" + bytes(5)


class DeviceLink:
    """What a device has while it is assigned to a handler."""

    def __init__(self, name: str, node: DeviceNode, lanes: int, completions: Completions) -> None:
        """``lanes`` is how many commands the device is given at a time."""
        self.node = node
        #: In the order of arrival, as far as that matters to devices of the type.
        self.lanes = WorkerPool(name, lanes, completions)
        #: For what would have to wait too long behind other commands.
        self.overtaking = WorkerPool(name, OVERTAKING_LANES, completions)

    def release(self) -> None:
        """Give a reservation up that somebody here has at the device (SPC-2 7.18)."""
        self.overtaking.submit(partial(_release, self.node), _log_failure)

    def close(self, closed: Callable[[], None], *, release: bool) -> None:
        """No command is left: close the node, then call ``closed``.

        ``release`` the device first if somebody here has reserved it.
        """

        def work() -> None:
            try:
                if release:
                    _release(self.node)
            finally:
                self.node.close()

        def done(value: object, error: BaseException | None) -> None:
            _log_failure(value, error)
            closed()

        self.overtaking.submit(work, done)
        self.lanes.close()
        self.overtaking.close()


def _release(node: DeviceNode) -> None:
    result = node.execute(_RELEASE, ASIDE_TIMEOUT)
    if result.status != Status.GOOD:
        raise OSError(errno.EIO, f"status {result.status:#x}")


def _log_failure(_value: object, error: BaseException | None) -> None:
    if error is not None:
        log.warning("a reservation could not be given up: %s", error)
