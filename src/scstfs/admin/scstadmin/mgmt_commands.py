"""The commands that scstadmin writes to mgmt files: one row each.

A row has the file and the text of the command, and the checks, in order, that find the reason of a
refusal.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from scstfs.admin import kinds
from scstfs.admin.kinds import Kind
from scstfs.admin.scstadmin.errors import Code, Unavailable
from scstfs.admin.scstadmin.tree_lookup import Names, TreeLookup, locate

Question = Callable[[TreeLookup, Names], bool]


class Doubt(NamedTuple):
    """A check, and the error if it is true."""

    question: Question
    code: Code


class MgmtCommand(NamedTuple):
    """One command.

    Attributes:
        told: template of its message; ``{holder}`` has a LUN, ``{target_title}`` is a target with
            its driver.
        path: template of the file that takes it.
        text: template of the command.
        failure: the code if no check finds a better one.
        needs: names that must not be empty; otherwise it fails without being tried.
        doubts: the checks after a refusal.
        for_group: like `failure`, for a group of initiators.
        debug: the output with -debug instead; ``path`` in front of the command.
    """

    told: str
    path: str
    text: str
    failure: Code
    needs: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    for_group: Code | None = None
    debug: str = "{path} -> {text}"


def _no(what: str, code: Code) -> Doubt:
    return Doubt(lambda library, names: not library.exists(what, names), code)


def _is(what: str, code: Code) -> Doubt:
    return Doubt(lambda library, names: library.exists(what, names), code)


def _without_group(what: str, code: Code) -> Doubt:
    """Only for groups."""
    return Doubt(
        lambda library, names: bool(names.get("group")) and not library.exists(what, names), code
    )


def _lun(there: bool, of_target: Code, of_group: Code) -> tuple[Doubt, Doubt]:
    """The LUN exists, or does not."""

    def of(group: bool) -> Question:
        return lambda library, names: (
            bool(names.get("group")) is group and library.exists("lun", names) is there
        )

    return Doubt(of(False), of_target), Doubt(of(True), of_group)


def _unknown_parameter(kind: Kind) -> Question:
    def asks(library: TreeLookup, names: Names) -> bool:
        given = [word.partition("=")[0] for word in names["parameters"].split(";") if word]
        try:
            return not set(given) <= set(library.parameters(kind, names))
        except Unavailable:
            return False

    return asks


def _unknown_dynamic(kind: Kind) -> Question:
    def asks(library: TreeLookup, names: Names) -> bool:
        try:
            return names["attribute"] not in library.dynamic(kind, names["driver"])
        except Unavailable:
            return False

    return asks


_NO_DRIVER: Final = _no("driver", Code.DRV_NO_DRIVER)
_NO_TARGET: Final = _no("target", Code.TGT_NO_TARGET)
_NO_GROUP: Final = _no("group", Code.GRP_NO_GROUP)
_NO_SUCH_GROUP: Final = _without_group("group", Code.GRP_NO_GROUP)
_NO_DEVICE_GROUP: Final = _no("device_group", Code.DEV_GRP_NO_GROUP)
_NO_TARGET_GROUP: Final = _no("target_group", Code.DGRP_NO_GROUP)
_NOT_VIRTUAL: Final = Doubt(
    lambda library, names: not library.takes_targets(names["driver"]), Code.DRV_NOTVIRT
)
_NOT_OPEN: Final = _no("device", Code.DEV_NO_DEVICE)
_NOT_THE_HANDLERS: Final = Doubt(
    lambda library, names: names["device"] not in library.devices(names["handler"]),
    Code.DEV_NO_DEVICE,
)
_LUN_PARAMETERS: Final = Doubt(_unknown_parameter(kinds.LUN), Code.LUN_BAD_ATTRIBUTES)


def _in_group(library: TreeLookup, names: Names) -> bool:
    return names["device"] in library.group_devices(names["device_group"])


def _in_any_group(library: TreeLookup, names: Names) -> bool:
    return any(names["device"] in library.group_devices(group) for group in library.device_groups())


_DRIVER_MGMT: Final = "targets/{driver}/mgmt"
_TARGET: Final = "targets/{driver}/{target}"
_GROUPS_MGMT: Final = _TARGET + "/ini_groups/mgmt"
_INITIATORS_MGMT: Final = _TARGET + "/ini_groups/{group}/initiators/mgmt"
_LUNS_MGMT: Final = _TARGET + "/{luns}/mgmt"
_HANDLER_MGMT: Final = "handlers/{handler}/mgmt"
_DEVICE_GROUPS_MGMT: Final = "device_groups/mgmt"
_DEVICES_MGMT: Final = "device_groups/{device_group}/devices/mgmt"
_TARGET_GROUPS_MGMT: Final = "device_groups/{device_group}/target_groups/mgmt"
_GROUP_TARGETS_MGMT: Final = "device_groups/{device_group}/target_groups/{target_group}/mgmt"

_DYNAMIC_DRIVER: Final = (
    _NO_DRIVER,
    _NOT_VIRTUAL,
    Doubt(_unknown_dynamic(kinds.DRIVER), Code.DRV_BAD_ATTRIBUTES),
)
_DYNAMIC_TARGET: Final = (
    _NO_DRIVER,
    _NO_TARGET,
    _NOT_VIRTUAL,
    Doubt(_unknown_dynamic(kinds.TARGET), Code.TGT_BAD_ATTRIBUTES),
)
_OF_GROUP: Final = (_NO_DRIVER, _NO_TARGET, _NO_GROUP)

COMMANDS: Final[Mapping[str, MgmtCommand]] = {
    "add_driver_attribute": MgmtCommand(
        "Adding driver attribute '{attribute}' with value '{value}' for driver '{driver}'",
        _DRIVER_MGMT,
        "add_attribute {attribute} {value}",
        Code.DRV_ADDATTR_FAIL,
        ("driver", "attribute"),
        _DYNAMIC_DRIVER,
    ),
    "remove_driver_attribute": MgmtCommand(
        "Removing dynamic attribute '{attribute}' with value '{value}' for driver '{driver}'",
        _DRIVER_MGMT,
        "del_attribute {attribute} {value}",
        Code.DRV_REMATTR_FAIL,
        ("driver", "attribute"),
        _DYNAMIC_DRIVER,
    ),
    "add_target": MgmtCommand(
        "Creating target '{target}' for driver '{driver}'",
        _DRIVER_MGMT,
        "add_target {target} {parameters}",
        Code.TGT_ADD_FAIL,
        (),
        (
            _NO_DRIVER,
            _is("target", Code.TGT_EXISTS),
            _NOT_VIRTUAL,
            Doubt(_unknown_parameter(kinds.TARGET), Code.TGT_BAD_ATTRIBUTES),
        ),
    ),
    "remove_target": MgmtCommand(
        "Removing virtual target '{target}' from driver '{driver}'",
        _DRIVER_MGMT,
        "del_target {target}",
        Code.TGT_REM_FAIL,
        (),
        (_NO_DRIVER, _NO_TARGET, _NOT_VIRTUAL),
    ),
    "add_target_attribute": MgmtCommand(
        "Adding target attribute '{attribute}' with value '{value}' for {target_title}",
        _DRIVER_MGMT,
        "add_target_attribute {target} {attribute} {value}",
        Code.TGT_ADDATTR_FAIL,
        ("driver", "target", "attribute"),
        _DYNAMIC_TARGET,
    ),
    "remove_target_attribute": MgmtCommand(
        "Removing dynamic attribute '{attribute}' with value '{value}' for {target_title}",
        _DRIVER_MGMT,
        "del_target_attribute {target} {attribute} {value}",
        Code.TGT_REMATTR_FAIL,
        ("driver", "target", "attribute"),
        _DYNAMIC_TARGET,
    ),
    "add_group": MgmtCommand(
        "Adding new group '{group}' to driver/target '{driver}/{target}'",
        _GROUPS_MGMT,
        "create {group}",
        Code.GRP_ADD_FAIL,
        ("driver", "target", "group"),
        (_NO_DRIVER, _NO_TARGET, _is("group", Code.GRP_EXISTS)),
    ),
    "remove_group": MgmtCommand(
        "Removing group '{group}' from driver/target '{driver}/{target}'",
        _GROUPS_MGMT,
        "del {group}",
        Code.GRP_REM_FAIL,
        ("driver", "target", "group"),
        _OF_GROUP,
    ),
    "add_initiator": MgmtCommand(
        "Adding new initiator '{initiator}' to driver/target/group '{driver}/{target}/{group}'",
        _INITIATORS_MGMT,
        "add {initiator}",
        Code.GRP_ADD_INI_FAIL,
        ("driver", "target", "group", "initiator"),
        (*_OF_GROUP, _is("initiator", Code.GRP_INI_EXISTS)),
    ),
    "remove_initiator": MgmtCommand(
        "Removing initiator '{initiator}' from driver/target/group '{driver}/{target}/{group}'",
        _INITIATORS_MGMT,
        "del {initiator}",
        Code.GRP_REM_INI_FAIL,
        ("driver", "target", "group", "initiator"),
        (*_OF_GROUP, _no("initiator", Code.GRP_NO_INI)),
    ),
    "move_initiator": MgmtCommand(
        "Moving initiator '{initiator}' from group '{group}' to group '{to}'",
        _INITIATORS_MGMT,
        "move {initiator} {to}",
        Code.GRP_MOV_INI_FAIL,
        (),
        (
            *_OF_GROUP,
            Doubt(
                lambda library, names: not library.exists("group", {**names, "group": names["to"]}),
                Code.GRP_NO_GROUP,
            ),
            _no("initiator", Code.GRP_NO_INI),
            Doubt(
                lambda library, names: library.exists("initiator", {**names, "group": names["to"]}),
                Code.GRP_INI_EXISTS,
            ),
        ),
    ),
    "clear_initiators": MgmtCommand(
        "Removing all initiators driver/target/group '{driver}/{target}/{group}'",
        _INITIATORS_MGMT,
        "clear",
        Code.GRP_CLR_INI_FAIL,
        (),
        _OF_GROUP,
    ),
    "add_lun": MgmtCommand(
        "Adding device '{device}' at LUN {lun} to {holder}",
        _LUNS_MGMT,
        "add {device} {lun} {parameters}",
        Code.TGT_ADD_LUN_FAIL,
        ("driver", "target", "device", "lun"),
        (
            _NO_SUCH_GROUP,
            *_lun(True, Code.TGT_LUN_EXISTS, Code.GRP_LUN_EXISTS),
            _NO_DRIVER,
            _NO_TARGET,
            _NOT_OPEN,
            _LUN_PARAMETERS,
        ),
        for_group=Code.GRP_ADD_LUN_FAIL,
    ),
    "remove_lun": MgmtCommand(
        "Removing LUN {lun} from {holder}",
        _LUNS_MGMT,
        "del {lun}",
        Code.TGT_ADD_LUN_FAIL,  # there is no separate one for LUNs of targets
        ("driver", "target", "lun"),
        (
            _NO_DRIVER,
            _NO_TARGET,
            _NO_SUCH_GROUP,
            *_lun(False, Code.TGT_NO_LUN, Code.GRP_NO_LUN),
        ),
        for_group=Code.GRP_REM_LUN_FAIL,
    ),
    "replace_lun": MgmtCommand(
        "Replacing device at LUN {lun} with device '{device}' in "
        "driver/target/group '{driver}/{target}/{group}'",
        _LUNS_MGMT,
        "replace {device} {lun} {parameters}",
        Code.LUN_RPL_DEV_FAIL,
        (),
        (),
    ),
    "clear_luns": MgmtCommand(
        "Removing all LUNs from {holder}",
        _LUNS_MGMT,
        "clear",
        Code.TGT_CLR_LUN_FAIL,
        ("driver", "target"),
        (_NO_DRIVER, _NO_TARGET, _NO_SUCH_GROUP),
        for_group=Code.GRP_CLR_LUN_FAIL,
    ),
    "open_device": MgmtCommand(
        "Opening device '{device}' using handler '{handler}'",
        _HANDLER_MGMT,
        "add_device {device} {parameters}",
        Code.FATAL,
        ("handler", "device"),
        (
            _no("handler", Code.HND_NO_HANDLER),
            Doubt(_unknown_parameter(kinds.DEVICE), Code.DEV_BAD_ATTRIBUTES),
            Doubt(
                lambda library, names: names["device"] in library.devices(names["handler"]),
                Code.DEV_EXISTS,
            ),
            Doubt(lambda _, names: names["errno"] == str(errno.EINVAL), Code.DEV_OPEN_FAIL),
        ),
        debug="{text}",
    ),
    "close_device": MgmtCommand(
        "Closing device '{device}' using handler '{handler}'",
        _HANDLER_MGMT,
        "del_device {device}",
        Code.FATAL,
        ("handler", "device"),
        (_no("handler", Code.HND_NO_HANDLER), _NOT_THE_HANDLERS),
        debug="{text}",
    ),
    "add_device_group": MgmtCommand(
        "Adding new device group '{device_group}'",
        _DEVICE_GROUPS_MGMT,
        "create {device_group}",
        Code.DEV_GRP_ADD_FAIL,
        ("device_group",),
        (_is("device_group", Code.DEV_GRP_EXISTS),),
    ),
    "remove_device_group": MgmtCommand(
        "Removing device group '{device_group}'",
        _DEVICE_GROUPS_MGMT,
        "del {device_group}",
        Code.DEV_GRP_REM_FAIL,
        ("device_group",),
        (_NO_DEVICE_GROUP,),
    ),
    "add_group_device": MgmtCommand(
        "Adding new device group/device '{device_group}/{device}'",
        _DEVICES_MGMT,
        "add {device}",
        Code.DGRP_ADD_DEV_FAIL,
        ("device_group", "device"),
        (
            _NO_DEVICE_GROUP,
            _NOT_OPEN,
            Doubt(_in_group, Code.DGRP_DEVICE_EXISTS),
            Doubt(_in_any_group, Code.DGRP_DEVICE_OTHER),
        ),
    ),
    "remove_group_device": MgmtCommand(
        "Removing device '{device}' from target group '{device_group}'",
        _DEVICES_MGMT,
        "del {device}",
        Code.DGRP_REM_DEV_FAIL,
        ("device_group", "device"),
        (
            _NO_DEVICE_GROUP,
            _NOT_OPEN,
            Doubt(lambda library, names: not _in_group(library, names), Code.DGRP_NO_DEVICE),
        ),
    ),
    "add_target_group": MgmtCommand(
        "Adding new target group '{target_group}' to device group '{device_group}'",
        _TARGET_GROUPS_MGMT,
        "add {target_group}",
        Code.DGRP_ADD_GRP_FAIL,
        ("device_group", "target_group"),
        (_NO_DEVICE_GROUP, _is("target_group", Code.DGRP_GROUP_EXISTS)),
    ),
    "remove_target_group": MgmtCommand(
        "Removing target group '{target_group}' from device group '{device_group}'",
        _TARGET_GROUPS_MGMT,
        "del {target_group}",
        Code.DGRP_REM_GRP_FAIL,
        ("device_group", "target_group"),
        (_NO_DEVICE_GROUP, _NO_TARGET_GROUP),
    ),
    "add_group_target": MgmtCommand(
        "Adding new target group/target '{target_group}/{group_target}' to "
        "device group '{device_group}'",
        _GROUP_TARGETS_MGMT,
        "add {group_target}",
        Code.TGRP_ADD_TGT_FAIL,
        ("device_group", "target_group", "group_target"),
        (_NO_DEVICE_GROUP, _NO_TARGET_GROUP, _is("group_target", Code.TGRP_TGT_EXISTS)),
    ),
    "remove_group_target": MgmtCommand(
        "Removing target group/target '{target_group}/{group_target}' from "
        "device group '{device_group}'",
        _GROUP_TARGETS_MGMT,
        "del {group_target}",
        Code.TGRP_REM_TGT_FAIL,
        ("device_group", "target_group", "group_target"),
        (_NO_DEVICE_GROUP, _NO_TARGET_GROUP, _no("group_target", Code.TGRP_NO_TGT)),
    ),
}

REPLACE_DOUBTS: Final = (
    Doubt(lambda _, names: not names["lun"], Code.FAILED),
    _NO_DRIVER,
    _NO_TARGET,
    _NO_SUCH_GROUP,
    *_lun(False, Code.TGT_NO_LUN, Code.GRP_NO_LUN),
    _NOT_OPEN,
    _LUN_PARAMETERS,
    Doubt(
        lambda library, names: library.luns(names).get(names["lun"]) == names["device"],
        Code.LUN_DEV_EXISTS,
    ),
)
"""The checks before replace_lun, which is not tried if one is true."""


def parameters(attributes: Mapping[str, str]) -> str:
    """Parameters in the form of commands; cluster_mode comes last because it fixes others."""
    names = sorted(attributes, key=lambda name: name == "cluster_mode")
    return "".join(f"{name}={attributes[name]};" for name in names)


def why(library: TreeLookup, names: Names, doubts: tuple[Doubt, ...]) -> Code:
    """The error of the first check that is true; DONE if there is none."""
    for doubt in doubts:
        if doubt.question(library, names):
            return doubt.code
    return Code.DONE


def describe(command: MgmtCommand, names: Names) -> tuple[str, str]:
    """The file of a command, and its text."""
    return locate(command.path, names), command.text.format_map(names)
