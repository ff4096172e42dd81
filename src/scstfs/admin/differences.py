"""Comparison of the present and the wanted attributes of one item."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from scstfs.admin.attributes import Attribute
from scstfs.admin.configuration import Item, Setting
from scstfs.admin.creation import (
    NOT_SET,
    dynamic_command,
    in_file,
    is_secret,
    line_of,
    remove_command,
)
from scstfs.admin.kinds import (
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    ENABLED,
    GROUP,
    GROUP_TARGET,
    HANDLER,
    ROOT,
    TARGET,
    TARGET_GROUP,
)
from scstfs.admin.steps import Plan, Reset, Step, StepPhase, Verb, Write

RELATIVE_ID: Final = "rel_tgt_id"
"""Given by SCST to a target that is enabled without one (SysfsRules I)."""

MEASURED: Final = frozenset({"size"})
"""Always marked, because devices determine it; unless it was given when they were made."""

_GROUP_DEFAULTS: Final = frozenset({"preferred"})
"""Attributes of target groups with a default; all others there are always marked."""

_ROOT_DEFAULTS: Final[Mapping[str, Callable[[], str]]] = {
    "threads": lambda: str(os.cpu_count() or 1),
    "max_tasklet_cmd": lambda: "10",
}
"""Defaults of SCST's own attributes that are neither 0 nor empty."""

_DEVICE_DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "max_tgt_dev_commands": ("64", "0"),
    "numa_node_id": ("-1",),
    "threads_num": ("8", "1", "0"),
    "threads_pool_type": ("per_initiator",),
}
"""Possible defaults of attributes that SCST itself gives to devices."""

_LITTLE: Final = 2
"""Other items of a kind that must agree on a default that may be specific to each."""


def same(one: str, other: str) -> bool:
    """Return whether two texts are equal, the same number, or a list of the same words."""
    if one == other:
        return True
    if "," in one and sorted(one.split(",")) == sorted(other.split(",")):
        return True
    try:
        return int(one, 0) == int(other, 0)
    except ValueError:
        return False


class Differences:
    """Compares items in the tree with the wanted ones.

    *plan* gets notes of attributes that stay as they are.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    # --- what can only be changed by making the thing again --------------------------------------

    def needs_replacement(self, current: Item, wanted: Item) -> bool:
        """Return whether a parameter that cannot be set, or an attribute that cannot be reset,
        differs.
        """
        for name in current.parameters:
            live, setting = current.live.get(name), wanted.settings.get(name)
            if name in current.dynamic or (live is not None and live.files and not live.static):
                continue
            if live is None:
                if setting is not None:
                    return True
                continue
            if not self._is_made_so(name, live, setting):
                return True
        return current.kind is DEVICE and any(
            not self._candidates(current, name, live)
            for name, live in self._left(current, wanted)
            if not live.static and name not in current.dynamic
        )

    def _is_made_so(self, name: str, live: Attribute, setting: Setting | None) -> bool:
        """Return whether a parameter that cannot be set is as wanted, or need not be."""
        if setting is None:
            return not live.is_key
        wanted = setting.values or [""]
        if len(wanted) > 1 or len(live.values) > 1:
            return sorted(wanted) == sorted(live.values)
        return same(wanted[0], (live.values or [""])[0])

    def is_made_differently(self, lun: Item, wanted: Item, plain: Item | None) -> bool:
        """Return whether a LUN has other parameters than wanted.

        Values that it gets from its device do not count: *plain*, a LUN of the same device without
        parameters or the device itself, has them, too.
        """
        for name in lun.parameters:
            live, setting = lun.live.get(name), wanted.settings.get(name)
            if live is None or self._is_made_so(name, live, setting):
                continue
            inherited = None if plain is None else plain.live.get(name)
            if inherited is None or not live.is_key or inherited.values != live.values:
                return True
        return False

    # --- what can be changed ---------------------------------------------------------------------

    def steps(self, current: Item, wanted: Item, phase: StepPhase) -> Iterator[Step]:
        """Set attributes that differ, reset those that are not wanted any more."""
        for name, setting in wanted.settings.items():
            if name in NOT_SET:
                continue
            live = current.live.get(name)
            if name in current.dynamic:
                present = [] if live is None else live.values
                yield from self._instances(current, name, present, setting, phase)
            elif live is None or not live.static:
                yield from self._set(current, name, live, setting, phase)
            elif name not in current.parameters and not self._is_made_so(name, live, setting):
                # It will be refused, with a clear reason.
                yield from self._set(current, name, live, setting, phase)
        for name, live in self._left(current, wanted):
            if name in current.dynamic:
                none = Setting([])
                yield from self._instances(current, name, live.values, none, phase)
            elif not live.static:
                yield from self._reset(current, name, live, phase)

    def _left(self, current: Item, wanted: Item) -> list[tuple[str, Attribute]]:
        """Attributes that are set and not wanted any more."""
        return [
            (name, live)
            for name, live in current.live.items()
            if live.is_key
            and name not in wanted.settings
            and name not in NOT_SET
            and not self._is_automatic(current, name, wanted)
        ]

    def _is_automatic(self, current: Item, name: str, wanted: Item) -> bool:
        """Return whether SCST sets it itself, or it follows from other settings."""
        if name == RELATIVE_ID and current.kind is TARGET:
            setting = wanted.settings.get(ENABLED)
            return setting is not None and setting.values != ["0"]
        if name in MEASURED and name not in current.parameters:
            return True
        if current.kind in (TARGET_GROUP, GROUP_TARGET):
            return name not in _GROUP_DEFAULTS
        return any(
            other.startswith(f"{name}_")
            and other in current.live
            and self._is_made_so(other, current.live[other], setting)
            for other, setting in wanted.settings.items()
        )

    def _set(
        self, item: Item, name: str, live: Attribute | None, setting: Setting, phase: StepPhase
    ) -> Iterator[Step]:
        value = setting.values[-1] if setting.values else ""
        present = live.values[0] if live is not None and live.values else None
        if present is not None and same(present, value):
            return
        path = in_file(item, name)
        if item.kind is DEVICE and live is not None and not live.is_key:
            # Some stay marked after they get their old value back, so it comes last.
            phase = StepPhase.MARKS
        yield Step(
            phase,
            Verb.SET,
            item,
            Write(path, line_of(value)),
            () if present is None else (Write(path, line_of(present)),),
            setting.place_of(value).line,
            attribute=name,
            old=present or "",
            new=value,
            secret=is_secret(item, name, value, item.dynamic),
        )

    def _reset(self, item: Item, name: str, live: Attribute, phase: StepPhase) -> Iterator[Step]:
        value = live.values[0]
        candidates = self._candidates(item, name, live)
        scratch = _scratch(item)
        if not candidates and scratch is None:
            where = item.path or "SCST"
            self._plan.notes.append(
                f"{name} of {where} is not in the file and stays as it is: its default is not known"
            )
            return
        path = in_file(item, name)
        yield Step(
            phase,
            Verb.RESET,
            item,
            Reset(path, candidates, scratch),
            (Write(path, line_of(value)),),
            attribute=name,
            old=value,
            new=candidates[0] if candidates else "",
            secret=live.private,
        )

    def _candidates(self, item: Item, name: str, live: Attribute) -> tuple[str, ...]:
        """Possible defaults of an attribute."""
        found: list[str] = []
        siblings = [] if item.parent is None else item.parent.of(item.kind).values()
        defaults = [
            other.live[name].value
            for other in siblings
            if other is not item and name in other.live and not other.live[name].is_key
        ]
        own = item.kind is DEVICE and name not in _DEVICE_DEFAULTS and set(defaults) != {""}
        enough = _LITTLE if own else 1
        if len(defaults) >= enough and len(set(defaults)) == 1 and defaults[0] is not None:
            found.append(defaults[0])
        if item.kind is ROOT and name in _ROOT_DEFAULTS:
            found.append(_ROOT_DEFAULTS[name]())
        elif item.kind is DEVICE:
            found += _DEVICE_DEFAULTS.get(name, ())
        value = live.values[0]
        if value in ("0", "1"):
            found.append("10"[int(value)])
        elif item.kind is ROOT:
            found.append("0" if _is_number(value) else "")
        elif item.kind in (DRIVER, HANDLER, TARGET, GROUP, DEVICE_GROUP) and not _is_number(value):
            found.append("")
        return tuple(dict.fromkeys(found))

    # --- attributes that are added and deleted ---------------------------------------------------

    def _instances(
        self, item: Item, name: str, present: list[str], setting: Setting, phase: StepPhase
    ) -> Iterator[Step]:
        """Change the instances of an attribute to the wanted ones.

        An instance with the same first word is changed in place, and so are others as far as there
        are counterparts, so that at least one always exists.
        """
        missing = [value for value in setting.values if value not in present]
        extra = [value for value in present if value not in setting.values]
        live = item.live.get(name)
        pairs = []
        for value in list(missing):
            old = next((e for e in extra if _name(e) == _name(value)), None)
            if old is not None:
                pairs.append((old, value))
                extra.remove(old)
                missing.remove(value)
        while missing and extra:
            pairs.append((extra.pop(0), missing.pop(0)))
        for old, value in pairs:
            number = next(n for n, v in (live.keys if live else {}).items() if v == old)
            path = live.files[number] if live else ""
            yield Step(
                phase,
                Verb.SET,
                item,
                Write(path, line_of(value)),
                (
                    dynamic_command(item, "del", name, value),
                    dynamic_command(item, "add", name, old),
                ),
                setting.place_of(value).line,
                attribute=name,
                old=old,
                new=value,
                secret=is_secret(item, name, value, item.dynamic),
            )
        for verb, other, values in (("add", "del", missing), ("del", "add", extra)):
            for value in values:
                is_new = verb == "add"
                yield Step(
                    phase,
                    Verb.ADD if is_new else Verb.REMOVE,
                    item,
                    dynamic_command(item, verb, name, value),
                    (dynamic_command(item, other, name, value),),
                    setting.place_of(value).line if is_new else 0,
                    attribute=name,
                    old="" if is_new else value,
                    new=value if is_new else "",
                    secret=is_secret(item, name, value, item.dynamic),
                )


def _name(value: str) -> str:
    return value.split(" ", 1)[0]


def _is_number(value: str) -> bool:
    try:
        int(value, 0)
    except ValueError:
        return False
    return True


SCRATCH: Final = "scstfs-default"


def _scratch(item: Item) -> tuple[Write, str, Write] | None:
    """How to make a scratch item of the kind, to read its attributes' defaults."""
    if item.kind not in (TARGET, GROUP, TARGET_GROUP) or item.hardware:
        return None
    other = Item(item.kind, f"{item.name}-{SCRATCH}", item.parent)
    add = Write(other.mgmt, other.command(other.kind.add) + "\n")
    return add, other.path, remove_command(other)
