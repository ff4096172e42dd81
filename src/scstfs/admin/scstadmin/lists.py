"""The options of scstadmin that only list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from scstfs.admin import kinds
from scstfs.admin.attributes import TRACE_LEVEL, Attribute, Attributes
from scstfs.admin.kinds import Kind
from scstfs.admin.scstadmin.actions import Actions, given_names, names
from scstfs.admin.scstadmin.errors import Code, Unavailable
from scstfs.admin.scstadmin.options import Arguments
from scstfs.admin.scstadmin.tree_lookup import Names, TreeLookup

_DEVICE_PARAMETERS: Final = ("Device CREATE attributes available", 34)
_DYNAMIC: Final = ("Dynamic attributes available", 28)
_TARGET_PARAMETERS: Final = ("Target CREATE attributes available:", 35)
_LUN_PARAMETERS: Final = ("LUN CREATE attributes available", 31)
_INITIATOR_PARAMETERS: Final = ("Initiator CREATE attributes available", 37)

_NOT_FOUND: Final[Mapping[Kind, str]] = {
    kinds.DEVICE_GROUP: "No such device group '{device_group}' found or device group as no "
    "attributes.",
    kinds.LUN: "No such driver/target/lun '{driver}/{target}/{lun}' found.",
    kinds.TARGET_GROUP: "No such device group/target group '{device_group}/{target_group}' found.",
    kinds.GROUP_TARGET: "No such device group/target group/target "
    "'{device_group}/{target_group}/{group_target}' found.",
}
"""Printed for a directory without attributes."""

_LEVELS_PER_LINE: Final = 5


class Lists:
    """Prints lists."""

    def __init__(self, actions: Actions, arguments: Arguments) -> None:
        self._actions = actions
        self._library: TreeLookup = actions.library
        self._out = actions.terminal.out
        self._nonkey = "nonkey" in arguments
        self._arguments = arguments

    def show(self, option: str) -> Code:
        """Print the list of an option."""
        return _OPTIONS[option](self, self._arguments)

    # --- columns ---------------------------------------------------------------------------------

    def _column(self, title: str, rows: list[str], least: int = 0, indent: str = "\t") -> None:
        width = max([least, *map(len, rows)])
        self._out(f"{indent}{title}\n{indent}{'-' * width}\n")
        for row in rows:
            self._out(f"{indent}{row}\n")

    def _names_below(self, title: tuple[str, int], rows: Iterable[str]) -> None:
        text, dashes = title
        self._out(f"\n\t{text}\n\t{'-' * dashes}\n")
        for row in rows:
            self._out(f"\t{row}\n")

    # --- what there is ---------------------------------------------------------------------------

    def handlers(self, handler: str) -> Code:
        """All handlers, or one with its devices."""
        if handler:
            return self.handler(handler)
        self._column("Handler", self._library.handlers())
        return Code.DONE

    def handler(self, handler: str = "") -> Code:
        """One handler with its devices, or all of them."""
        handlers = [h for h in self._library.handlers() if not handler or h == handler]
        if not handlers:
            self._out(f"No such handler '{handler}' found.\n")
            return Code.DONE
        rows = {h: sorted(self._library.devices(h)) or ["-"] for h in handlers}
        left = max(map(len, handlers))
        right = max(len(device) for devices in rows.values() for device in devices)
        self._out(f"\t{'Handler':{left}}     {'Device':{right}}\n\t{'-' * (left + right + 5)}\n")
        for name, devices in rows.items():
            for number, device in enumerate(devices):
                self._out(f"\t{'' if number else name:{left}}    {device:{right}}\n")
        return Code.DONE

    def devices(self, device: str) -> Code:
        """All devices by handler, or the attributes of one."""
        return self.attributes(kinds.DEVICE, names(device=device)) if device else self.handler()

    def device_groups(self, group: str) -> Code:
        """All device groups, or the contents of one."""
        if group:
            return self.device_group(group)
        groups = self._library.device_groups()
        self._out(f"\tDevice Group\n\t{'-' * max([12, *map(len, groups)])}\n")
        for name in groups:
            self._out(f"\t{name}\n\n")
        return Code.DONE

    def device_group(self, group: str) -> Code:
        """The devices and target groups of a device group."""
        devices = self._library.group_devices(group)
        width = max([0, *map(len, devices)])
        self._column("Devices", devices, least=7 if width < 6 else 0)
        self._out("\n")
        self._column("Target Groups", self._library.target_groups(group), least=12)
        return Code.DONE

    def target_groups(self, group: str, target_group: str) -> Code:
        """The target groups of a device group, or the targets of one."""
        if not group:
            groups = self._library.device_groups()
            self._out(f"\tDevice Group\n\t{'-' * max([12, *map(len, groups)])}\n")
            for name in groups:
                self._out(f"\t{name}\n\n\n")
                self._column("Target Groups", self._library.target_groups(name), 12, "\t\t")
            return Code.DONE
        if target_group:
            return self.target_group(group, target_group)
        self._out("\n")
        self._column("Target Groups", self._library.target_groups(group), least=12)
        return Code.DONE

    def target_group(self, group: str, target_group: str) -> Code:
        """The targets of a target group."""
        self._column("Targets", self._library.group_targets(group, target_group), least=7)
        return Code.DONE

    def drivers(self, driver: str) -> Code:
        """All drivers, or one with its targets."""
        if driver:
            return self.targets(driver, "")
        self._column("Driver", self._library.drivers())
        return Code.DONE

    def targets(self, driver: str, target: str) -> Code:
        """Targets by driver, or the contents of one."""
        if driver and target:
            return self.groups(driver, target, "")
        drivers = [d for d in self._library.drivers() if not driver or d == driver]
        if not drivers:
            self._out(f"No such driver '{driver}' exists.\n")
            return Code.DONE
        rows = {d: self._library.targets(d) for d in drivers}
        left = max(map(len, drivers))
        right = max([0, *(len(name) for targets in rows.values() for name in targets)])
        self._out(f"\t{'Driver':{left}} {'Target':{right}}\n\t{'-' * (left + right + 1)}\n")
        for name, targets in rows.items():
            for number, one in enumerate(targets):
                self._out(f"\t{'' if number else name:{left}} {one:{right}}\n")
        return Code.DONE

    def groups(self, driver: str, target: str, group: str) -> Code:
        """The groups of targets with their LUNs and initiators."""
        if group and driver and target:
            return self.group(names(driver=driver, target=target, group=group))
        found = [
            names(driver=d, target=t)
            for d in self._library.drivers()
            if not driver or d == driver
            for t in self._library.targets(d)
            if not target or t == target
        ]
        for known in found:
            self._out(f"Driver: {known['driver']}\nTarget: {known['target']}\n\n")
            self.group(known)
            self._out("\n")
            for name in self._library.groups(known["driver"], known["target"]):
                if not group or name == group:
                    self._out(f"Group: {name}\n\n")
                    self.group(names(known, group=name))
                    self._out("\n\n")
        if not found:
            if driver and target:
                self._out(f"Driver/target '{driver}/{target}' not found\n")
            elif not target:
                last = driver or (self._library.drivers() or [""])[-1]
                self._out(f"Driver '{last}' not found.\n")
            else:
                self._out(f"Target '{target}' not found.\n")
        return Code.DONE

    def group(self, known: Names) -> Code:
        """The LUNs of a target or of one of its groups, and a group's initiators."""
        luns = self._library.luns(known)
        group = known["group"]
        try:
            initiators = self._library.initiators(known) if group else []
        except Unavailable as error:
            self._actions.warn(str(error))
            return Code.FAILED
        if not luns and not initiators:
            where = f"Driver/target '{known['driver']}/{known['target']}' has no associated LUNs."
            if group:
                where = f"Group '{group}' has no associated LUNs or initiators."
            self._out(f"{where}\n")
            return Code.DONE
        self._out("Assigned LUNs:\n\n")
        if luns:
            width = max(map(len, luns.values()))
            self._out(f"\t{'LUN':4} {'Device':{width}}\n\t{'-' * (width + 5)}\n")
            for lun in sorted(luns):
                self._out(f"\t{lun:4} {luns[lun]:{width}}\n")
        else:
            self._out("\t(none)\n")
        if group:
            self._out("\nAssigned Initiators:\n\n")
            if initiators:
                self._column("Initiator", initiators)
            else:
                self._out("\t(none)\n")
        return Code.DONE

    def sessions(self) -> Code:
        """All sessions with their attributes."""
        for driver in self._library.drivers():
            for target in self._library.targets(driver):
                self._out(f"Driver/Target: {driver}/{target}\n\n")
                known = names(driver=driver, target=target)
                found = self._library.sessions(known)
                for session in found:
                    self._out(f"\tSession: {session}\n\n")
                    self._print(self._library.session(known, session), nonkey=True)
                    self._out("\n")
                if not found:
                    self._out("\t(no sessions)\n\n")
        return Code.DONE

    # --- attributes ------------------------------------------------------------------------------

    def attributes(self, kind: Kind, known: Names) -> Code:
        """The attributes of an object."""
        try:
            found = self._library.attributes(kind, known)
        except Unavailable as error:
            self._actions.warn(str(error))
            return Code.FAILED
        if not found:
            text = _NOT_FOUND.get(kind, "")
            if kind is kinds.LUN and known["group"]:
                text = "No such driver/target/group/lun '{driver}/{target}/{group}/{lun}' found."
            self._out(f"{text.format_map(known)}\n")
            return Code.DONE
        self._print(found, self._nonkey)
        return Code.DONE

    def _and_then(
        self, kind: Kind, known: Names, *more: tuple[tuple[str, int], Callable[[], list[str]], bool]
    ) -> Code:
        """Attributes, and names of others under titles; FAILED if there are none but must be."""
        code = self.attributes(kind, known)
        if code is not Code.DONE:
            return code
        for title, look, must in more:
            try:
                found = look()
            except Unavailable as error:
                self._actions.warn(str(error))
                return Code.FAILED
            if found:
                self._names_below(title, sorted(found))
            elif must:
                return Code.FAILED
        return Code.DONE

    def handler_attributes(self, handler: str) -> Code:
        """The attributes of a handler, and the parameters of its devices."""
        known = names(handler=handler)
        devices = (_DEVICE_PARAMETERS, lambda: self._library.parameters(kinds.DEVICE, known), True)
        return self._and_then(kinds.HANDLER, known, devices)

    def driver_attributes(self, driver: str) -> Code:
        """The attributes of a driver, and those that can be added to it and its targets."""
        known = names(driver=driver)
        if not self._library.takes_targets(driver):
            return self.attributes(kinds.DRIVER, known)
        return self._and_then(
            kinds.DRIVER,
            known,
            (_DYNAMIC, lambda: self._library.dynamic(kinds.DRIVER, driver), False),
            (_TARGET_PARAMETERS, lambda: self._library.parameters(kinds.TARGET, known), True),
        )

    def target_attributes(self, driver: str, target: str) -> Code:
        """The attributes of a target, and those that can be added to it and its LUNs."""
        known = names(driver=driver, target=target)
        luns = (_LUN_PARAMETERS, lambda: self._library.parameters(kinds.LUN, known), True)
        if not self._library.takes_targets(driver):
            return self._and_then(kinds.TARGET, known, luns)
        dynamic = (_DYNAMIC, lambda: self._library.dynamic(kinds.TARGET, driver), False)
        return self._and_then(kinds.TARGET, known, dynamic, luns)

    def group_attributes(self, known: Names) -> Code:
        """The attributes of a group, and the parameters of its LUNs."""
        return self._and_then(
            kinds.GROUP,
            known,
            (_LUN_PARAMETERS, lambda: self._library.parameters(kinds.LUN, known), True),
            (_INITIATOR_PARAMETERS, lambda: self._library.parameters(kinds.INITIATOR, known), True),
        )

    def _print(self, attributes: Attributes, nonkey: bool) -> None:
        left, right = _widths(attributes, nonkey)

        def row(*cells: str) -> None:
            attribute, value, writable, key = cells
            self._out(f"\t{attribute:{left}}     {value:{right}}     {writable:9}     {key:3}\n")

        row("Attribute", "Value", "Writable", "KEY")
        self._out(f"\t{'-' * (left + right + 27)}\n")
        found = False
        for name in sorted(attributes):
            attribute = attributes[name]
            writable = "No" if attribute.static else "Yes"
            key = "Yes" if attribute.is_key else "No"
            if attribute.structure or not (attribute.is_key or nonkey):
                continue
            for number, value in enumerate(_shown(name, attribute)):
                row("" if number else name, value, writable, key)
                found = True
        if not found:
            self._out("\t(none)\n")
        if nonkey and TRACE_LEVEL in attributes:
            self._trace_levels(attributes[TRACE_LEVEL].choices or [])

    def _trace_levels(self, levels: list[str]) -> None:
        self._out(
            "\n\tPossible trace levels:\n"
            '\t  (use trace_level="add <level>", none, all or default to set):\n'
        )
        for number, level in enumerate(levels):
            at = number % _LEVELS_PER_LINE
            self._out(f"{'' if at else chr(9) * 2}{level}, ")
            if at == _LEVELS_PER_LINE - 1:
                self._out("\n")
        self._out("\n")


def _shown(name: str, attribute: Attribute) -> list[str]:
    """The rows of an attribute."""
    if attribute.is_key:
        values = [attribute.keys[number] for number in sorted(attribute.keys)]
    elif name == TRACE_LEVEL and attribute.value:
        return [level.strip() for level in attribute.value.split("|")]
    elif attribute.value is None:
        return ["<n/a>"]
    else:
        values = [attribute.value]
    return [value or "<not set>" for value in values]


def _widths(attributes: Attributes, nonkey: bool) -> tuple[int, int]:
    left, right = len("Attribute"), len("Value")
    for name, attribute in attributes.items():
        if not (attribute.is_key or nonkey):
            continue
        left = max(left, len(name))
        values = attribute.values
        if name == TRACE_LEVEL and attribute.value and not attribute.is_key:
            values = _shown(name, attribute)
        right = max([right, attribute.structure, *map(len, values)])
    return left, right


_OPTIONS: Final[Mapping[str, Callable[[Lists, Arguments], Code]]] = {
    "list_handler": lambda lists, a: lists.handlers(a["list_handler"]),
    "list_device": lambda lists, a: lists.devices(a["list_device"]),
    "list_dgrp": lambda lists, a: lists.device_groups(a["list_dgrp"]),
    "list_tgrp": lambda lists, a: lists.target_groups(a["dev_group"], a["list_tgrp"]),
    "list_driver": lambda lists, a: lists.drivers(a["list_driver"]),
    "list_target": lambda lists, a: lists.targets(a["driver"], a["list_target"]),
    "list_group": lambda lists, a: lists.groups(a["driver"], a["target"], a["list_group"]),
    "list_sessions": lambda lists, _: lists.sessions(),
    "list_scst_attr": lambda lists, _: lists.attributes(kinds.ROOT, names()),
    "list_hnd_attr": lambda lists, a: lists.handler_attributes(a["list_hnd_attr"]),
    "list_dev_attr": lambda lists, a: lists.attributes(
        kinds.DEVICE, names(device=a["list_dev_attr"])
    ),
    "list_drv_attr": lambda lists, a: lists.driver_attributes(a["list_drv_attr"]),
    "list_tgt_attr": lambda lists, a: lists.target_attributes(a["driver"], a["list_tgt_attr"]),
    "list_grp_attr": lambda lists, a: lists.group_attributes(
        given_names(a, group=a["list_grp_attr"])
    ),
    "list_lun_attr": lambda lists, a: lists.attributes(
        kinds.LUN, given_names(a, lun=a["list_lun_attr"])
    ),
    "list_init_attr": lambda lists, a: lists.attributes(
        kinds.INITIATOR, given_names(a, initiator=a["list_init_attr"])
    ),
    "list_dgrp_attr": lambda lists, a: lists.attributes(
        kinds.DEVICE_GROUP, names(device_group=a["list_dgrp_attr"])
    ),
    "list_tgrp_attr": lambda lists, a: lists.attributes(
        kinds.TARGET_GROUP, given_names(a, target_group=a["list_tgrp_attr"])
    ),
    "list_ttgt_attr": lambda lists, a: lists.attributes(
        kinds.GROUP_TARGET, given_names(a, group_target=a["list_ttgt_attr"])
    ),
}
