"""``handlers/``: the dev handlers, and adding devices to them and taking them away."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from scstfs.core.device import DevHandler, Device
from scstfs.core.scst import Scst
from scstfs.core.waiting import retired
from scstfs.handlers import passthrough
from scstfs.handlers.base import VdiskHandler, delete_device
from scstfs.handlers.passthrough import PassThroughHandler
from scstfs.handlers.scsi_device import ScsiDevice
from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.directory import DirType, Each, EachLink, Include
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import Command, Lexer, parse
from scstfs.tree import paths
from scstfs.tree.devices import type_text
from scstfs.tree.naming import require_free
from scstfs.tree.trace import trace_level


class Handler:
    """A handler's directory: the handler together with what it is registered with."""

    __slots__ = ("handler", "scst")

    def __init__(self, scst: Scst, handler: DevHandler) -> None:
        self.scst = scst
        self.handler = handler

    def devices(self) -> Mapping[str, Device]:
        """Its devices by name."""
        return self.scst.devices_of(self.handler)

    def device_path(self, name: str) -> paths.Path | None:
        """Where the link to one of its devices leads."""
        device = self.devices().get(name)
        return None if device is None else paths.device(device)


# Virtual devices


def _usage(handler: VdiskHandler) -> str:
    return (
        'Usage: echo "add_device device_name [parameters]" >mgmt\n'
        '       echo "del_device device_name" >mgmt\n'
        "\n"
        "where parameters are one or more param_name=value pairs separated by ';'\n"
        "\n"
        f"The following parameters available: {', '.join(handler.usage)}\n"
        "\n"
    )


def _add_virtual(
    directory: Handler, handler: VdiskHandler, name: str, arguments: Lexer
) -> Awaitable[None]:
    return handler.add_device(
        directory.scst, name, arguments.parameters(), partial(require_free, HANDLER, directory)
    )


def _delete_virtual(
    directory: Handler, _handler: VdiskHandler, name: str, arguments: Lexer
) -> Awaitable[None]:
    arguments.expect_end()
    return retired(delete_device(directory.scst, name))


_VIRTUAL_ACTIONS: Final[
    dict[str, Callable[[Handler, VdiskHandler, str, Lexer], Awaitable[None]]]
] = {"add_device": _add_virtual, "del_device": _delete_virtual}


def _manage_virtual(directory: Handler, command: Command) -> Awaitable[None]:
    handler = directory.handler
    if not isinstance(handler, VdiskHandler):
        raise SysfsError(errno.EINVAL)
    action = command.select(_VIRTUAL_ACTIONS)
    name = command.arguments.required_word("Device name")
    return action(directory, handler, name, command.arguments)


def _show_usage(directory: Handler) -> str:
    handler = directory.handler
    return _usage(handler) if isinstance(handler, VdiskHandler) else ""


_VIRTUAL: Final[DirType[Handler]] = DirType(
    "virtual devices",
    (
        Attr(
            name="mgmt",
            mode=0o644,
            show=_show_usage,
            render=raw,
            parse=parse,
            store=_manage_virtual,
            queued=True,
            since="2.0",
            reads="how to use it, with the parameters that `add_device` takes",
            accepts="`add_device NAME [parameter=value; ...]`, `del_device NAME`",
            refuses="EINVAL: an unknown action or parameter, a value missing or wrong, parameters "
            "that do not go together, no name, a name with '/' or '.' or of more than 64 bytes, "
            "`del_device` of no virtual device; EEXIST: the name or its serial number is taken; "
            "ENOENT, EBUSY, ENOTBLK, ...: the errno of open(2)",
            effect="`del_device` deletes virtual devices of all four handlers, in use or not: LUNs "
            "go with the device, and sessions are told; it returns when the last command has ended",
        ),
    ),
)


# SCSI devices of this machine


async def _assign(handler: PassThroughHandler, device: ScsiDevice) -> None:
    await device.assign(handler)


async def _unassign(handler: PassThroughHandler, device: ScsiDevice) -> None:
    if device.handler is not handler:
        raise invalid(f"Device {device.name} is not assigned to handler {handler.name}")
    await device.assign(None)


_PASS_THROUGH_ACTIONS: Final[
    dict[str, Callable[[PassThroughHandler, ScsiDevice], Awaitable[None]]]
] = {"add_device": _assign, "del_device": _unassign}


def _manage_pass_through(directory: Handler, command: Command) -> Awaitable[None]:
    handler = directory.handler
    if not isinstance(handler, PassThroughHandler):
        raise SysfsError(errno.EINVAL)
    address = command.arguments.required_word("Device")
    command.arguments.expect_end()
    device = passthrough.find(directory.scst, address)
    if device.type is not handler.type:
        raise invalid(f"Type {device.type} of device {device.name} differs from {handler.name}'s")
    return command.select(_PASS_THROUGH_ACTIONS)(handler, device)


_PASS_THROUGH: Final[DirType[Handler]] = DirType(
    "SCSI devices",
    (
        Attr(
            name="mgmt",
            mode=0o644,
            show=lambda directory: (
                'Usage: echo "add_device H:C:I:L" >mgmt\n       echo "del_device H:C:I:L" >mgmt\n'
            ),
            render=raw,
            parse=parse,
            store=_manage_pass_through,
            queued=True,
            since="2.0",
            reads="how to use it",
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


def _rows(directory: Handler) -> DirType[Any]:
    return _VIRTUAL if isinstance(directory.handler, VdiskHandler) else _PASS_THROUGH


HANDLER: Final[DirType[Handler]] = DirType(
    "handler",
    (
        Attr(
            name="type",
            mode=0o444,
            show=lambda directory: type_text(directory.handler.type),
            since="2.0",
            reads="SCSI type of its devices, as a number and in words",
        ),
        trace_level(lambda directory: directory.handler.trace),
        Include(choose=_rows, among=(_VIRTUAL, _PASS_THROUGH)),
        EachLink(
            children=Handler.devices,
            target=Handler.device_path,
            label="DEVICE",
            about="to a device of the handler",
        ),
    ),
)


class Handlers:
    """All handlers' directories; a directory keeps its object."""

    __slots__ = ("_directories", "_scst")

    def __init__(self, scst: Scst) -> None:
        self._scst = scst
        self._directories: dict[str, Handler] = {}

    def names(self) -> dict[str, DevHandler]:
        """The handlers by name."""
        return self._scst.handlers

    def find(self, name: str) -> Handler | None:
        """The directory of one of them."""
        handler = self._scst.handlers.get(name)
        if handler is None:
            return None
        directory = self._directories.get(name)
        if directory is None or directory.handler is not handler:
            directory = self._directories[name] = Handler(self._scst, handler)
        return directory


HANDLERS: Final[DirType[Handlers]] = DirType(
    "handlers",
    (
        Each(
            children=Handlers.names,
            get=Handlers.find,
            dirtype=HANDLER,
            label="HANDLER",
            about="a kind of devices",
        ),
    ),
)
