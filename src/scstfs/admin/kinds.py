"""The kinds of items in a configuration: one row each.

A row has the item's keyword in scst.conf, its place in the tree, and the commands that make and
remove it, all from SysfsRules. Reading and writing files, walking the tree, and planning changes
work on these rows; no driver, handler or device is known by name.

In templates ``{path}`` is the path of the item, ``{parent}`` that of the item that contains it,
``{name}`` its own name, and ``{device}`` the device of a LUN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of item.

    Attributes:
        name: for messages.
        keyword: in scst.conf; empty for the configuration as a whole.
        path: template of its directory (or link, or file) below the root of the tree.
        listing: template of the directory that lists these items.
        mgmt: template of the file that takes the commands; empty if there is none, because the item
            exists without a command.
        add, remove: templates of the commands.
        parameters: `add` takes parameters, which the mgmt file names.
        dynamic: templates of the file and of the command with which attributes are added and
            deleted; ``{verb}`` is add or del. Empty if there is no such command.
        children: the kinds that it contains.
    """

    name: str
    keyword: str
    path: str
    listing: str = ""
    mgmt: str = ""
    add: str = ""
    remove: str = ""
    parameters: bool = False
    dynamic: tuple[str, str] = ("", "")
    children: tuple[Kind, ...] = ()

    def __repr__(self) -> str:
        """``<Kind device>``."""
        return f"<Kind {self.name}>"


LUN: Final = Kind(
    "LUN",
    "LUN",
    "{parent}/luns/{name}",
    listing="{parent}/luns",
    mgmt="{parent}/luns/mgmt",
    add="add {device} {name}",
    remove="del {name}",
    parameters=True,
)
INITIATOR: Final = Kind(
    "initiator",
    "INITIATOR",
    "{parent}/initiators/{name}",
    listing="{parent}/initiators",
    mgmt="{parent}/initiators/mgmt",
    add="add {name}",
    remove="del {name}",
)
GROUP: Final = Kind(
    "group",
    "GROUP",
    "{parent}/ini_groups/{name}",
    listing="{parent}/ini_groups",
    mgmt="{parent}/ini_groups/mgmt",
    add="create {name}",
    remove="del {name}",
    children=(LUN, INITIATOR),
)
TARGET: Final = Kind(
    "target",
    "TARGET",
    "{parent}/{name}",
    listing="{parent}",
    mgmt="{parent}/mgmt",
    add="add_target {name}",
    remove="del_target {name}",
    parameters=True,
    dynamic=("{parent}/mgmt", "{verb}_target_attribute {name} {attribute} {value}"),
    children=(LUN, GROUP),
)
DRIVER: Final = Kind(
    "target driver",
    "TARGET_DRIVER",
    "targets/{name}",
    listing="targets",
    dynamic=("{path}/mgmt", "{verb}_attribute {attribute} {value}"),
    children=(TARGET,),
)
DEVICE: Final = Kind(
    "device",
    "DEVICE",
    "devices/{name}",
    listing="{parent}",
    mgmt="{parent}/mgmt",
    add="add_device {name}",
    remove="del_device {name}",
    parameters=True,
    dynamic=("{parent}/mgmt", "{verb}_device_attribute {name} {attribute} {value}"),
)
HANDLER: Final = Kind(
    "handler",
    "HANDLER",
    "handlers/{name}",
    listing="handlers",
    dynamic=("{path}/mgmt", "{verb}_attribute {attribute} {value}"),
    children=(DEVICE,),
)
GROUP_TARGET: Final = Kind(
    "target group target",
    "TARGET",
    "{parent}/{name}",
    listing="{parent}",
    mgmt="{parent}/mgmt",
    add="add {name}",
    remove="del {name}",
)
TARGET_GROUP: Final = Kind(
    "target group",
    "TARGET_GROUP",
    "{parent}/target_groups/{name}",
    listing="{parent}/target_groups",
    mgmt="{parent}/target_groups/mgmt",
    add="add {name}",
    remove="del {name}",
    children=(GROUP_TARGET,),
)
GROUP_DEVICE: Final = Kind(
    "device group device",
    "DEVICE",
    "{parent}/devices/{name}",
    listing="{parent}/devices",
    mgmt="{parent}/devices/mgmt",
    add="add {name}",
    remove="del {name}",
)
DEVICE_GROUP: Final = Kind(
    "device group",
    "DEVICE_GROUP",
    "device_groups/{name}",
    listing="device_groups",
    mgmt="device_groups/mgmt",
    add="create {name}",
    remove="del {name}",
    children=(GROUP_DEVICE, TARGET_GROUP),
)
ALUA: Final = Kind("ALUA", "ALUA", "device_groups")
"""Attributes that all device groups share. It has no name, and there is one."""

ROOT: Final = Kind("SCST", "", "", children=(HANDLER, DRIVER, ALUA, DEVICE_GROUP))

INTERNAL_DRIVER: Final = "copy_manager"
"""The driver whose target SCST itself uses, for copies between devices; initiators cannot log in
there.
"""

HW_TARGET: Final = "HW_TARGET"
"""Word in a target's block that marks a hardware target, which cannot be made."""

KEY_MARK: Final = "[key]"
ENABLED: Final = "enabled"
HARDWARE: Final = "hw_target"
"""Attributes that a configuration has although they are not marked: SysfsRules III 3.3.2, 3.3.6."""
