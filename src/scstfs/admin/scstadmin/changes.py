"""The options of scstadmin that change one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from scstfs.admin import kinds
from scstfs.admin.kinds import Kind
from scstfs.admin.scstadmin.actions import Actions, given_names, names
from scstfs.admin.scstadmin.errors import Code, fatal
from scstfs.admin.scstadmin.lip import issue_lip
from scstfs.admin.scstadmin.lists import Lists
from scstfs.admin.scstadmin.mgmt_commands import parameters
from scstfs.admin.scstadmin.options import Arguments
from scstfs.admin.scstadmin.tree_lookup import Names


class _OptionRow(NamedTuple):
    """An option.

    Attributes:
        change: makes the change; returns its code, or the number of attributes set.
        asks: whether it asks first.
        lip: the LIP that may follow: for everything, for the driver, for the target.
        counts: whether it prints the number of changes and never fails.
    """

    change: Callable[[Changes], int]
    asks: bool = False
    lip: tuple[str, ...] | None = None
    counts: bool = False


class Changes:
    """Executes one option."""

    def __init__(self, actions: Actions, arguments: Arguments) -> None:
        self.actions = actions
        self.library = actions.library
        self.arguments = arguments
        self.force = "force" in arguments

    def change(self, option: str) -> int:
        """Execute it; returns the exit status."""
        row = _OPTIONS[option]
        out = self.actions.terminal.out
        if row.asks and self.actions.terminal.refuses():
            return Code.DONE
        out("\n-> Making requested changes.\n")
        ended = row.change(self)
        if row.counts:
            out(f"\t-> Done, {ended} change(s) made.\n")
            return Code.DONE
        if row.lip is not None and not ended and "lip" in self.arguments:
            place = [self.arguments[name] for name in row.lip]
            ended = issue_lip(self.actions, *place)
        out("\t-> Done.\n")
        return ended

    def names(self, **more: str) -> Names:
        """The names of the command line."""
        a = self.arguments
        return given_names(a, parameters=parameters(a.attributes), **more)

    def do(self, command: str, option: str, what: str) -> Code:
        """Execute a command for the object that an option names."""
        return self.actions.do(command, self.names(**{what: self.arguments[option]}))

    def set(self, kind: Kind, option: str, what: str) -> int:
        """Set attributes of the object that an option names."""
        known = self.names(**{what: self.arguments[option]} if what else {})
        return self.actions.set_attributes(kind, known, self.arguments.attributes, tells_set=True)

    def set_initiator(self) -> int:
        """Initiators have no attributes; this fails as in scstadmin's library."""
        known = self.names(initiator=self.arguments["set_init_attr"])
        Lists(self.actions, self.arguments).attributes(kinds.INITIATOR, known)
        return 1

    def dynamic(self, kind: Kind, option: str, what: str, *, adds: bool) -> Code:
        """Add or remove attributes of a driver or a target."""
        known = self.names(**{what: self.arguments[option]})
        return self.actions.change_dynamic(kind, known, self.arguments.attributes, adds=adds)

    def close_device(self) -> Code:
        """Close a device."""
        known = self.names(device=self.arguments["close_dev"])
        return self.actions.close_device(known, self.force)

    def resync(self) -> int:
        """Make a device read its size again; return the number of attributes set."""
        known = names(device=self.arguments["resync_dev"])
        return self.actions.set_attributes(kinds.DEVICE, known, {"resync_size": "1"})

    def add_initiator(self) -> Code:
        """Add an initiator to a group."""
        known = self.names(initiator=self.arguments["add_init"])
        return add_initiator(self.actions, known)

    def remove_group(self) -> Code:
        """Remove an empty group."""
        known = self.names(group=self.arguments["rem_group"])
        if not self.force and (self.library.luns(known) or self._has_initiators(known)):
            Lists(self.actions, self.arguments).group(known)
            raise fatal("Group is still in use, aborting. Use -force to override.")
        return self.actions.do("remove_group", known)

    def _has_initiators(self, known: Names) -> bool:
        exists = self.library.exists("group", known)
        return exists and bool(self.library.initiators(known))

    def remove_device_group(self) -> Code:
        """Remove an empty device group."""
        group = self.arguments["rem_dgrp"]
        used = self.library.group_devices(group) or self.library.target_groups(group)
        if used and not self.force:
            self.actions.terminal.out("\n")
            Lists(self.actions, self.arguments).device_group(group)
            raise fatal("Device group is still in use, aborting. Use -force to override.")
        return self.actions.do("remove_device_group", self.names(device_group=group))

    def remove_group_device(self) -> Code:
        """Remove a device from a device group that has no targets."""
        group = self.arguments["dev_group"]
        used = [
            t for t in self.library.target_groups(group) if self.library.group_targets(group, t)
        ]
        if used and not self.force:
            for target_group in used:
                self.actions.terminal.out("\n")
                Lists(self.actions, self.arguments).target_group(group, target_group)
            raise fatal("Device may still be in use, aborting. Use -force to override.")
        return self.do("remove_group_device", "rem_dgrp_dev", "device")

    def remove_target_group(self) -> Code:
        """Remove an empty target group."""
        group, target_group = self.arguments["dev_group"], self.arguments["rem_tgrp"]
        if self.library.group_targets(group, target_group) and not self.force:
            self.actions.terminal.out("\n")
            Lists(self.actions, self.arguments).target_group(group, target_group)
            raise fatal("Target group is still in use, aborting. Use -force to override.")
        return self.do("remove_target_group", "rem_tgrp", "target_group")

    def enable(self, option: str, value: str) -> Code:
        """Enable or disable a target."""
        self.actions.enable(self.arguments["driver"], self.arguments[option], value)
        return Code.DONE

    def lip(self) -> int:
        """Issue a LIP."""
        if "no_lip" in self.arguments:
            return Code.DONE
        place = (self.arguments["driver"], self.arguments["issue_lip"])
        return issue_lip(self.actions, *place, warns=True)


def add_initiator(actions: Actions, known: Names) -> Code:
    """Add an initiator to a group, unless it is in one of the target's groups."""
    driver, target, initiator = known["driver"], known["target"], known["initiator"]
    for group in actions.library.groups(driver, target):
        if initiator in actions.library.initiators(names(known, group=group)):
            actions.terminal.out(
                f"\t-> Initiator '{initiator}' already belongs to group '{group}' "
                f"for driver/target '{driver}/target', ignoring.\n"
            )
            return Code.DONE
    return actions.do("add_initiator", known)


def _set(kind: Kind, what: str) -> Callable[[str], _OptionRow]:
    return lambda option: _OptionRow(lambda c: c.set(kind, option, what), asks=True, counts=True)


def _command(
    command: str, what: str, *, asks: bool = False, lip: tuple[str, ...] | None = None
) -> Callable[[str], _OptionRow]:
    return lambda option: _OptionRow(lambda c: c.do(command, option, what), asks=asks, lip=lip)


_SETS: Final[Mapping[str, Callable[[str], _OptionRow]]] = {
    "set_scst_attr": _set(kinds.ROOT, ""),
    "set_hnd_attr": _set(kinds.HANDLER, "handler"),
    "set_dev_attr": _set(kinds.DEVICE, "device"),
    "set_dgrp_attr": _set(kinds.DEVICE_GROUP, "device_group"),
    "set_tgrp_attr": _set(kinds.TARGET_GROUP, "target_group"),
    "set_ttgt_attr": _set(kinds.GROUP_TARGET, "group_target"),
    "set_grp_attr": _set(kinds.GROUP, "group"),
    "set_lun_attr": _set(kinds.LUN, "lun"),
}

_ALL: Final = ()
_TARGETS: Final = ("driver", "target")
_COMMANDS: Final[Mapping[str, Callable[[str], _OptionRow]]] = {
    "open_dev": _command("open_device", "device"),
    "add_dgrp": _command("add_device_group", "device_group"),
    "add_dgrp_dev": _command("add_group_device", "device"),
    "add_tgrp": _command("add_target_group", "target_group"),
    "add_tgrp_tgt": _command("add_group_target", "group_target"),
    "rem_tgrp_tgt": _command("remove_group_target", "group_target"),
    "add_group": _command("add_group", "group"),
    "rem_init": _command("remove_initiator", "initiator", asks=True, lip=_TARGETS),
    "move_init": _command("move_initiator", "initiator", asks=True, lip=_TARGETS),
    "add_lun": _command("add_lun", "lun", lip=_TARGETS),
    "rem_lun": _command("remove_lun", "lun", asks=True, lip=_TARGETS),
    "replace_lun": _command("replace_lun", "lun", asks=True, lip=_TARGETS),
}

_OTHERS: Final[Mapping[str, _OptionRow]] = {
    "set_init_attr": _OptionRow(Changes.set_initiator, asks=True, counts=True),
    "set_drv_attr": _OptionRow(
        lambda c: c.actions.set_dynamic(
            kinds.DRIVER, c.names(driver=c.arguments["set_drv_attr"]), c.arguments.attributes
        ),
        asks=True,
        counts=True,
    ),
    "set_tgt_attr": _OptionRow(
        lambda c: c.actions.set_dynamic(
            kinds.TARGET, c.names(target=c.arguments["set_tgt_attr"]), c.arguments.attributes
        ),
        asks=True,
        counts=True,
    ),
    "add_drv_attr": _OptionRow(
        lambda c: c.dynamic(kinds.DRIVER, "add_drv_attr", "driver", adds=True), lip=_ALL
    ),
    "add_tgt_attr": _OptionRow(
        lambda c: c.dynamic(kinds.TARGET, "add_tgt_attr", "target", adds=True), lip=_ALL
    ),
    "rem_drv_attr": _OptionRow(
        lambda c: c.dynamic(kinds.DRIVER, "rem_drv_attr", "driver", adds=False),
        asks=True,
        lip=_ALL,
    ),
    "rem_tgt_attr": _OptionRow(
        lambda c: c.dynamic(kinds.TARGET, "rem_tgt_attr", "target", adds=False),
        asks=True,
        lip=_ALL,
    ),
    "close_dev": _OptionRow(Changes.close_device, asks=True, lip=_ALL),
    "resync_dev": _OptionRow(Changes.resync, lip=_ALL),
    "rem_dgrp": _OptionRow(Changes.remove_device_group),
    "rem_dgrp_dev": _OptionRow(Changes.remove_group_device),
    "rem_tgrp": _OptionRow(Changes.remove_target_group),
    "add_target": _OptionRow(
        lambda c: c.actions.add_target(c.names(target=c.arguments["add_target"]))
    ),
    "rem_target": _OptionRow(
        lambda c: c.actions.tried("remove_target", c.names(target=c.arguments["rem_target"])),
        asks=True,
        lip=("driver",),
    ),
    "rem_group": _OptionRow(Changes.remove_group, asks=True),
    "add_init": _OptionRow(Changes.add_initiator, lip=_TARGETS),
    "clear_inits": _OptionRow(
        lambda c: c.actions.do("clear_initiators", c.names()), asks=True, lip=_TARGETS
    ),
    "clear_luns": _OptionRow(
        lambda c: c.actions.do("clear_luns", c.names()), asks=True, lip=_TARGETS
    ),
    "enable_target": _OptionRow(lambda c: c.enable("enable_target", "1")),
    "disable_target": _OptionRow(lambda c: c.enable("disable_target", "0"), asks=True),
    "issue_lip": _OptionRow(Changes.lip),
}

_OPTIONS: Final[Mapping[str, _OptionRow]] = {
    **{option: row(option) for option, row in {**_SETS, **_COMMANDS}.items()},
    **_OTHERS,
}
