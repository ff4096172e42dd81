"""Attributes that scstadmin sets: one row for each kind of object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from scstfs.admin import kinds
from scstfs.admin.kinds import Kind
from scstfs.admin.scstadmin.errors import Code
from scstfs.admin.scstadmin.mgmt_commands import Doubt
from scstfs.admin.scstadmin.tree_lookup import PLACES, Names, TreeLookup


class AttributeRules(NamedTuple):
    """How the attributes of a kind of objects are set.

    Attributes:
        setting: template of the message before one is set.
        lacking: template of the message if there is no such attribute.
        directory: template of their directory.
        newline: whether a newline is written behind the value.
        doubts: the checks after a refusal.
        unknown, static, failed: the codes if the attribute does not exist, cannot be written, was
            refused.
        tells_errno: whether the name of the errno is printed on standard error.
        debug: template of the output with -debug instead.
    """

    setting: str
    lacking: str
    directory: str
    newline: bool
    doubts: tuple[Doubt, ...]
    unknown: Code
    static: Code
    failed: Code
    tells_errno: bool = True
    debug: str = "{path} -> {attribute} = {value}"


def _no(what: str, code: Code) -> Doubt:
    def asks(library: TreeLookup, names: Names) -> bool:
        if what == "group" and not names["group"]:
            return False
        return not library.exists(what, names)

    return Doubt(asks, code)


_DRIVER: Final = _no("driver", Code.DRV_NO_DRIVER)
_TARGET: Final = _no("target", Code.TGT_NO_TARGET)
_GROUP: Final = _no("group", Code.GRP_NO_GROUP)
_DEVICE_GROUP: Final = _no("device_group", Code.DEV_GRP_NO_GROUP)
_TARGET_GROUP: Final = _no("target_group", Code.DGRP_NO_GROUP)

_REVERSED: Final = "{value} > {path}"

SETTINGS: Final[Mapping[Kind, AttributeRules]] = {
    kinds.ROOT: AttributeRules(
        "Setting SCST attribute '{attribute}' to value '{value}'",
        "SCST lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.ROOT].path,
        True,
        (),
        Code.BAD_ATTRIBUTES,
        Code.ATTRIBUTE_STATIC,
        Code.SETATTR_FAIL,
    ),
    kinds.HANDLER: AttributeRules(
        "Setting handler attribute '{attribute}' to value '{value}' for handler '{handler}'",
        "Handler '{handler}' lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.HANDLER].path,
        True,
        (_no("handler", Code.HND_NO_HANDLER),),
        Code.HND_BAD_ATTRIBUTES,
        Code.HND_ATTRIBUTE_STATIC,
        Code.HND_SETATTR_FAIL,
    ),
    kinds.DEVICE: AttributeRules(
        "Setting device attribute '{attribute}' to value '{value}' for device '{device}'",
        "Device '{device}' lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.DEVICE].path,
        False,
        (_no("device", Code.DEV_NO_DEVICE),),
        Code.DEV_BAD_ATTRIBUTES,
        Code.DEV_ATTRIBUTE_STATIC,
        Code.DEV_SETATTR_FAIL,
        debug=_REVERSED,
    ),
    kinds.DRIVER: AttributeRules(
        "Setting driver attribute '{attribute}' to value '{value}' for driver '{driver}'",
        "Driver '{driver}' lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.DRIVER].path,
        True,
        (_DRIVER,),
        Code.DRV_BAD_ATTRIBUTES,
        Code.DRV_ATTRIBUTE_STATIC,
        Code.DRV_SETATTR_FAIL,
    ),
    kinds.TARGET: AttributeRules(
        "Setting target attribute '{attribute}' to value '{value}' for "
        "driver/target '{driver}/{target}'",
        "Driver/target '{driver}/{target}' lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.TARGET].path,
        False,
        (_DRIVER, _TARGET),
        Code.TGT_BAD_ATTRIBUTES,
        Code.TGT_ATTRIBUTE_STATIC,
        Code.TGT_SETATTR_FAIL,
        debug=_REVERSED,
    ),
    kinds.GROUP: AttributeRules(
        "Setting group attribute '{attribute}' to value '{value}' for group '{group}'",
        "Driver/target/group '{driver}/{target}/{group}' lacks the settable "
        "attribute '{attribute}', ignoring.",
        PLACES[kinds.GROUP].path,
        True,
        (_DRIVER, _TARGET, _GROUP),
        Code.GRP_BAD_ATTRIBUTES,
        Code.GRP_ATTRIBUTE_STATIC,
        Code.GRP_SETATTR_FAIL,
        debug=_REVERSED,
    ),
    kinds.LUN: AttributeRules(
        "Setting LUN attribute '{attribute}' to value '{value}' for {lun_place}",
        "{lun_title} lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.LUN].path,
        True,
        (_DRIVER, _TARGET, _GROUP, _no("lun", Code.TGT_NO_LUN)),
        Code.LUN_BAD_ATTRIBUTES,
        Code.LUN_ATTRIBUTE_STATIC,
        Code.LUN_SETATTR_FAIL,
        tells_errno=False,
    ),
    kinds.DEVICE_GROUP: AttributeRules(
        "Setting Device Group attribute '{attribute}' to value '{value}' for "
        "device group '{device_group}'",
        "Device Group '{device_group}' lacks the settable attribute '{attribute}', ignoring.",
        PLACES[kinds.DEVICE_GROUP].path,
        True,
        (_DEVICE_GROUP,),
        Code.DGRP_BAD_ATTRIBUTES,
        Code.DGRP_ATTRIBUTE_STATIC,
        Code.DGRP_SETATTR_FAIL,
    ),
    kinds.TARGET_GROUP: AttributeRules(
        "Setting Target Group attribute '{attribute}' to value '{value}' for "
        "target group '{device_group}/{target_group}'",
        "Target Group '{device_group}/{target_group}' lacks the settable "
        "attribute '{attribute}', ignoring.",
        PLACES[kinds.TARGET_GROUP].path,
        True,
        (_DEVICE_GROUP, _TARGET_GROUP),
        Code.TGRP_BAD_ATTRIBUTES,
        Code.TGRP_ATTRIBUTE_STATIC,
        Code.TGRP_SETATTR_FAIL,
    ),
    kinds.GROUP_TARGET: AttributeRules(
        "Setting target attribute '{attribute}' to value '{value}' for "
        "target '{device_group}/{target_group}/{group_target}'",
        "Target '{device_group}/{target_group}/{group_target}' lacks the settable "
        "attribute '{attribute}', ignoring.",
        PLACES[kinds.GROUP_TARGET].path,
        True,
        (_DEVICE_GROUP, _TARGET_GROUP, _no("group_target", Code.TGRP_NO_TGT)),
        Code.TGRP_TGT_BAD_ATTR,
        Code.TGRP_TGT_ATTR_STATIC,
        Code.TGRP_TGT_SETATTR_FAIL,
    ),
    kinds.ALUA: AttributeRules(
        "Setting ALUA attribute '{attribute}' to value '{value}'",
        "no settable ALUA attribute '{attribute}', ignoring.",
        PLACES[kinds.ALUA].path,
        True,
        (),
        Code.ALUA_BAD_ATTRIBUTES,
        Code.ALUA_ATTRIBUTE_STATIC,
        Code.ALUA_SETATTR_FAIL,
        debug=_REVERSED,
    ),
}
"""Initiators have no attributes."""
