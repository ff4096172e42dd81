"""The part of -config for device groups."""

from __future__ import annotations

from scstfs.admin.configuration import Item
from scstfs.admin.kinds import DEVICE_GROUP, GROUP_DEVICE, GROUP_TARGET, TARGET_GROUP
from scstfs.admin.scstadmin.actions import Actions, names
from scstfs.admin.scstadmin.errors import fatal
from scstfs.admin.scstadmin.present import values_of
from scstfs.admin.scstadmin.tree_lookup import Names


class DeviceGroups:
    """Applies the device groups of a configuration; with *force* it removes others."""

    def __init__(self, actions: Actions, wanted: Item, current: Item, *, force: bool) -> None:
        self.actions = actions
        self.library = actions.library
        self.out = actions.terminal.out
        self.wanted = wanted
        self.current = current
        self.force = force

    def apply(self) -> int:
        """Apply it; returns the number of changes."""
        changes = 0
        for name, current in self.current.of(DEVICE_GROUP).items():
            changes += self._remove_from_group(name, current)
        for name in sorted(self.wanted.of(DEVICE_GROUP)):
            changes += self._device_group(self.wanted.of(DEVICE_GROUP)[name])
        return changes

    def _gone(self, command: str, known: Names, what: str) -> int:
        """Remove an unwanted object, or print that it stays."""
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
