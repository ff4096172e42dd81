"""The options of scstadmin that make the tree what a file says, or clear it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scstfs.admin import kinds, tree
from scstfs.admin.attributes import Attributes
from scstfs.admin.configuration import Item
from scstfs.admin.kinds import (
    ALUA,
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    ENABLED,
    GROUP,
    GROUP_DEVICE,
    GROUP_TARGET,
    HANDLER,
    HARDWARE,
    HW_TARGET,
    INITIATOR,
    LUN,
    TARGET,
    TARGET_GROUP,
)
from scstfs.admin.scstadmin.actions import Actions, Values, names
from scstfs.admin.scstadmin.changes import add_initiator
from scstfs.admin.scstadmin.check import COPY_MANAGER
from scstfs.admin.scstadmin.commands import parameters
from scstfs.admin.scstadmin.errors import Code, Stop, Unavailable, fatal
from scstfs.admin.scstadmin.library import Names, number


def values_of(item: Item) -> dict[str, str | list[str]]:
    """The settings of an item, to be set. Ends the program when one of them is none."""
    values: dict[str, str | list[str]] = {}
    for name, setting in item.settings.items():
        if not setting.values:
            values[name] = ""
        elif len(setting.values) > 1:
            values[name] = setting.values
        elif setting.nested:
            raise fatal(
                f"Invalid configuration encountered. Attribute '{name}' has an invalid value."
            )
        else:
            values[name] = setting.values[0]
    return values


def split(values: Values, known: Collection[str]) -> tuple[dict[str, str], Values]:
    """Parameters of the command that makes something, and what is set when it is made."""
    made = {n: v if isinstance(v, str) else v[0] for n, v in values.items() if n in known}
    return made, {name: value for name, value in values.items() if name not in known}


def differs(wanted: Mapping[str, str], live: Attributes, known: Collection[str]) -> bool:
    """Something was made with other parameters than are wanted now."""
    for name, value in wanted.items():
        attribute = live.get(name)
        present = None
        if attribute is not None and name in known:
            present = attribute.keys.get("0") if attribute.is_key else attribute.value
        if present is None and not number(value):
            continue
        if present != value:
            return True
    return any(
        attribute.is_key and name in known and name not in wanted
        for name, attribute in live.items()
    )


class Configure:
    """Makes the tree what a configuration says.

    Attributes:
        wanted: the configuration.
        current: what was there when `read` was last called; without attributes.
        force: also remove what is not in the configuration.
    """

    def __init__(self, actions: Actions, wanted: Item, current: Item, *, force: bool) -> None:
        self.actions = actions
        self.library = actions.library
        self.out = actions.terminal.out
        self.wanted = wanted
        self.current = current
        self.force = force

    def read(self) -> None:
        """Look at the tree again."""
        self.current = working_configuration(self.actions, self.force)

    def apply(self) -> int:
        """Apply it all; returns the number of changes."""
        self.out("-> Applying configuration.\n")
        changes = 0
        if self.force:
            changes += self._remove_assignments()
            self.read()
        changes += self._devices()
        changes += self._remove_assignments()
        for name in sorted(self.wanted.of(DRIVER)):
            changes += self._driver(self.wanted.of(DRIVER)[name])
        for alua in self.wanted.of(ALUA).values():
            changes += self.actions.set_attributes(ALUA, names(), values_of(alua))
        changes += self._device_groups()
        changes += self._enable_targets()
        changes += self._enable_drivers()
        changes += self.actions.set_attributes(kinds.ROOT, names(), values_of(self.wanted))
        self.out(f"\t-> Done, {changes} change(s) made.\n")
        return changes

    # --- devices ---------------------------------------------------------------------------------

    def _devices(self) -> int:
        changes = 0
        for handler, current in self.current.of(HANDLER).items():
            wanted = self.wanted.item(HANDLER, handler)
            for device in current.of(DEVICE):
                if wanted is not None and device in wanted.of(DEVICE):
                    continue
                if self.force:
                    self.actions.close_device(names(handler=handler, device=device), True)
                    changes += 1
                else:
                    self.out(
                        f"\t-> Device '{device}' is not in configuration. Use -force to close it.\n"
                    )
        for handler in sorted(self.wanted.of(HANDLER)):
            item = self.wanted.of(HANDLER)[handler]
            for device in sorted(item.of(DEVICE)):
                changes += self._device(handler, item.of(DEVICE)[device])
            values = values_of(item)
            if values:
                known = names(handler=handler)
                changes += self.actions.set_attributes(HANDLER, known, values, self.force)
        return changes

    def _device(self, handler: str, device: Item) -> int:
        known = names(handler=handler, device=device.name)
        possible = self._parameters(DEVICE, known)
        made, rest = split(values_of(device), possible)
        opening = names(known, parameters=parameters(made))
        current = self.current.item(HANDLER, handler)
        if current is None or device.name not in current.of(DEVICE):
            self.actions.do("open_device", opening)
            return 1 + (self.actions.set_attributes(DEVICE, known, rest, self.force) if rest else 0)
        changes = 0
        if differs(made, self._attributes(DEVICE, known), possible):
            self.out(f"\t-> Device '{device.name}' is configured differently.\n")
            if self.force:
                self.out("\t  -> Closing and re-opening with new attributes.\n")
                self.actions.close_device(known, True)
                self.actions.do("open_device", opening)
                changes += 2
                self.read()
            else:
                self.out(
                    "\t  -> Use -force to re-open device with new attributes. "
                    "NOTE: This will disrupt all initiators using this device.\n"
                )
        return changes + (self.actions.set_attributes(DEVICE, known, rest) if rest else 0)

    def _parameters(self, kind: kinds.Kind, known: Names) -> list[str]:
        try:
            return self.library.parameters(kind, known)
        except Unavailable as error:
            self.actions.end_with(str(error))
            return []

    def _attributes(self, kind: kinds.Kind, known: Names) -> Attributes:
        try:
            return self.library.attributes(kind, known)
        except Unavailable as error:
            self.actions.end_with(str(error))
            return {}

    # --- LUNs and groups that are not wanted -----------------------------------------------------

    def _remove_assignments(self) -> int:
        changes = 0
        for driver, current_driver in self.current.of(DRIVER).items():
            wanted_driver = self.wanted.item(DRIVER, driver)
            for target, current in current_driver.of(TARGET).items():
                wanted = wanted_driver and wanted_driver.item(TARGET, target)
                known = names(driver=driver, target=target)
                changes += self._remove_luns(known, current, wanted)
                for group, current_group in current.of(GROUP).items():
                    wanted_group = wanted and wanted.item(GROUP, group)
                    in_group = names(known, group=group)
                    changes += self._remove_luns(in_group, current_group, wanted_group)
                    if wanted_group is not None:
                        continue
                    if self.force:
                        self.actions.do("remove_group", in_group)
                        changes += 1
                    else:
                        self.out(
                            f"\t-> Group '{group}' is not in configuration. Use -force to remove.\n"
                        )
        return changes

    def _remove_luns(self, holder: Names, current: Item, wanted: Item | None) -> int:
        changes = 0
        for at, lun in current.of(LUN).items():
            known = names(holder, lun=at, device=lun.device)
            wish = None if wanted is None else wanted.item(LUN, at)
            if wish is not None and lun.device in (wish.device, *wish.rivals):
                changes += self._reassign(known, wish)
            elif self.force:
                self.actions.do("remove_lun", known)
                changes += 1
            elif holder["driver"] != COPY_MANAGER or holder["group"]:
                self.out(
                    f"\t-> Device '{lun.device}' at LUN '{at}' is not in configuration "
                    f"for {holder['holder']}. Use -force to remove it.\n"
                )
        return changes

    def _reassign(self, known: Names, wanted: Item) -> int:
        possible = self._parameters(LUN, known)
        made, _ = split(values_of(wanted), possible)
        live = self._attributes(LUN, known)
        if not differs(made, live, live.keys()):
            return 0
        where = f"group '{known['group']}'" if known["group"] else f"target '{known['target']}'"
        self.out(
            f"\t-> Assigned device '{known['device']}' in {where} at LUN '{known['lun']}' "
            "is configured differently.\n"
        )
        if not self.force:
            self.out(
                "\t  -> Use -force to re-assign device with new attributes. "
                "NOTE: This will disrupt all initiators using this device.\n"
            )
            return 0
        self.out("\t  -> Re-assigning device with new attributes.\n")
        self.actions.do("remove_lun", known)
        self.actions.do("add_lun", names(known, parameters=parameters(made)))
        return 2

    # --- targets ---------------------------------------------------------------------------------

    def _driver(self, driver: Item) -> int:
        name = driver.name
        if self.current.item(DRIVER, name) is None:
            self.actions.end_with(f"Target driver '{name}' is not loaded or available.")
        changes = self._targets(name, driver.of(TARGET)) if TARGET in driver.items else 0
        values = {n: v for n, v in values_of(driver).items() if n != ENABLED}
        if values:
            known = names(driver=name)
            changes += self.actions.set_dynamic(DRIVER, known, values, self.force)
        return changes

    def _current_targets(self, driver: str) -> Mapping[str, Item]:
        item = self.current.item(DRIVER, driver)
        return {} if item is None else item.of(TARGET)

    def _targets(self, driver: str, wanted: Mapping[str, Item]) -> int:
        changes = 0
        for target in self._current_targets(driver):
            if target in wanted:
                continue
            known = names(driver=driver, target=target)
            if self.force and self._is_virtual(driver, target):
                self.actions.end_with(self._ended("remove_target", known))
                changes += 1
            else:
                self.out(
                    f"\t-> Virtual target '{target}' for driver '{driver}' is not in "
                    "configuration. Use -force to remove it.\n"
                )
        makes = self.library.takes_targets(driver)
        possible = self._parameters(TARGET, names(driver=driver)) if makes else []
        for target in sorted(wanted):
            changes += self._target(driver, wanted[target], possible, makes)
        return changes

    def _ended(self, command: str, known: Names) -> str | None:
        return self.actions.tried(command, known).text

    def _is_virtual(self, driver: str, target: str) -> bool:
        return is_virtual(self.actions, driver, target)

    def _target(self, driver: str, target: Item, possible: list[str], makes: bool) -> int:
        name = target.name
        known = names(driver=driver, target=name)
        values = values_of(target)
        changes = 0
        if name not in self._current_targets(driver):
            if not makes:
                self.actions.end_with(f"Target '{name}' for driver '{driver}' does not exist.")
            else:
                if HW_TARGET in values:
                    self.actions.end_with(
                        f"Hardware target '{name}' for driver '{driver}' does not exist."
                    )
                made = [
                    f"{attribute}={one};"
                    for attribute, value in values.items()
                    if attribute in possible
                    for one in ([value] if isinstance(value, str) else value)
                ]
                adding = names(known, parameters="".join(made))
                ended = self.actions.add_target(adding)
                self.actions.end_with(ended.text)
                changes += ended is Code.DONE
        rest = {n: v for n, v in values.items() if n != ENABLED}
        if self._is_virtual(driver, name):
            rest = {n: v for n, v in rest.items() if n not in possible}
        changes += self.actions.set_dynamic(TARGET, known, rest, self.force)
        current = self._current_targets(driver).get(name)
        if LUN in target.items:
            changes += self._luns(known, target, current)
        if GROUP in target.items:
            changes += self._groups(known, target.of(GROUP), current)
            changes += self._initiators(known, target.of(GROUP), current)
        return changes

    def _luns(self, holder: Names, wanted: Item, current: Item | None) -> int:
        changes = 0
        for at in sorted(wanted.of(LUN)):
            lun = wanted.of(LUN)[at]
            if current is not None and at in current.of(LUN):
                continue
            if lun.rivals:
                raise fatal(
                    "Invalid configuration encountered. Driver/target/group/lun "
                    f"{holder['driver']}/{holder['target']}/{holder['group']}/{at} "
                    "has multiple devices assigned."
                )
            if lun.device:
                made, _ = split(values := values_of(lun), values)
                known = names(holder, lun=at, device=lun.device, parameters=parameters(made))
                self._add_lun(known)
                changes += 1
        return changes

    def _add_lun(self, known: Names) -> None:
        # The copy manager has a LUN for each device by itself.
        if known["driver"] != COPY_MANAGER or not self.library.exists("lun", known):
            self.actions.do("add_lun", known)

    def _groups(self, target: Names, wanted: Mapping[str, Item], current: Item | None) -> int:
        changes = 0
        for name in sorted(wanted):
            known = names(target, group=name)
            current_group = None if current is None else current.item(GROUP, name)
            if current_group is None:
                self.actions.do("add_group", known)
                changes += 1
            if LUN in wanted[name].items:
                changes += self._luns(known, wanted[name], current_group)
            changes += self.actions.set_attributes(GROUP, known, values_of(wanted[name]))
        return changes

    def _initiators(self, target: Names, wanted: Mapping[str, Item], current: Item | None) -> int:
        present = {} if current is None else _groups_of_initiators(current.of(GROUP))
        wishes = _groups_of_initiators(wanted)
        changes = 0
        for initiator, group in present.items():
            known = names(target, group=group, initiator=initiator)
            to = wishes.get(initiator)
            if to == group:
                continue
            if to is None and self.force:
                self.actions.do("remove_initiator", known)
                changes += 1
            elif to is None:
                self.out(
                    f"\t-> Initiator '{initiator}' is not in configuration "
                    f"for {known['holder']}. Use -force to remove it.\n"
                )
            elif self.force:
                self.actions.do("move_initiator", names(known, to=to))
                changes += 1
            else:
                self.out(
                    f"\t-> Initiator '{initiator}' is moving to group '{to}' from group "
                    f"'{group}'. Use -force to move it.\n"
                )
        for initiator, group in wishes.items():
            if initiator not in present:
                add_initiator(self.actions, names(target, group=group, initiator=initiator))
                changes += 1
        return changes

    def _enable_targets(self) -> int:
        changes = 0
        for driver in sorted(self.wanted.of(DRIVER)):
            targets = self.wanted.of(DRIVER)[driver].of(TARGET)
            for target in sorted(targets):
                known = names(driver=driver, target=target)
                wish = targets[target].settings.get(ENABLED)
                if wish is None:
                    if driver != COPY_MANAGER:
                        self.actions.set_and_tell(TARGET, known, ENABLED, "0")
                        changes += 1
                    continue
                value = (wish.values or [""])[0]
                present = self._present(TARGET, known)
                if present is not None and number(present) != number(value):
                    self.actions.set_and_tell(TARGET, known, ENABLED, value)
                    changes += 1
        return changes

    def _enable_drivers(self) -> int:
        changes = 0
        for driver in sorted(self.wanted.of(DRIVER)):
            known = names(driver=driver)
            wish = self.wanted.of(DRIVER)[driver].settings.get(ENABLED)
            value = None if wish is None else (wish.values or [""])[0]
            present = self._present(DRIVER, known)
            if present is not None and number(present) != number(value or ""):
                self.actions.set_and_tell(DRIVER, known, ENABLED, value)
                changes += 1
        return changes

    def _present(self, kind: kinds.Kind, known: Names) -> str | None:
        try:
            found = self.library.attributes(kind, known)
        except Unavailable:
            return None
        return found[ENABLED].value if ENABLED in found else None

    # --- device groups ---------------------------------------------------------------------------

    def _device_groups(self) -> int:
        changes = 0
        for name, current in self.current.of(DEVICE_GROUP).items():
            changes += self._remove_from_group(name, current)
        for name in sorted(self.wanted.of(DEVICE_GROUP)):
            changes += self._device_group(self.wanted.of(DEVICE_GROUP)[name])
        return changes

    def _gone(self, command: str, known: Names, what: str) -> int:
        """Remove something that is not wanted, or tell that it stays."""
        if self.force:
            self.actions.do(command, known)
            return 1
        self.out(f"\t-> {what} is not in configuration. Use -force to remove.\n")
        return 0

    def _remove_from_group(self, name: str, current: Item) -> int:
        known = names(device_group=name)
        wanted = self.wanted.item(DEVICE_GROUP, name)
        if wanted is None:
            return self._gone("remove_device_group", known, f"Device Group '{name}'")
        changes = 0
        for device in current.of(GROUP_DEVICE):
            if device not in wanted.of(GROUP_DEVICE):
                what = f"Device '{device}' within device group '{name}'"
                if self.force:
                    self._refuse_used(name)
                changes += self._gone("remove_group_device", names(known, device=device), what)
        for group, current_group in current.of(TARGET_GROUP).items():
            wanted_group = wanted.item(TARGET_GROUP, group)
            in_group = names(known, target_group=group)
            if wanted_group is None:
                what = f"Target Group '{name}/{group}'"
                changes += self._gone("remove_target_group", in_group, what)
                continue
            for target in current_group.of(GROUP_TARGET):
                if target not in wanted_group.of(GROUP_TARGET):
                    what = f"Target '{name}/{group}/{target}'"
                    known_target = names(in_group, group_target=target)
                    changes += self._gone("remove_group_target", known_target, what)
        return changes

    def _refuse_used(self, group: str) -> None:
        """A device does not leave a group with targets, not even with -force."""
        used = False
        for target_group in self.library.target_groups(group):
            targets = self.library.group_targets(group, target_group)
            if targets:
                used = True
                width = max(7, *map(len, targets))
                rows = "".join(f"\t{target}\n" for target in targets)
                self.out(f"\n\tTargets\n\t{'-' * width}\n{rows}")
        if used:
            raise fatal("Device may still be in use, aborting. Use -force to override.")

    def _device_group(self, wanted: Item) -> int:
        known = names(device_group=wanted.name)
        current = self.current.item(DEVICE_GROUP, wanted.name)
        changes = 0
        if current is None:
            self.actions.do("add_device_group", known)
            changes += 1
        for device in sorted(wanted.of(GROUP_DEVICE)):
            if current is None or device not in current.of(GROUP_DEVICE):
                self.actions.do("add_group_device", names(known, device=device))
                changes += 1
        for name in sorted(wanted.of(TARGET_GROUP)):
            current_group = None if current is None else current.item(TARGET_GROUP, name)
            in_group = names(known, target_group=name)
            changes += self._target_group(in_group, wanted.of(TARGET_GROUP)[name], current_group)
        values = values_of(wanted)
        if values:
            changes += self.actions.set_attributes(DEVICE_GROUP, known, values)
        return changes

    def _target_group(self, known: Names, wanted: Item, current: Item | None) -> int:
        changes = 0
        if current is None:
            self.actions.do("add_target_group", known)
            changes += 1
        for name, target in wanted.of(GROUP_TARGET).items():
            in_group = names(known, group_target=name)
            if current is None or name not in current.of(GROUP_TARGET):
                self.actions.do("add_group_target", in_group)
                changes += 1
            values = values_of(target)
            if values:
                changes += self.actions.set_attributes(GROUP_TARGET, in_group, values)
        values = values_of(wanted)
        if values:
            changes += self.actions.set_attributes(TARGET_GROUP, known, values)
        return changes


def _groups_of_initiators(groups: Mapping[str, Item]) -> dict[str, str]:
    return {initiator: name for name, group in groups.items() for initiator in group.of(INITIATOR)}


def is_virtual(actions: Actions, driver: str, target: str) -> bool:
    """A target was made by a command, and can be removed by one."""
    if not actions.library.takes_targets(driver):
        return False
    try:
        found = actions.library.attributes(TARGET, names(driver=driver, target=target))
    except Unavailable:
        return True
    return HARDWARE not in found or found[HARDWARE].value != "1"


def clear(actions: Actions, current: Item) -> Code:
    """Remove everything that can be removed, and disable the rest."""
    library, out = actions.library, actions.terminal.out
    out("-> Clearing running configuration.\n")
    for name in sorted(current.of(DEVICE_GROUP)):
        group, known = current.of(DEVICE_GROUP)[name], names(device_group=name)
        for target_group in sorted(group.of(TARGET_GROUP)):
            actions.do("remove_target_group", names(known, target_group=target_group))
        for device in group.of(GROUP_DEVICE):
            actions.do("remove_group_device", names(known, device=device))
        actions.do("remove_device_group", known)
    for driver in sorted(current.of(DRIVER)):
        targets = current.of(DRIVER)[driver].of(TARGET)
        for name in sorted(targets):
            _clear_target(actions, targets[name], names(driver=driver, target=name))
        if library.takes_targets(driver):
            _clear_dynamic(actions, driver)
    for handler in sorted(current.of(HANDLER)):
        for device in current.of(HANDLER)[handler].of(DEVICE):
            actions.close_device(names(handler=handler, device=device), True)
    library.files.forget()
    for driver in library.drivers():
        for name in library.targets(driver):
            actions.enable(driver, name, "0")
        if ENABLED in library.attributes(DRIVER, names(driver=driver)):
            actions.set_dynamic(DRIVER, names(driver=driver), {ENABLED: "0"})
    out("\t-> Configuration cleared.\n")
    return Code.DONE


def _clear_target(actions: Actions, target: Item, known: Names) -> None:
    for group in sorted(target.of(GROUP)):
        in_group = names(known, group=group)
        actions.do("clear_initiators", in_group)
        actions.do("clear_luns", in_group)
        actions.do("remove_group", in_group)
    actions.do("clear_luns", known)
    if is_virtual(actions, known["driver"], known["target"]):
        actions.warn(actions.tried("remove_target", known).text)


def _clear_dynamic(actions: Actions, driver: str) -> None:
    actions.terminal.out(f"\t-> Removing all dynamic attributes from driver '{driver}': ")
    known = names(driver=driver)
    dynamic = actions.library.dynamic(DRIVER, driver)
    for attribute, found in actions.library.attributes(DRIVER, known).items():
        if attribute in dynamic:
            for value in found.keys.values():
                code = actions.execute(
                    "remove_driver_attribute", names(known, attribute=attribute, value=value)
                )
                actions.end_with(code.text)
    actions.terminal.out("done.\n")


def working_configuration(actions: Actions, force: bool) -> Item:
    """Look at the tree, without attributes, and say so.

    Ends the program when an initiator is in several groups of a target, unless *force* is given.
    """
    out = actions.terminal.out
    out("\nCollecting current configuration: ")
    actions.library.files.forget()
    try:
        current = tree.structure(actions.library.files)
    except OSError as error:
        raise fatal(f"Unable to read directory '{error.filename}': {error.strerror}") from None
    out("done.\n\n")
    for driver in current.of(DRIVER).values():
        for target in driver.of(TARGET).values():
            seen = set()
            for group in target.of(GROUP).values():
                for initiator in group.of(INITIATOR):
                    if initiator in seen and not force:
                        raise Stop(
                            f"\t-> FATAL: Initiator '{initiator}' belongs to more than one "
                            f"groups for driver/target '{driver.name}/target', aborting. "
                            "Use -force to override.\n"
                        )
                    seen.add(initiator)
    return current
