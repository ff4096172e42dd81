"""``handlers/NAME/mgmt`` of virtual devices."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Final

from scstfs.core.waiting import retired
from scstfs.handlers.vdisk_handler import VdiskHandler, delete_device
from scstfs.sysfs.directory import DirType
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.mgmt import Lexer, MgmtWrite, mgmt_attr
from scstfs.tree.handlers import Handler


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
    return handler.add_device(directory.scst, name, arguments.parameters(), directory.require_free)


def _delete_virtual(
    directory: Handler, _handler: VdiskHandler, name: str, arguments: Lexer
) -> Awaitable[None]:
    arguments.expect_end()
    return retired(delete_device(directory.scst, name))


_VIRTUAL_ACTIONS: Final[
    dict[str, Callable[[Handler, VdiskHandler, str, Lexer], Awaitable[None]]]
] = {"add_device": _add_virtual, "del_device": _delete_virtual}


def _manage_virtual(directory: Handler, command: MgmtWrite) -> Awaitable[None]:
    handler = directory.handler
    if not isinstance(handler, VdiskHandler):
        raise SysfsError(errno.EINVAL)
    action = command.select(_VIRTUAL_ACTIONS)
    name = command.arguments.required_word("Device name")
    return action(directory, handler, name, command.arguments)


def _show_usage(directory: Handler) -> str:
    handler = directory.handler
    return _usage(handler) if isinstance(handler, VdiskHandler) else ""


ROWS: Final[DirType[Handler]] = DirType(
    "virtual devices",
    (
        mgmt_attr(
            _show_usage,
            _manage_virtual,
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
