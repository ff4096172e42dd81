"""Attributes about protection information of virtual devices."""

from __future__ import annotations

from typing import Any, Final

from scstfs.handlers.protection import kept_tags
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.numbers import kstrtoull

_SINCE: Final = "3.1"


def _is_protected(device: VdiskDevice) -> bool:
    return device.is_protected


def _set_tag(device: VdiskDevice, value: int) -> None:
    device.settings.dif_static_app_tag = kept_tags(device.settings.dif_type, value)


FILENAME: Final[Attr[VdiskDevice, Any]] = Attr(
    name="dif_filename",
    mode=0o444,
    show=lambda device: device.settings.dif_filename or "",
    key=lambda device: True,
    visible=lambda device: device.settings.dif_filename is not None,
    since=_SINCE,
    reads="the file for protection information; nothing is written to it",
    key_when="always",
)

MODE: Final[Attr[VdiskDevice, Any]] = Attr(
    name="dif_mode",
    mode=0o444,
    show=lambda device: device.settings.dif_mode.text,
    key=lambda device: True,
    visible=_is_protected,
    since=_SINCE,
    reads="what checks protection information: tgt, scst, dev_check, dev_store, joined by `|`; "
    "there only if it was given when the device was made",
    key_when="always",
)

TYPE: Final[Attr[VdiskDevice, Any]] = Attr(
    name="dif_type",
    mode=0o444,
    show=lambda device: str(device.settings.dif_type),
    key=lambda device: True,
    visible=_is_protected,
    since=_SINCE,
    reads="the type of protection, 1 to 3; there only with dif_mode",
    key_when="always",
)

STATIC_APP_TAG: Final[Attr[VdiskDevice, Any]] = Attr(
    name="dif_static_app_tag",
    mode=0o644,
    show=lambda device: f"0x{device.settings.dif_static_app_tag:x}",
    key=lambda device: device.settings.dif_static_app_tag != 0,
    parse=kstrtoull,
    store=_set_tag,
    visible=_is_protected,
    since=_SINCE,
    reads="the application tag that is always used, with type 3 behind the reference tag; "
    "there only with dif_mode",
    accepts="a number; bits that do not fit are cut off",
    refuses="EINVAL: anything else",
    key_when="not 0",
    effect="none: only the copy manager's target can have a LUN of such a device",
)
