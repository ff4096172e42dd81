"""From two configurations to the steps between them; pure.

Equal items are not touched. An attribute that was set and is not wanted any more is reset if its
default can be determined (`Reset`); otherwise a device is made again.

The order is that of SysfsRules III, "Algorithm to apply changes in config file to currently running
SCST", except that removals come last: until then all steps can be undone without effect on
initiators. Some changes need removals first; `Options` has what was learned from refusals
(`apply`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scstfs.admin.attributes import SESSION_NAME
from scstfs.admin.configuration import Item, devices, luns
from scstfs.admin.creation import (
    IDENTIFIERS,
    add_lun,
    create,
    has_no_identifier,
    in_file,
    number_of,
    remove_command,
)
from scstfs.admin.differences import Differences, same
from scstfs.admin.kinds import (
    ALUA,
    DEVICE_GROUP,
    DRIVER,
    ENABLED,
    GROUP,
    GROUP_DEVICE,
    GROUP_TARGET,
    HANDLER,
    INITIATOR,
    LUN,
    TARGET,
    TARGET_GROUP,
    Kind,
)
from scstfs.admin.steps import CloseSessions, Plan, Step, StepPhase, Verb, Write


@dataclass(frozen=True, slots=True)
class Options:
    """Deviations from the usual plan.

    Attributes:
        replace: paths of devices and targets that must be removed and made again.
        disable: paths of targets that must be disabled while they are changed.
        removals_first: unwanted items must be removed before new ones can be made.
    """

    replace: frozenset[str] = frozenset()
    disable: frozenset[str] = frozenset()
    removals_first: bool = False


class Impossible(Exception):  # noqa: N818 - it tells about the configuration
    """A configuration that this tree cannot have."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def plan(current: Item, wanted: Item, options: Options | None = None) -> Plan:
    """The steps from *current*, which is from the tree, to *wanted*.

    Raises Impossible if *wanted* has an item that no command can make.
    """
    return _Planner(current, wanted, options or Options()).plan()


class _Planner:
    def __init__(self, current: Item, wanted: Item, options: Options) -> None:
        self.current = current
        self.wanted = wanted
        self.options = options
        self.result = Plan()
        self.differences = Differences(self.result)
        self.gone: set[str] = set()
        """Devices that are removed before others are made."""
        self.gone_targets: dict[str, StepPhase] = {}
        """Targets that are removed, temporarily or for good, and when groups can reuse their names.
        """
        # Drivers that export all devices themselves give their LUNs no parameters.
        own = {lun.device: lun for lun in luns(current) if _internal(lun)}
        self.plain = {**devices(current), **own}

    def add(self, *steps: Step) -> None:
        self.result.steps += steps

    def plan(self) -> Plan:
        self._root()
        self._devices()
        self._drivers()
        self._device_groups()
        self.result.steps.sort(key=lambda step: step.phase)
        return self.result

    # --- attributes ------------------------------------------------------------------------------

    def change(self, current: Item, wanted: Item, phase: StepPhase = StepPhase.CHANGE) -> None:
        """Set, reset, add and remove attributes of an item that is in both."""
        self.add(*self.differences.steps(current, wanted, phase))

    def _root(self) -> None:
        self.change(self.current, self.wanted, StepPhase.ROOT)
        alua = self.current.item(ALUA, "")
        if alua is not None:
            self.change(alua, self.wanted.item(ALUA, "") or Item(ALUA))

    # --- devices ---------------------------------------------------------------------------------

    def _devices(self) -> None:
        present, wishes = devices(self.current), devices(self.wanted)
        for wanted in self.wanted.of(HANDLER).values():
            if self.current.item(HANDLER, wanted.name) is None:
                raise Impossible(wanted.line, f"there is no handler {wanted.name}")
        for handler in self.current.of(HANDLER).values():
            wanted_handler = self.wanted.item(HANDLER, handler.name)
            self.change(handler, wanted_handler or Item(HANDLER, handler.name))
        for name, device in present.items():
            wish = wishes.get(name)
            if wish is None:
                if self.options.removals_first:
                    self.gone.add(name)
            elif self._is_replaced(device, wish):
                self.gone.add(name)
        self._unlink()
        for name, device in present.items():
            if name in self.gone:
                self._remove(device, StepPhase.REPLACED_DEVICES)
            elif name in wishes:
                self.change(device, wishes[name])
            else:
                self._remove(device, StepPhase.OLD_DEVICES)
        for name, wish in wishes.items():
            if name not in present or name in self.gone:
                handler = self._present_parent(wish)
                self.add(*create(wish, handler, StepPhase.DEVICES))

    def _present_parent(self, item: Item) -> Item:
        """The item in the tree that corresponds to an item's parent."""
        parent = item.parent
        assert parent is not None
        found = self.current.item(parent.kind, parent.name)
        assert found is not None
        return found

    def _is_replaced(self, device: Item, wish: Item) -> bool:
        assert device.parent is not None
        assert wish.parent is not None
        if device.parent.name != wish.parent.name or device.path in self.options.replace:
            return True
        return self.differences.needs_replacement(device, wish)

    def _remove(self, item: Item, phase: StepPhase) -> None:
        """Remove an item; its undo makes it again, without what other steps remove from it."""

        def is_taken_out(part: Item) -> bool:
            return (
                (part.kind is LUN and part.device in self.gone)
                or (part.kind is GROUP_DEVICE and part.name in self.gone)
                or (part.kind is GROUP_TARGET and part.name in self.gone_targets)
                or (part.kind is INITIATOR and item.kind is GROUP)
            )

        steps = create(item, item.parent, phase, without=is_taken_out)
        undo = tuple(step.action for step in steps)
        self.add(Step(phase, Verb.REMOVE, item, remove_command(item), undo, old=item.device))

    def _unlink(self) -> None:
        """Remove devices that will be deleted from LUNs and groups, so that this can be undone."""
        for lun in luns(self.current):
            if lun.device in self.gone and not _internal(lun):
                self._remove(lun, StepPhase.UNLINK)
        for group in self.current.of(DEVICE_GROUP).values():
            for device in group.of(GROUP_DEVICE).values():
                if device.name in self.gone:
                    self._remove(device, StepPhase.UNLINK)

    # --- drivers and targets ---------------------------------------------------------------------

    def _drivers(self) -> None:
        for wanted in self.wanted.of(DRIVER).values():
            if self.current.item(DRIVER, wanted.name) is None:
                raise Impossible(wanted.line, f"there is no target driver {wanted.name}")
        for driver in self.current.of(DRIVER).values():
            wanted_driver = self.wanted.item(DRIVER, driver.name) or Item(DRIVER, driver.name)
            self.change(driver, wanted_driver)
            self._enable(driver, wanted_driver, StepPhase.ENABLE_DRIVERS)
            for target in driver.of(TARGET).values():
                self._present_target(target, wanted_driver.item(TARGET, target.name))
            for target in wanted_driver.of(TARGET).values():
                if driver.item(TARGET, target.name) is None:
                    if driver.hardware:
                        message = f"{driver.name} has no target {target.name}, and cannot make one"
                        raise Impossible(target.line, message)
                    self._make_target(driver, target)

    def _present_target(self, target: Item, wish: Item | None) -> None:
        if target.hardware:
            wish = wish or Item(TARGET, target.name)
        elif wish is None:
            first = self.options.removals_first
            self._remove_target(
                target, StepPhase.REPLACED_TARGETS if first else StepPhase.OLD_TARGETS
            )
            return
        elif target.path in self.options.replace or self.differences.needs_replacement(
            target, wish
        ):
            assert target.parent is not None
            self._remove_target(target, StepPhase.REPLACED_TARGETS)
            self._make_target(target.parent, wish)
            return
        self.change(target, wish)
        self._enable(target, wish, StepPhase.ENABLE_TARGETS)
        if not target.is_internal:
            self._luns(target, wish)
            self._groups(target, wish)

    def _remove_target(self, target: Item, phase: StepPhase) -> None:
        is_old = phase is StepPhase.OLD_TARGETS
        self.gone_targets[target.name] = (
            StepPhase.LATE_MEMBERS if is_old else StepPhase.DEVICE_GROUPS
        )
        if target.live.get(ENABLED) is not None and _is_on(target):
            self.add(_enabling(target, StepPhase.DISABLE, "0", "1", 0))
        if SESSION_NAME not in target.parameters:  # such sessions end with their target
            self.add(Step(phase, Verb.CLOSE, target, CloseSessions(target.path)))
        self._remove(target, phase)

    def _make_target(self, driver: Item, target: Item) -> None:
        self.add(*create(target, driver, StepPhase.TARGETS))
        wish = _wanted_enabled(target)
        if wish != "0":
            self.add(
                _enabling(target, StepPhase.ENABLE_TARGETS, wish, "0", _line_of_enabled(target))
            )

    def _enable(self, current: Item, wanted: Item, phase: StepPhase) -> None:
        if ENABLED not in current.live:
            return
        now, wish = current.live[ENABLED].value or "0", _wanted_enabled(wanted)
        line = _line_of_enabled(wanted)
        pause = current.path in self.options.disable
        if now != "0" and (wish == "0" or pause):
            self.add(_enabling(current, StepPhase.DISABLE, "0", now, line))
            now = "0"
        if not same(now, wish):
            self.add(_enabling(current, phase, wish, now, line))

    # --- LUNs, groups and initiators -------------------------------------------------------------

    def _luns(self, current: Item, wanted: Item) -> None:
        for name, lun in current.of(LUN).items():
            wish = wanted.item(LUN, name)
            if lun.device in self.gone:
                continue
            if wish is None:
                self._remove(lun, StepPhase.LUNS)
            elif self._is_reassigned(lun, wish):
                self.add(
                    Step(
                        StepPhase.LUNS,
                        Verb.ASSIGN,
                        wish,
                        add_lun(wish, "replace"),
                        (add_lun(lun, "replace"),),
                        wish.line,
                        old=lun.device,
                        new=wish.device,
                    )
                )
        for name in sorted(wanted.of(LUN), key=number_of):
            wish, present = wanted.of(LUN)[name], current.item(LUN, name)
            if present is None or present.device in self.gone:
                self.add(*create(wish, current, StepPhase.LUNS))

    def _is_reassigned(self, lun: Item, wish: Item) -> bool:
        if lun.device != wish.device:
            return True
        return self.differences.is_made_differently(lun, wish, self.plain.get(lun.device))

    def _groups(self, current: Item, wanted: Item) -> None:
        for name, wish in wanted.of(GROUP).items():
            group = current.item(GROUP, name)
            if group is None:
                steps = create(
                    wish, current, StepPhase.GROUPS, without=lambda i: i.kind is INITIATOR
                )
                self.add(*steps)
            else:
                self.change(group, wish)
                self._luns(group, wish)
        self._initiators(current, wanted)
        for name, group in current.of(GROUP).items():
            if wanted.item(GROUP, name) is None:
                self._remove(group, StepPhase.OLD_GROUPS)

    def _initiators(self, current: Item, wanted: Item) -> None:
        """Initiators that are removed from a group, added to one, or moved between groups."""
        left = list(_initiators(current, wanted))
        came = list(_initiators(wanted, current))
        for initiator, group in left:
            new = next((c for c in came if c[0].name == initiator.name), None)
            if new is None:
                self._remove(initiator, StepPhase.FREE_INITIATORS)
                continue
            came.remove(new)
            there = Item(GROUP, new[1].name, current)
            back = Item(INITIATOR, initiator.name, there)
            self.add(
                Step(
                    StepPhase.INITIATORS,
                    Verb.MOVE,
                    new[0],
                    Write(initiator.mgmt, f"move {initiator.name} {new[1].name}\n"),
                    (Write(back.mgmt, f"move {initiator.name} {group.name}\n"),),
                    new[0].line,
                    old=group.name,
                    new=new[1].name,
                )
            )
        for initiator, _ in came:
            self.add(*create(initiator, None, StepPhase.INITIATORS))

    # --- device groups ---------------------------------------------------------------------------

    def _device_groups(self) -> None:
        for item in self.current.walk():
            # Otherwise it would be deleted with the target, and could not be restored.
            if item.kind is GROUP_TARGET and item.name in self.gone_targets:
                self._remove(item, StepPhase.UNLINK)
        for name, group in self.current.of(DEVICE_GROUP).items():
            wish = self.wanted.item(DEVICE_GROUP, name)
            if wish is None:
                self._remove(group, StepPhase.FREE_DEVICES)
            else:
                self._device_group(group, wish)
        for name, wish in self.wanted.of(DEVICE_GROUP).items():
            if self.current.item(DEVICE_GROUP, name) is None:
                self.add(*create(wish, None, StepPhase.DEVICE_GROUPS))

    def _device_group(self, group: Item, wish: Item) -> None:
        self.change(group, wish, StepPhase.DEVICE_GROUPS)
        self._members(group, wish, GROUP_DEVICE)
        for name, target_group in group.of(TARGET_GROUP).items():
            wanted = wish.item(TARGET_GROUP, name)
            if wanted is None or _loses_identifier(target_group, wanted):
                self._remove(target_group, StepPhase.FREE_DEVICES)
                if wanted is not None:
                    self.add(*create(wanted, group, StepPhase.DEVICE_GROUPS))
                continue
            self.change(target_group, wanted, StepPhase.DEVICE_GROUPS)
            self._members(target_group, wanted, GROUP_TARGET)
            for target_name, target in target_group.of(GROUP_TARGET).items():
                wanted_target = wanted.item(GROUP_TARGET, target_name)
                if (
                    wanted_target is not None
                    and target_name not in self.gone_targets
                    and not _loses_identifier(target, wanted_target)
                ):
                    self.change(target, wanted_target, StepPhase.DEVICE_GROUPS)
        for name, wanted in wish.of(TARGET_GROUP).items():
            if group.item(TARGET_GROUP, name) is None:
                self.add(*create(wanted, group, StepPhase.DEVICE_GROUPS))

    def _members(self, current: Item, wanted: Item, kind: Kind) -> None:
        unlinked = self.gone if kind is GROUP_DEVICE else self.gone_targets
        gone = set(unlinked)
        for name, member in current.of(kind).items():
            wish = wanted.item(kind, name)
            if name not in unlinked and (wish is None or _loses_identifier(member, wish)):
                self._remove(member, StepPhase.FREE_DEVICES)
                gone.add(name)
        for name, member in wanted.of(kind).items():
            phase = StepPhase.DEVICE_GROUPS
            if kind is GROUP_TARGET:
                phase = self.gone_targets.get(name, phase)
            if current.item(kind, name) is None or name in gone:
                self.add(*create(member, current, phase))


def _loses_identifier(current: Item, wanted: Item) -> bool:
    """Return whether the identifier is set but not wanted."""
    is_set = IDENTIFIERS.get(current.kind) in current.settings and not has_no_identifier(current)
    return is_set and has_no_identifier(wanted)


def _internal(lun: Item) -> bool:
    parent = lun.parent
    return parent is not None and parent.kind is TARGET and parent.is_internal


def _is_on(item: Item) -> bool:
    return (item.live[ENABLED].value or "0") != "0"


def _wanted_enabled(item: Item) -> str:
    setting = item.settings.get(ENABLED)
    return setting.values[0] if setting is not None and setting.values else "0"


def _line_of_enabled(item: Item) -> int:
    setting = item.settings.get(ENABLED)
    return item.line if setting is None else setting.place.line


def _enabling(item: Item, phase: StepPhase, new: str, old: str, line: int) -> Step:
    path = in_file(item, ENABLED)
    return Step(
        phase,
        Verb.SET,
        item,
        Write(path, f"{new}\n"),
        (Write(path, f"{old}\n"),),
        line,
        attribute=ENABLED,
        old=old,
        new=new,
    )


def _initiators(these: Item, others: Item) -> Iterator[tuple[Item, Item]]:
    """Initiators of a target's groups that are not in the same group of the other one."""
    for group in these.of(GROUP).values():
        other = others.item(GROUP, group.name)
        for name, initiator in group.of(INITIATOR).items():
            if other is None or other.item(INITIATOR, name) is None:
                yield initiator, group
