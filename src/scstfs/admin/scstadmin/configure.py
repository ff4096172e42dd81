"""-config: apply a file to the tree."""

from __future__ import annotations

from collections.abc import Mapping

from scstfs.admin import kinds
from scstfs.admin.attributes import Attributes
from scstfs.admin.configuration import Item
from scstfs.admin.kinds import (
    ALUA,
    DEVICE,
    DRIVER,
    ENABLED,
    GROUP,
    HANDLER,
    HW_TARGET,
    INITIATOR,
    INTERNAL_DRIVER,
    LUN,
    TARGET,
)
from scstfs.admin.scstadmin.actions import Actions, names
from scstfs.admin.scstadmin.changes import add_initiator
from scstfs.admin.scstadmin.configure_groups import DeviceGroups
from scstfs.admin.scstadmin.errors import Code, Unavailable, fatal
from scstfs.admin.scstadmin.mgmt_commands import parameters
from scstfs.admin.scstadmin.present import (
    differs,
    is_virtual,
    split,
    values_of,
    working_configuration,
)
from scstfs.admin.scstadmin.tree_lookup import Names, number


class Configure:
    """Applies a configuration to the tree.

    Attributes:
        wanted: the configuration.
        current: the tree at the last call of `read`, without attributes.
        force: also remove items that are not in the configuration.
    """

    def __init__(self, actions: Actions, wanted: Item, current: Item, *, force: bool) -> None:
        self.actions = actions
        self.library = actions.library
        self.out = actions.terminal.out
        self.wanted = wanted
        self.current = current
        self.force = force

    def read(self) -> None:
        """Read the tree again."""
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
        changes += DeviceGroups(self.actions, self.wanted, self.current, force=self.force).apply()
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
            # From here on, drivers and targets with groups that exist and are not wanted count as
            # wanted but empty.
            wanted_driver = self.wanted.item(DRIVER, driver) or self.wanted.add(DRIVER, driver)
            for target, current in current_driver.of(TARGET).items():
                wanted = wanted_driver.item(TARGET, target)
                known = names(driver=driver, target=target)
                changes += self._remove_luns(known, current, wanted)
                if current.of(GROUP):
                    wanted = wanted or wanted_driver.add(TARGET, target)
                    wanted.items.setdefault(GROUP, {})
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
            elif holder["driver"] != INTERNAL_DRIVER or holder["group"]:
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
        changes = self._targets(name, driver.of(TARGET))
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
            if self.force and is_virtual(self.actions, driver, target):
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
        if is_virtual(self.actions, driver, name):
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
                values = values_of(lun)
                made, _ = split(values, values)
                known = names(holder, lun=at, device=lun.device, parameters=parameters(made))
                self._add_lun(known)
                changes += 1
        return changes

    def _add_lun(self, known: Names) -> None:
        # The copy manager makes a LUN for each device itself, also for those just opened.
        if known["driver"] == INTERNAL_DRIVER:
            self.library.files.forget(f"targets/{INTERNAL_DRIVER}")
        if known["driver"] != INTERNAL_DRIVER or not self.library.exists("lun", known):
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
                    if driver != INTERNAL_DRIVER:
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


def _groups_of_initiators(groups: Mapping[str, Item]) -> dict[str, str]:
    return {initiator: name for name, group in groups.items() for initiator in group.of(INITIATOR)}
