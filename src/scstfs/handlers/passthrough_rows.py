"""Attributes of pass-through handlers, and of their devices."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Final

from scstfs.handlers import passthrough
from scstfs.handlers.passthrough import PassThroughHandler
from scstfs.handlers.scsi_device import ScsiDevice
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import MgmtWrite, mgmt_attr
from scstfs.sysfs.values import flag, zero_or_one
from scstfs.tree.handlers import Handler


async def _assign(handler: PassThroughHandler, device: ScsiDevice) -> None:
    await device.assign(handler)


async def _unassign(handler: PassThroughHandler, device: ScsiDevice) -> None:
    if device.handler is not handler:
        raise invalid(f"Device {device.name} is not assigned to handler {handler.name}")
    await device.assign(None)


_PASS_THROUGH_ACTIONS: Final[
    dict[str, Callable[[PassThroughHandler, ScsiDevice], Awaitable[None]]]
] = {"add_device": _assign, "del_device": _unassign}


def _manage_pass_through(directory: Handler, command: MgmtWrite) -> Awaitable[None]:
    handler = directory.handler
    if not isinstance(handler, PassThroughHandler):
        raise SysfsError(errno.EINVAL)
    address = command.arguments.required_word("Device")
    command.arguments.expect_end()
    device = passthrough.find(directory.scst, address)
    if device.type is not handler.type:
        raise invalid(f"Type {device.type} of device {device.name} differs from {handler.name}'s")
    return command.select(_PASS_THROUGH_ACTIONS)(handler, device)


ROWS: Final[DirType[Handler]] = DirType(
    "SCSI devices",
    (
        mgmt_attr(
            lambda directory: (
                'Usage: echo "add_device H:C:I:L" >mgmt\n       echo "del_device H:C:I:L" >mgmt\n'
            ),
            _manage_pass_through,
            accepts="`add_device H:C:I:L`, `del_device H:C:I:L`",
            refuses="EINVAL: an unknown action or device, one of another type, `del_device` of one "
            "that another handler has; ENODEV: the device is gone, or does not stop reporting unit "
            "attentions; ELIBACC: libsgutils2 is missing; EBUSY, ...: the errno of open(2)",
            effect="the device has this handler, or none; the first opens its node, through which "
            "commands go to the device, and asks for its block size and control mode page; one "
            "without a node (/dev/sgN or /dev/bsg/H:C:I:L) is NOT READY; "
            "`del_device` returns when the last command has ended and the node is closed",
        ),
    ),
)


# Cluster mode of pass-through disks


def _set_cluster_mode(device: ScsiDevice, data: bytes) -> None:
    # SCST parses in the queued work, so that a refusal counts as an outcome.
    device.cluster_mode = zero_or_one(data)
    device.scst.cluster_mode_changed(device)


_DISK: Final[DirType[ScsiDevice]] = DirType(
    "dev_disk",
    (
        Attr(
            name="cluster_mode",
            mode=0o644,
            show=lambda device: flag(device.cluster_mode),
            key=lambda device: device.cluster_mode,
            parse=bytes,
            store=_set_cluster_mode,
            queued=True,
            since="3.1",
            reads="1 in cluster mode",
            accepts="0 or 1",
            refuses="EINVAL: anything else",
            key_when="1",
            effect="reservations are shared with the devices of the same address on other nodes "
            "(`scstfs mount --etcd`)",
        ),
    ),
)

DEVICES: Final = {"dev_disk": _DISK}
"""Rows of devices by the name of their handler, for handlers that have some."""
