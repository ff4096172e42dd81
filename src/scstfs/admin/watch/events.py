"""Where events come from: what scstfs tells, or else differences of the tree."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from scstfs.admin.kinds import INTERNAL_DRIVER
from scstfs.admin.observations import events
from scstfs.admin.presence import require_tree

LOST: Final = "lost"
"""The kind of an event that stands for those that were not kept."""

KINDS: Final = (
    "login",
    "logout",
    "login_refused",
    "configuration",
    "reservation",
    "error",
    "medium",
    "task_management",
    LOST,
)

OccurrenceFields = dict[str, Any]
"""An event: ``time`` (seconds since the epoch), ``kind``, ``text``, and the names of what it is
about: ``driver``, ``target``, ``initiator``, ``device``.
"""


class EventSource(Protocol):
    """Where new events are asked for."""

    def new(self) -> list[OccurrenceFields]:
        """Those since the last call, oldest first. Raises Mistake if the tree goes away."""


class ToldEvents:
    """The events that a tree of scstfs tells."""

    def __init__(self, root: str, *, recent: bool = False) -> None:
        """*recent*: begin with those of the past that are kept."""
        self._root = root
        self._last = 0
        if not recent:
            self.new()

    def new(self) -> list[OccurrenceFields]:
        """See `EventSource`."""
        found = events(self._root)
        if found is None:
            require_tree(self._root)
            return []
        last = found[-1]["number"] if found else 0
        if last < self._last:
            self._last = 0  # another process serves the tree
        made: list[OccurrenceFields] = []
        for event in found:
            number = event.pop("number")
            if number <= self._last:
                continue
            if number > self._last + 1 and self._last:
                count = number - self._last - 1
                text = f"{count} events were too many to be kept"
                made.append({"time": event["time"], "kind": LOST, "text": text})
            self._last = number
            if event.get("driver") != INTERNAL_DRIVER:
                made.append(event)
        return made


class _Row(NamedTuple):
    """What to look at: a pattern of paths, and what it means that one of them comes or goes."""

    pattern: tuple[str, ...]
    came: tuple[str, str]
    went: tuple[str, str]
    fields: tuple[str, ...]


_ROWS: Final = (
    _Row(
        ("targets", "*", "*", "sessions", "*"),
        ("login", "{initiator} logged in to {target}"),
        ("logout", "{initiator} has left {target}"),
        ("driver", "target", "initiator"),
    ),
    _Row(
        ("targets", "*", "*"),
        ("configuration", "target {target} was added"),
        ("configuration", "target {target} was removed"),
        ("driver", "target"),
    ),
    _Row(
        ("devices", "*"),
        ("configuration", "device {device} was added"),
        ("configuration", "device {device} was removed"),
        ("device",),
    ),
    _Row(
        ("targets", "*", "*", "luns", "*"),
        ("configuration", "LUN {lun} of {target} was added"),
        ("configuration", "LUN {lun} of {target} was removed"),
        ("driver", "target", "lun"),
    ),
    _Row(
        ("targets", "*", "*", "ini_groups", "*", "luns", "*"),
        ("configuration", "LUN {lun} of {target}, group {group}, was added"),
        ("configuration", "LUN {lun} of {target}, group {group}, was removed"),
        ("driver", "target", "group", "lun"),
    ),
)


class _Value(NamedTuple):
    """An attribute to look at: a pattern of paths, and what it means that its value changes."""

    pattern: tuple[str, ...]
    kind: str
    text: str
    fields: tuple[str, ...]


_VALUES: Final = (
    _Value(("devices", "*", "filename"), "medium", "{device} has the file {value}", ("device",)),
    _Value(("devices", "*", "size"), "medium", "{device} has the size {value}", ("device",)),
    _Value(("devices", "*", "active"), "medium", "active of {device} is {value}", ("device",)),
    _Value(
        ("targets", "*", "*", "enabled"),
        "configuration",
        "enabled of {target} is {value}",
        ("driver", "target"),
    ),
)

_Path = tuple[str, ...]


class TreeEvents:
    """Differences of any tree between two looks at it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._names, self._values = self._look()

    def new(self) -> list[OccurrenceFields]:
        """See `EventSource`."""
        names, values = self._look()
        require_tree(self._root)
        now = round(time.time(), 3)
        made: list[OccurrenceFields] = []
        for row in _ROWS:
            before, after = self._names[row], names[row]
            for paths, (kind, text) in ((before - after, row.went), (after - before, row.came)):
                made += (_event(now, kind, text, row.fields, path) for path in sorted(paths))
        for (shown, path), value in values.items():
            if self._values.get((shown, path), value) != value:
                made.append(_event(now, shown.kind, shown.text, shown.fields, path, value))
        self._names, self._values = names, values
        return made

    def _look(self) -> tuple[dict[_Row, set[_Path]], dict[tuple[_Value, _Path], str]]:
        names = {row: set(self._matches(row.pattern)) for row in _ROWS}
        values = {}
        for shown in _VALUES:
            for path in self._matches(shown.pattern[:-1]):
                value = self._value("/".join((*path, shown.pattern[-1])))
                if value is not None:
                    values[shown, path] = value
        return names, values

    def _matches(self, pattern: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The paths of directories that a pattern stands for, each with its whole parts."""
        found: list[tuple[str, ...]] = [()]
        for part in pattern:
            if part != "*":
                found = [(*path, part) for path in found]
                continue
            found = [(*path, name) for path in found for name in self._directories(path)]
        yield from found

    def _directories(self, path: tuple[str, ...]) -> list[str]:
        try:
            with os.scandir("/".join((self._root, *path))) as entries:
                return [entry.name for entry in entries if entry.is_dir()]
        except OSError:
            return []

    def _value(self, path: str) -> str | None:
        try:
            with open(f"{self._root}/{path}", errors="backslashreplace") as file:
                return file.readline().rstrip("\n")
        except OSError:
            return None


def _event(
    now: float,
    kind: str,
    text: str,
    fields: tuple[str, ...],
    path: tuple[str, ...],
    value: str = "",
) -> OccurrenceFields:
    fixed = {"targets", "devices", "sessions", "luns", "ini_groups"}
    names = [part for place, part in enumerate(path) if not (part in fixed and place in (0, 3, 5))]
    named: Mapping[str, str] = dict(zip(fields, names, strict=True))
    told = {name: text for name, text in named.items() if name not in ("lun", "group")}
    return {"time": now, "kind": kind, "text": text.format(**named, value=value), **told}


def event_source(root: str, *, recent: bool = False) -> EventSource:
    """Where the events of the tree at *root* come from. Raises Mistake if there is no tree."""
    require_tree(root)
    if events(root) is not None:
        return ToldEvents(root, recent=recent)
    return TreeEvents(root)
