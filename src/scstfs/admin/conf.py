"""scst.conf to a configuration and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from scstfs.admin import syntax
from scstfs.admin.configuration import Item, Place, Setting, empty, lun_number
from scstfs.admin.kinds import (
    ALUA,
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    GROUP,
    GROUP_DEVICE,
    GROUP_TARGET,
    HANDLER,
    HW_TARGET,
    INITIATOR,
    LUN,
    TARGET,
    TARGET_GROUP,
    Kind,
)
from scstfs.admin.syntax import Document, Statement, SyntaxProblem

NO_KEYS: Final = "# Non-key attributes"

FORMER: Final = "a configuration of SCST 1.x, which is not read any more"
_FORMER: Final = re.compile(r"^\[(?:HANDLER|GROUP|ASSIGNMENT)\s.*\]", re.MULTILINE)


class Parsed(NamedTuple):
    """The contents of a file.

    Attributes:
        configuration: as scstadmin reads it: of two things of one name, the later one.
        problems: mistakes in the text.
    """

    configuration: Item
    problems: tuple[SyntaxProblem, ...]


# --- reading -----------------------------------------------------------------------------------


class _Reader:
    def __init__(self) -> None:
        self.problems: list[SyntaxProblem] = []

    def _complain(self, statement: Statement, message: str) -> None:
        self.problems.append(SyntaxProblem(statement.line, statement.column, message))

    def read(self, item: Item, statements: Iterable[Statement]) -> None:
        by_keyword = {kind.keyword: kind for kind in item.kind.children}
        for statement in statements:
            kind = by_keyword.get(statement.words[0])
            if kind is None:
                self._setting(item, statement)
            elif kind is LUN:
                self._lun(item, statement)
            else:
                self._item(item, kind, statement)

    def _item(self, parent: Item, kind: Kind, statement: Statement) -> None:
        words = statement.words
        expected = 1 if kind is ALUA else 2
        if len(words) != expected:
            what = "no name" if expected == 1 else "one name"
            self._complain(statement, f"{kind.keyword} takes {what}")
            if len(words) < expected:
                return
        name = words[1] if expected == 2 else ""
        known = parent.item(kind, name)
        if known is not None:
            self._complain(statement, f"{' '.join(words[:2])} is in line {known.line} already")
        item = parent.add(kind, name, _place(statement))
        self.read(item, statement.block or ())

    def _lun(self, parent: Item, statement: Statement) -> None:
        words = statement.words
        if len(words) < 3:
            self._complain(statement, "LUN takes a number and the name of a device")
            if len(words) < 2:
                return
        number, device = words[1], words[2] if len(words) > 2 else ""
        known = parent.item(LUN, number)
        if known is not None:
            self._complain(statement, f"LUN {number} is in line {known.line} already")
        lun = parent.add(LUN, number, _place(statement))
        lun.device = device
        if known is not None and known.device != device:
            lun.rivals = [*known.rivals, known.device]
        self.read(lun, statement.block or ())

    def _setting(self, item: Item, statement: Statement) -> None:
        name, *values = statement.words
        if len(values) > 1:
            self._complain(statement, f"quote the value of {shown(name)}, which has blanks")
        elif statement.block is not None:
            self._complain(
                statement, f"{item.kind.keyword or 'the file'} has no {shown(name)} with a block"
            )
        setting = item.settings.get(name)
        if setting is None or not values:
            setting = item.settings[name] = Setting([], _place(statement))
        if values and values[0] not in setting.places:
            setting.values.append(values[0])
            setting.places[values[0]] = _place(statement)
        setting.nested = len(values) > 1 or bool(statement.block)


def _place(statement: Statement) -> Place:
    return Place(statement.line, statement.column)


def shown(name: str) -> str:
    """The name of an attribute as messages show it.

    Quotes around name and value make one word of both, and the value may be a secret.
    """
    first, *more = name.split(None, 1) or [name]
    return f"{first} ..." if more else first


def from_document(document: Document) -> Parsed:
    """Make a configuration from statements."""
    reader = _Reader()
    root = empty()
    reader.read(root, document.statements)
    return Parsed(root, tuple(sorted({*document.problems, *reader.problems})))


def parse(text: str) -> Parsed:
    """Make a configuration from a text."""
    former = _FORMER.search(text)
    if former is not None:
        problem = SyntaxProblem(text.count("\n", 0, former.start()) + 1, 1, FORMER)
        return Parsed(empty(), (problem,))
    return from_document(syntax.parse(text))


# --- writing -----------------------------------------------------------------------------------

_UNSORTED: Final = frozenset({GROUP_DEVICE})
"""scstadmin also writes these in the order of the tree."""


class _ConfWriter:
    """Writes as scstadmin does, blank lines and all.

    Attributes:
        complete: also writes what scstadmin loses: empty device groups, and names and values that
            it cannot read back. Keeps the order of the configuration.
        no_keys: also writes attributes that need not be saved.
    """

    def __init__(self, complete: bool, no_keys: bool) -> None:
        self.complete = complete
        self.no_keys = no_keys
        self._value = syntax.quote if complete else syntax.escape
        self._name: Callable[[str], str] = syntax.quote if complete else str

    def items(self, item: Item, kind: Kind) -> list[Item]:
        found = item.of(kind)
        if self.complete or kind in _UNSORTED:
            return list(found.values())
        by_number = kind is LUN
        return [found[n] for n in sorted(found, key=lambda n: (_number(n) if by_number else 0, n))]

    def settings(self, item: Item, indent: str) -> str:
        return "".join(
            f"{indent}{self._name(name)} {self._value(value)}\n"
            for name in sorted(item.settings)
            if name != HW_TARGET
            for value in sorted(item.settings[name].values) or [""]
        )

    def others(self, item: Item, indent: str) -> str:
        if not self.no_keys:
            return ""
        others = sorted(item.others().items())
        return "".join(f"{indent}{name} {self._value(value)}\n" for name, value in others)

    def leaf(self, item: Item, indent: str) -> str:
        """The contents of a block with attributes only."""
        others = self.others(item, indent)
        return self.settings(item, indent) + (f"{indent}{NO_KEYS}\n{others}" if others else "")

    def spaced(self, item: Item, indent: str) -> str:
        """Attributes, with an empty line behind those that are saved and those that are not."""
        text = ""
        if HW_TARGET in item.settings:
            text = f"{indent}{HW_TARGET}\n\n"
        text += self.settings(item, indent)
        if text:
            text += "\n"
        others = self.others(item, indent)
        return text + (f"{indent}{NO_KEYS}\n{others}\n" if others else "")

    def root(self, root: Item) -> str:
        parts = [self.leaf(root, "") + "\n"]
        parts += [self.handler(handler) for handler in self.items(root, HANDLER)]
        parts += [self.driver(driver) for driver in self.items(root, DRIVER)]
        parts += [self.alua(alua) for alua in self.items(root, ALUA)]
        parts += [self.device_group(group) for group in self.items(root, DEVICE_GROUP)]
        return "".join(parts)

    def alua(self, alua: Item) -> str:
        inside = self.leaf(alua, "\t")
        return f"ALUA {{\n{inside}}}\n\n" if inside else ""

    def device(self, device: Item) -> str:
        inside = _ends_once(self.spaced(device, "\t\t"))
        head = f"\tDEVICE {self._name(device.name)}"
        return f"{head} {{\n{inside}\t}}\n\n" if inside else f"{head}\n"

    def handler(self, handler: Item) -> str:
        devices = "".join(self.device(device) for device in self.items(handler, DEVICE))
        others = self.others(handler, "\t")
        inside = self.settings(handler, "\t") + _ends_once(devices)
        inside += f"\t{NO_KEYS}\n{others}" if others else ""
        return f"HANDLER {handler.name} {{\n{inside}}}\n\n" if inside else ""

    def driver(self, driver: Item) -> str:
        targets = "".join(self.target(target) for target in self.items(driver, TARGET))
        inside = _one_line_less(self.spaced(driver, "\t") + targets)
        return f"TARGET_DRIVER {driver.name} {{\n{inside}}}\n\n" if inside else ""

    def target(self, target: Item) -> str:
        luns = "".join(self.lun(lun, "\t\t", "\n") for lun in self.items(target, LUN))
        inside = self.spaced(target, "\t\t")
        inside += luns.rstrip("\n") + "\n\n" if luns else ""
        inside += "".join(self.group(group) for group in self.items(target, GROUP))
        head = f"\tTARGET {self._name(target.name)}"
        return f"{head} {{\n{_one_line_less(inside)}\t}}\n\n" if inside else f"{head}\n"

    def lun(self, lun: Item, indent: str, behind: str) -> str:
        inside = self.leaf(lun, indent + "\t")
        head = f"{indent}LUN {lun.name} {self._name(lun.device)}"
        return f"{head} {{\n{inside}{indent}}}\n{behind}" if inside else f"{head}\n"

    def group(self, group: Item) -> str:
        inside = "".join(self.lun(lun, "\t\t\t", "") for lun in self.items(group, LUN))
        inside += "".join(
            f"\n\t\t\tINITIATOR {self._value(initiator.name)}\n"
            for initiator in self.items(group, INITIATOR)
        )
        settings, others = self.settings(group, "\t\t\t"), self.others(group, "\t\t\t")
        if others:
            settings += ("\n" if settings else "") + f"\t\t\t{NO_KEYS}\n{others}"
        inside += f"\n{settings}" if settings else ""
        head = f"\t\tGROUP {self._name(group.name)}"
        return f"{head} {{\n{inside}\t\t}}\n\n" if inside else f"{head}\n"

    def device_group(self, group: Item) -> str:
        devices = "".join(
            f"\tDEVICE {self._name(device.name)}\n" for device in self.items(group, GROUP_DEVICE)
        )
        inside = self.spaced(group, "\t")
        inside += f"{devices}\n" if devices else ""
        inside += "".join(self.target_group(each) for each in self.items(group, TARGET_GROUP))
        if not inside and not self.complete:
            return ""
        return f"DEVICE_GROUP {self._name(group.name)} {{\n{_one_line_less(inside)}}}\n\n"

    def target_group(self, group: Item) -> str:
        inside = self.spaced(group, "\t\t")
        inside += "".join(self.group_target(each) for each in self.items(group, GROUP_TARGET))
        head = f"\tTARGET_GROUP {self._name(group.name)}"
        return f"{head} {{\n{_one_line_less(inside)}\t}}\n\n" if inside else f"{head}\n"

    def group_target(self, target: Item) -> str:
        inside = self.leaf(target, "\t\t\t")
        head = f"\t\tTARGET {self._name(target.name)}"
        return f"{head} {{\n{inside}\t\t}}\n" if inside else f"{head}\n"


def _number(name: str) -> int:
    """The sort key of LUNs."""
    return lun_number(name) or 0


def _ends_once(text: str) -> str:
    """Without empty lines at the end."""
    return re.sub(r"\n+\Z", "\n", text)


def _one_line_less(text: str) -> str:
    """Without one empty line at the end."""
    return text[:-1] if text.endswith("\n\n") else text


def render_item(item: Item) -> str:
    """The text of one item in a file."""
    writer = _ConfWriter(complete=True, no_keys=False)
    renders: Mapping[Kind, Callable[[Item], str]] = {
        HANDLER: writer.handler,
        DEVICE: writer.device,
        DRIVER: writer.driver,
        TARGET: writer.target,
        LUN: lambda lun: writer.lun(lun, "\t" * (3 if in_group(lun) else 2), ""),
        GROUP: writer.group,
        INITIATOR: lambda initiator: f"\t\t\tINITIATOR {syntax.quote(initiator.name)}\n",
        ALUA: writer.alua,
        DEVICE_GROUP: writer.device_group,
        GROUP_DEVICE: lambda device: f"\tDEVICE {syntax.quote(device.name)}\n",
        TARGET_GROUP: writer.target_group,
        GROUP_TARGET: writer.group_target,
    }
    return renders[item.kind](item).rstrip("\n") + "\n"


def in_group(lun: Item) -> bool:
    """Whether it is a LUN of a group, not of a target."""
    return lun.parent is not None and lun.parent.kind is GROUP


def render(configuration: Item, *, complete: bool = True, no_keys: bool = False) -> str:
    """The text of a configuration.

    Without *complete* it is byte for byte what scstadmin writes, except for its first line.
    """
    return _ConfWriter(complete, no_keys).root(configuration)
