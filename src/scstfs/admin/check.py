"""Mistakes in a configuration that can be found before it is applied."""

from __future__ import annotations

import difflib
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from scstfs.admin import conf, vocabulary
from scstfs.admin.conf import Parsed
from scstfs.admin.configuration import (
    NOWHERE,
    Item,
    Place,
    Setting,
    devices,
    lun_number,
    luns,
)
from scstfs.admin.creation import ENDS_PARAMETER, NOT_SET
from scstfs.admin.kinds import (
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    ENABLED,
    GROUP,
    GROUP_DEVICE,
    HANDLER,
    INITIATOR,
    LUN,
    TARGET,
    TARGET_GROUP,
    Kind,
)

SHORTEST_SECRET: Final = 12
"""Bytes of a CHAP secret (RFC 7143 9.2.1; SCST refuses shorter ones)."""

FILE_ATTRIBUTES: Final = ("filename",)
"""Attributes that name a file that must exist."""

_MOST_VALUES: Final = 5
"""A message shows at most this many values of an attribute."""

_UNIQUE: Final = ("usn", "t10_dev_id", "naa_id", "eui64_id")
"""Identifiers by which initiators tell devices apart."""


class Finding(NamedTuple):
    """A mistake, or a setting that is probably unintended.

    Attributes:
        line, column: its position, counted from 1; 0 for the file as a whole.
        is_error: it cannot be applied.
        message: the mistake.
    """

    line: int
    column: int
    is_error: bool
    message: str

    def __str__(self) -> str:
        """``LINE:COLUMN: error: MESSAGE``."""
        where = f"{self.line}:{self.column}: " if self.line else ""
        return f"{where}{'error' if self.is_error else 'warning'}: {self.message}"

    def at(self, file: str) -> str:
        """The same with the name of the file."""
        return f"{file}:{self}" if self.line else f"{file}: {self}"


def check(parsed: Parsed, current: Item | None = None) -> list[Finding]:
    """All findings, by line.

    With *current*, which is from the tree, names that only the tree knows are checked, too.
    """
    found = [Finding(p.line, p.column, True, p.message) for p in parsed.problems]
    checker = _Checker(parsed.configuration, current)
    found += checker.findings()
    if not found and not any(i.settings or i.kind.mgmt for i in parsed.configuration.walk()):
        found.append(_warning(NOWHERE, "it configures nothing"))
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.line, finding.column))


def _error(place: Place, message: str) -> Finding:
    return Finding(*place, True, message)


def _warning(place: Place, message: str) -> Finding:
    return Finding(*place, False, message)


def _some(values: list[str]) -> str:
    shown = ", ".join(values[:_MOST_VALUES])
    return shown if len(values) <= _MOST_VALUES else f"{shown}, ..."


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


class _Checker:
    def __init__(self, wanted: Item, current: Item | None) -> None:
        self.wanted = wanted
        self.current = current
        self._names_of: dict[tuple[Kind, str], tuple[frozenset[str], bool]] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._names()
        for item in self.wanted.walk():
            yield from self._settings(item)
        yield from self._devices()
        yield from self._luns()
        for driver in self.wanted.of(DRIVER).values():
            yield from self._targets(driver)
        yield from self._device_groups()

    # --- names -----------------------------------------------------------------------------------

    def _names(self) -> Iterator[Finding]:
        if self.current is None:
            return
        for kind in (HANDLER, DRIVER):
            known = self.current.of(kind)
            for name, item in self.wanted.of(kind).items():
                if name not in known:
                    yield _error(item.place, f"there is no {kind.name} {name}{_near(name, known)}")

    def _known(self, item: Item) -> tuple[frozenset[str], bool]:
        """Attributes that an item can have, and whether the list is complete.

        They are the same for all items of its kind at the same place.
        """
        place = (item.kind, "" if item.parent is None else item.parent.path)
        known = self._names_of.get(place)
        if known is None:
            known = self._names_of[place] = self._look_up(item)
        return known

    def _look_up(self, item: Item) -> tuple[frozenset[str], bool]:
        names = set(vocabulary.NAMES.get(item.kind, ()))
        parent = self._present(item.parent) if item.parent is not None else None
        if parent is not None:
            names |= set(parent.makes) | set(parent.gives)
        live = self._likenesses(item, parent)
        for other in live:
            names |= other.live.keys() | set(other.dynamic) | set(other.parameters)
        return frozenset(names), bool(live) or item.kind is LUN

    def _present(self, item: Item) -> Item | None:
        """The corresponding item in the tree."""
        if item.parent is None:
            return self.current
        parent = self._present(item.parent)
        return None if parent is None else parent.item(item.kind, item.name)

    def _likenesses(self, item: Item, parent: Item | None) -> list[Item]:
        """The corresponding item in the tree, and others of its kind at the same place."""
        if item.parent is None:
            return [] if self.current is None else [self.current]
        found = [] if parent is None else list(parent.of(item.kind).values())
        if item.kind in (GROUP, TARGET_GROUP) and self.current is not None:
            found += [other for other in self.current.walk() if other.kind is item.kind]
        return found

    def _settings(self, item: Item) -> Iterator[Finding]:
        settings = {n: s for n, s in item.settings.items() if n not in NOT_SET}
        if not settings:
            return
        known, is_all = self._known(item)
        for name, setting in settings.items():
            where = item.kind.keyword or "SCST"
            if len(name.split()) != 1:
                yield _error(
                    setting.place,
                    f"{where} has no attribute {conf.shown(name)}; "
                    "quotes belong around the value only",
                )
            elif self.current is not None and name not in known:
                hint = _near(name, known)
                if is_all or hint:
                    yield _error(setting.place, f"{where} has no attribute {name}{hint}")
            if len(setting.values) > 1 and name not in self._dynamic(item):
                yield _error(setting.place, f"{name} has several values: {_some(setting.values)}")
            if name in FILE_ATTRIBUTES and not self._may_be_missing(item):
                yield from self._file(item, name, setting)
            if name in self._dynamic(item):
                yield from self._secrets(name, setting)

    def _dynamic(self, item: Item) -> Collection[str]:
        parent = None if item.parent is None else self._present(item.parent)
        present = self._present(item)
        told = () if present is None else present.dynamic
        given = () if parent is None else parent.gives
        return {*told, *given, *vocabulary.SEVERAL}

    def _may_be_missing(self, item: Item) -> bool:
        active = item.settings.get("active")
        return active is not None and active.values == ["0"]

    def _file(self, item: Item, name: str, setting: Setting) -> Iterator[Finding]:
        present = self._present(item)
        live = None if present is None else present.live.get(name)
        for path in filter(None, setting.values):
            place = setting.place_of(path)
            if ENDS_PARAMETER.search(path) and (live is None or path not in live.values):
                yield _error(
                    place, f"{path}: no device can be made with blanks or ; in a file name"
                )
                continue
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                yield _error(place, f"{path}: {error.strerror}")
            except ValueError:  # no name can have a NUL
                yield _error(place, f"{path} is not a file name")
            else:
                if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                    yield _error(place, f"{path} is neither a file nor a block device")

    def _secrets(self, name: str, setting: Setting) -> Iterator[Finding]:
        seen = set()
        for value in setting.values:
            user, blank, secret = value.partition(" ")
            if not blank:
                continue
            place, whose = setting.place_of(value), f"{name} {user}"
            if len(secret.split()) > 1:
                # All but the first of its words would be lost.
                yield _error(place, f"the secret of {whose} has blanks")
            elif len(secret.encode(errors="surrogateescape")) < SHORTEST_SECRET:
                yield _error(place, f"the secret of {whose} has fewer than {SHORTEST_SECRET} bytes")
            if user in seen:
                yield _error(place, f"{whose} has two secrets")
            seen.add(user)

    # --- devices and LUNs ------------------------------------------------------------------------

    def _devices(self) -> Iterator[Finding]:
        seen: dict[str, Item] = {}
        for handler in self.wanted.of(HANDLER).values():
            for name, device in handler.of(DEVICE).items():
                if "/" in name:
                    yield _error(device.place, f"the name of device {name} must have no slash")
                if name in seen:
                    yield _error(
                        device.place, f"DEVICE {name} is in line {seen[name].line} already"
                    )
                seen[name] = device
        for attribute in _UNIQUE:
            yield from _duplicates(attribute, seen.values(), "device")

    def _luns(self) -> Iterator[Finding]:
        known = devices(self.wanted)
        for lun in luns(self.wanted):
            if lun_number(lun.name) is None:
                yield _error(lun.place, f"{lun.name} is not a LUN number")
            if lun.device and lun.device not in known:
                yield _error(
                    lun.place, f"there is no device {lun.device}{_near(lun.device, known)}"
                )

    # --- targets ---------------------------------------------------------------------------------

    def _targets(self, driver: Item) -> Iterator[Finding]:
        targets = driver.of(TARGET).values()
        enabled = [t for t in targets if _value(t, ENABLED) not in (None, "", "0")]
        yield from _duplicates("rel_tgt_id", enabled, "enabled target")
        for target in targets:
            yield from self._lun_0(target, f"target {target.name}")
            groups: dict[str, Item] = {}
            for group in target.of(GROUP).values():
                yield from self._lun_0(group, f"group {group.name} of {target.name}")
                for name, initiator in group.of(INITIATOR).items():
                    if name in groups:
                        yield _error(
                            initiator.place,
                            f"initiator {name} is in group {groups[name].name} already",
                        )
                    groups[name] = group
            # Initiators cannot reach the targets of a disabled driver.
            if (
                target in enabled
                and ENABLED not in driver.settings
                and self._can_be_enabled(driver)
            ):
                yield _warning(target.place, f"{target.name} is enabled but its driver is not")

    def _can_be_enabled(self, driver: Item) -> bool:
        present = self._present(driver)
        return present is not None and ENABLED in present.live

    def _lun_0(self, holder: Item, what: str) -> Iterator[Finding]:
        present = self._present(holder)
        if present is not None and present.kind is TARGET and present.is_internal:
            return
        numbers = {lun_number(name) for name in holder.of(LUN)} - {None}
        if numbers and 0 not in numbers:
            place = next(iter(holder.of(LUN).values())).place
            yield _warning(place, f"{what} has no LUN 0, which initiators need to find the others")

    # --- device groups ---------------------------------------------------------------------------

    def _device_groups(self) -> Iterator[Finding]:
        known = devices(self.wanted)
        members: dict[str, Item] = {}
        for group in self.wanted.of(DEVICE_GROUP).values():
            for name, device in group.of(GROUP_DEVICE).items():
                if name not in known:
                    yield _error(device.place, f"there is no device {name}{_near(name, known)}")
                if name in members:
                    other = members[name]
                    yield _error(device.place, f"device {name} is in group {other.name} already")
                members[name] = group
            yield from _duplicates(
                "group_id", group.of(TARGET_GROUP).values(), f"target group of {group.name}"
            )


def _value(item: Item, name: str) -> str | None:
    setting = item.settings.get(name)
    return None if setting is None else (setting.values or [""])[0]


def _duplicates(attribute: str, items: Collection[Item], what: str) -> Iterator[Finding]:
    owners: Mapping[str, list[Item]] = defaultdict(list)
    for item in items:
        value = _value(item, attribute)
        if value and value != "0":
            owners[value].append(item)
    for value, several in owners.items():
        for item in several[1:]:
            place = item.settings[attribute].place
            yield _error(place, f"{attribute} {value} is already that of {what} {several[0].name}")
