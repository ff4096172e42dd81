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
    """The resources of a device while it is assigned to a handler."""

    def __init__(self, name: str, node: DeviceNode, lanes: int, completions: Completions) -> None:
        """``lanes`` is the number of commands that the device gets at a time."""
        self.node = node
        #: In the order of arrival if that matters to devices of the type.
        self.lanes = WorkerPool(name, lanes, completions)
        #: For commands that must not wait behind others.
        self.overtaking = WorkerPool(name, OVERTAKING_LANES, completions)

    def release(self) -> None:
        """Release a reservation that one of our initiators has at the device (SPC-2 7.18)."""
        self.overtaking.submit(partial(_release, self.node), _log_failure)

    def close(self, closed: Callable[[], None], *, release: bool) -> None:
        """Close the node, then call ``closed``; no command is left.

        ``release`` the device first if one of our initiators has reserved it.
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
