"""A LUN set's directory: ``luns/`` of a target and of each of its groups.

``exported/exportN`` of a device leads here, ``device`` back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from scstfs.core import access
from scstfs.core.device import Device
from scstfs.core.scst import registry_of
from scstfs.core.target import Acg, AcgDev
from scstfs.core.waiting import retired
from scstfs.scsi.lun import MAX_LUN
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each, Link
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.mgmt import Lexer, MgmtWrite, mgmt_attr
from scstfs.sysfs.numbers import kstrtoul
from scstfs.sysfs.text import encode
from scstfs.sysfs.values import flag
from scstfs.tree import paths
from scstfs.tree.naming import Numbered, number_in, numbered

_USAGE: Final = """\
Usage: echo "add H:C:I:L lun [parameters]" >mgmt
       echo "add VNAME lun [parameters]" >mgmt
       echo "del lun" >mgmt
       echo "replace H:C:I:L lun [parameters]" >mgmt
       echo "replace VNAME lun [parameters]" >mgmt
       echo "replace_no_ua H:C:I:L lun [parameters]" >mgmt
       echo "replace_no_ua VNAME lun [parameters]" >mgmt
       echo "clear" >mgmt

where parameters are one or more param_name=value pairs separated by ';'

The following parameters available: read_only
"""


def _is_read_only(acg_dev: AcgDev) -> bool:
    return acg_dev.read_only or acg_dev.device.read_only


LUN: Final[DirType[AcgDev]] = DirType(
    "LUN",
    (
        Attr(
            name="read_only",
            mode=0o444,
            show=lambda acg_dev: flag(_is_read_only(acg_dev)),
            key=_is_read_only,
            parameter=True,
            since="2.0",
            reads="1 if the LUN or its device is read-only, else 0",
            key_when="1",
        ),
        Link(
            name="device",
            target=lambda acg_dev: paths.device(acg_dev.device),
            about="to the device behind it",
        ),
    ),
)


class _NewLun(NamedTuple):
    """The arguments of `add` and `replace`."""

    device: Device
    lun: int
    read_only: bool


def _parse_new(acg: Acg, arguments: Lexer) -> _NewLun:
    """Parse device, number and parameters of a new LUN; raises SysfsError."""
    name = arguments.word() or ""
    device = registry_of(acg.target).devices.get(name)
    if device is None:
        raise invalid(f'Device "{name}" not found')
    number = kstrtoul(encode(arguments.word() or ""))
    if number > MAX_LUN:
        raise invalid(f"Too big LUN {number} (max {MAX_LUN})")
    read_only = False
    for parameter in arguments.parameters():
        value = kstrtoul(encode(parameter.value()))
        if parameter.key != "read_only":
            raise invalid(f"Unknown parameter {parameter.name} (device {device.name})")
        read_only = value != 0
    return _NewLun(device, number, read_only)


def _add(acg: Acg, arguments: Lexer) -> None:
    new = _parse_new(acg, arguments)
    access.add_lun(acg, new.device, new.lun, read_only=new.read_only)


def _replace(tell: bool, acg: Acg, arguments: Lexer) -> Awaitable[None]:
    new = _parse_new(acg, arguments)
    gone = access.replace_lun(acg, new.device, new.lun, read_only=new.read_only, tell=tell)
    return retired(gone)


def _delete(acg: Acg, arguments: Lexer) -> Awaitable[None]:
    number = kstrtoul(encode(arguments.word() or ""))
    arguments.expect_end()
    acg_dev = acg.luns.get(number)
    if acg_dev is None:
        raise invalid(f"LUN {number} not found in {acg.name}")
    gone = access.remove_lun(acg_dev)
    access.report_luns_changed(acg)
    return retired(gone)


def _clear(acg: Acg, arguments: Lexer) -> Awaitable[None]:
    arguments.expect_end()
    luns = list(acg.luns.values())
    gone = [tgt_dev for acg_dev in luns for tgt_dev in access.remove_lun(acg_dev)]
    if luns:
        access.report_luns_changed(acg)
    return retired(gone)


_ACTIONS: Final[dict[str, Callable[[Acg, Lexer], Awaitable[None] | None]]] = {
    "add": _add,
    "replace": partial(_replace, True),
    "replace_no_ua": partial(_replace, False),
    "del": _delete,
    "clear": _clear,
}


def _manage(acg: Acg, command: MgmtWrite) -> Awaitable[None] | None:
    return command.select(_ACTIONS)(acg, command.arguments)


def _find(acg: Acg, name: str) -> AcgDev | None:
    number = number_in(name)
    return None if number is None else acg.luns.get(number)


LUNS: Final[DirType[Acg]] = DirType(
    "LUN set",
    (
        mgmt_attr(
            lambda acg: _USAGE,
            _manage,
            accepts="`add DEVICE LUN [read_only=1]`, `replace ...`, `replace_no_ua ...`, "
            "`del LUN`, `clear`",
            refuses="EINVAL: an unknown action, device or parameter, a LUN above 16383, "
            "`del` of a LUN that does not exist, a device with protection information at a target "
            "that cannot transfer it, a read-only LUN of the copy manager's (which makes one "
            "itself for each new device) for a device that is not; EEXIST: `add` of one that is",
            effect="sessions that use the set see the change at once and are told (REPORTED "
            "LUNS DATA HAS CHANGED; INQUIRY DATA HAS CHANGED for what `replace` replaced); "
            "returns when the last command to a LUN that went has ended",
        ),
        Each(
            children=lambda acg: Numbered(acg.luns),
            follows=lambda acg: acg.luns,
            named=numbered(),
            get=_find,
            dirtype=LUN,
            label="LUN",
            about="a LUN, by its number",
        ),
    ),
)
