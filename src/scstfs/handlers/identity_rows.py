"""Rows of the identification attributes of virtual devices, which INQUIRY returns."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from scstfs.handlers.identity_attributes import (
    TEXT_LIMITS,
    parse_eui64_id,
    parse_naa_id,
    parse_text,
)
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.text import cut_at_nul, decode

_Row = Attr[VdiskDevice, Any]
_Key = Callable[[VdiskDevice], bool]
_EFFECT: Final = "unit attention INQUIRY DATA HAS CHANGED"


def _show(name: str, device: VdiskDevice) -> str:
    return decode(cut_at_nul(device.identity.get(name)))


def _show_number(name: str, device: VdiskDevice) -> str:
    digits = device.identity.get(name).hex()
    return f"0x{digits}" if digits else ""


def _was_set(name: str, device: VdiskDevice) -> bool:
    return device.identity.was_set(name)


def _is_there(name: str, device: VdiskDevice) -> bool:
    return bool(device.identity.get(name))


def _store(name: str, device: VdiskDevice, value: bytes) -> None:
    if name == "t10_dev_id" and device.cluster_mode:
        raise SysfsError(errno.EPERM, f"Device {device.name} is in cluster mode")
    device.change_identity(name, value)


def _text(name: str, reads: str, key: Callable[[str, VdiskDevice], bool], since: str) -> _Row:
    mode = "; EPERM: cluster mode" if name == "t10_dev_id" else ""
    when = "written, even with an empty text" if key is _was_set else "not empty"
    return Attr(
        name=name,
        mode=0o644,
        show=partial(_show, name),
        key=partial(key, name),
        parse=partial(parse_text, name),
        binary=True,
        store=partial(_store, name),
        since=since,
        reads=reads,
        accepts=f"a line of at most {TEXT_LIMITS[name]} bytes",
        refuses=f"EINVAL: a longer one{mode}",
        key_when=when,
        effect=_EFFECT,
    )


def _number(name: str, reads: str, parse: Callable[[bytes], bytes], accepts: str) -> _Row:
    return Attr(
        name=name,
        mode=0o644,
        show=partial(_show_number, name),
        key=partial(_is_there, name),
        parse=parse,
        binary=True,
        store=partial(_store, name),
        since="3.1",
        reads=reads,
        accepts=f"{accepts} hexadecimal digits, with or without 0x in front; an empty line for "
        "none",
        refuses="EINVAL: anything else",
        key_when="there is one",
        effect=_EFFECT,
    )


T10_DEV_ID: Final = _text(
    "t10_dev_id", "identifier in the device identification page", _was_set, "2.0"
)

OTHERS: Final[tuple[_Row, ...]] = (
    _text("t10_vend_id", "T10 vendor identification", _was_set, "3.0"),
    _text("vend_specific_id", "vendor specific identifier behind the T10 vendor", _was_set, "3.0"),
    _text("prod_id", "product identification", _was_set, "3.0"),
    _text("prod_rev_lvl", "product revision level", _was_set, "3.0"),
    _text("scsi_device_name", "SCSI name string of the device", _is_there, "3.0"),
    _number("naa_id", "NAA identifier", parse_naa_id, "16 (from 2, 3 or 5 on) or 32 (from 6 on)"),
    _number("eui64_id", "EUI-64 identifier", parse_eui64_id, "16, 24 or 32"),
    _text("usn", "unit serial number", _was_set, "2.0"),
    _text("inq_vend_specific", "vendor specific bytes of standard INQUIRY data", _is_there, "3.0"),
)
"""All but `T10_DEV_ID`, which is a parameter, too."""
