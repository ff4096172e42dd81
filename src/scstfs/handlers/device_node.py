"""Nodes of this machine's SCSI devices: /dev/sgN, or else /dev/bsg/H:C:I:L."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from scstfs.sgutils import libsgutils, sg_pt
from scstfs.sgutils.sg_pt import PassThroughResult

DEV: Final = Path("/dev")

#: Each page of memory that is not contiguous counts as a segment.
_PAGE: Final = 4096

#: Opening does not wait for a process that has the node exclusively; commands still wait.
_FLAGS: Final = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC


class NoNodeError(OSError):
    """The device exists, but the machine has no node for it."""


class Run(Protocol):
    """Executes a command at an open node; `scstfs.sgutils.sg_pt.execute` does."""

    def __call__(
        self,
        fd: int,
        cdb: bytes,
        data_out: bytes | bytearray | memoryview = b"",
        *,
        data_in: bytearray | memoryview | None = None,
        timeout: int = sg_pt.DEFAULT_TIMEOUT,
    ) -> PassThroughResult:
        """Block until the command has ended; raises OSError."""


class DeviceNode:
    """An open node; used by many threads at a time."""

    def __init__(self, fd: int, limit: int = 0, run: Run = sg_pt.execute) -> None:
        """``limit`` is the most data (bytes) that one command may carry, 0 if unknown."""
        self.limit = limit
        self._fd = fd
        self._run = run
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    def execute(
        self,
        cdb: bytes,
        timeout: int,
        data_out: bytes | bytearray | memoryview = b"",
        data_in: bytearray | memoryview | None = None,
    ) -> PassThroughResult:
        """Have the device execute a command; blocks up to ``timeout`` seconds, or a little longer.

        Raises OSError: ENODEV after ``close``.
        """
        with self._lock:
            if self._closing:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            self._users += 1
        try:
            return self._run(self._fd, cdb, data_out, data_in=data_in, timeout=timeout)
        finally:
            self._leave()

    def close(self) -> None:
        """Begin no more commands; the node is closed when the last one has ended."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._users += 1
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            over = self._closing and not self._users
        if over:
            os.close(self._fd)


#: Opens the node of the device with an address H:C:I:L; blocks; raises OSError.
Opener = Callable[[str], DeviceNode]


def open_node(directory: Path, address: str, dev: Path = DEV) -> DeviceNode:
    """Open the node of the device at ``address``, which ``directory`` (of sysfs) lists; blocks.

    Raises OSError: ENODEV if the device is gone, as a NoNodeError if the kernel has no driver that
    takes commands for it (sg or bsg); EBUSY if a process has it exclusively; ELIBACC without
    libsgutils2; and all errors of open(2).
    """
    if not libsgutils.available():
        raise OSError(errno.ELIBACC, str(libsgutils.LibraryMissing()))
    device = directory / address / "device"
    names = [f"bsg/{address}"]
    generic = device / "scsi_generic"
    if generic.is_dir():
        names = [*os.listdir(generic), *names]
    for name in names:
        try:
            return DeviceNode(os.open(dev / name, _FLAGS), transfer_limit(device))
        except FileNotFoundError:
            continue
    missing = f"{address} has none of the nodes {', '.join(names)}"
    raise (NoNodeError if device.exists() else OSError)(errno.ENODEV, missing)


def transfer_limit(device: Path) -> int:
    """The most data (bytes) that a command for a device (its directory in sysfs) may carry; 0:
    unknown.

    The host adapter's limit is known only for devices with blocks.
    """
    limits = []
    for queue in device.glob("block/*/queue"):
        try:
            limits.append(int((queue / "max_hw_sectors_kb").read_bytes()) << 10)
            limits.append(int((queue / "max_segments").read_bytes()) * _PAGE)
        except (OSError, ValueError):
            continue
    return min((limit for limit in limits if limit > 0), default=0)
