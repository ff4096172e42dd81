"""The kernel's messages about added and removed devices (NETLINK_KOBJECT_UEVENT)."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

log = logging.getLogger(__name__)

_NETLINK_KOBJECT_UEVENT: Final = 15
_KERNEL_GROUP: Final = 1
# The kernel's own limit is 2048 bytes of variables and some for the header.
_LONGEST: Final = 16384


def parse(message: bytes) -> Mapping[str, str]:
    """The variables of one message; empty for one that is not the kernel's."""
    header, _, rest = message.partition(b"\0")
    if b"@" not in header:
        return {}
    pairs = (part.decode("utf-8", "replace").partition("=") for part in rest.split(b"\0") if part)
    return {name: value for name, separator, value in pairs if separator}


def is_about_scsi_devices(variables: Mapping[str, str]) -> bool:
    """A SCSI device was added, removed or changed."""
    return variables.get("SUBSYSTEM") == "scsi_device"


async def watch_scsi_devices(changed: Callable[[], Awaitable[None]]) -> None:
    """Call ``changed`` at once, and whenever SCSI devices may have come or gone.

    Returns only if the kernel's messages cannot be received; then only the first call is made.
    """
    try:
        listener = trio.socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT
        )
    except OSError as error:
        _give_up(error)
        await changed()
        return
    with listener:
        try:
            await listener.bind((0, _KERNEL_GROUP))
        except OSError as error:
            _give_up(error)
            await changed()
            return
        # Listen first, so that changes during the call of ``changed`` are not missed.
        await changed()
        while True:
            try:
                again = await _receive(listener)
            except OSError as error:
                _give_up(error)
                return
            if again:
                await changed()


def _give_up(error: OSError) -> None:
    log.warning("SCSI devices that come and go will not be noticed: %s", error.strerror)


async def _receive(listener: trio.socket.SocketType) -> bool:
    """Wait for a message; return whether it is a reason to look again."""
    try:
        message, (port, _groups) = await listener.recvfrom(_LONGEST)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        log.info("messages about devices were lost")
        return True
    return port == 0 and is_about_scsi_devices(parse(message))
