"""Writes a new configuration into the text of an old one, keeping its comments and order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from scstfs.admin import conf, syntax
from scstfs.admin.configuration import Item
from scstfs.admin.differences import same
from scstfs.admin.kinds import ALUA, HARDWARE, HW_TARGET, LUN
from scstfs.admin.syntax import Statement

_OWN: Final = frozenset({HW_TARGET, HARDWARE})


def merge(old: str, configuration: Item) -> str | None:
    """The text of *configuration* with all lines of *old* that are still valid.

    None if *old* has mistakes, or more than one statement in a line: then it cannot be merged.
    """
    document = syntax.parse(old)
    if document.problems or not _one_a_line(document.statements):
        return None
    merged = _Merge(old.split("\n")).text(document.statements, configuration)
    parsed = conf.parse(merged)
    if parsed.problems or not _says(parsed.configuration, configuration):
        return None
    return merged


def _one_a_line(statements: Iterable[Statement]) -> bool:
    last = 0
    for statement in statements:
        if statement.line <= last:
            return False
        if statement.block is not None:
            inside = statement.block
            if statement.end == statement.line or not _one_a_line(inside):
                return False
            if inside and (inside[0].line <= statement.line or inside[-1].end >= statement.end):
                return False
        last = statement.end
    return True


class _Merge:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def text(self, statements: tuple[Statement, ...], root: Item) -> str:
        last = len(self.lines) + 1
        if self.lines and not self.lines[-1]:
            last -= 1
        out = self.block(statements, root, 1, last, "")
        return "\n".join(out).rstrip("\n") + "\n"

    def block(
        self, statements: Collection[Statement], item: Item, first: int, end: int, indent: str
    ) -> list[str]:
        """The lines from *first* to before *end*, as *item* has them now."""
        out: list[str] = []
        kept: dict[str, set[str]] = {}
        children: set[tuple[str, str]] = set()
        by_keyword = {kind.keyword: kind for kind in item.kind.children}
        at = first
        said = {(statement.words[0], _value(statement)) for statement in statements}
        for statement in statements:
            out += self.lines[at - 1 : statement.line - 1]
            at = statement.end + 1
            kind = by_keyword.get(statement.words[0])
            if kind is None:
                out += self.setting(statement, item, kept, said)
                continue
            name = "" if kind is ALUA else _value(statement)
            child = item.item(kind, name)
            if child is None or (kind.keyword, name) in children:
                continue
            children.add((kind.keyword, name))
            out += self.child(statement, child, indent)
        tail = self.lines[at - 1 : end - 1]
        return out + self.new(item, kept, children, indent) + tail

    def setting(
        self,
        statement: Statement,
        item: Item,
        kept: dict[str, set[str]],
        said: set[tuple[str, str]],
    ) -> list[str]:
        """The line of an attribute; *said* are the attributes that the block already has."""
        name, value = statement.words[0], _value(statement)
        line = self.lines[statement.line - 1]
        setting = item.settings.get(name)
        values = [] if setting is None else setting.values or [""]
        done = kept.setdefault(name, set())
        if name in _OWN:
            return [line]
        if setting is None:
            live = item.live.get(name)
            shown = None if live is None else live.value
            return [line] if shown is not None and same(shown, value) else []
        right = next(
            (v for v in values if v == value or (len(values) == 1 and same(v, value))), None
        )
        if right is not None and right not in done:
            done.add(right)
            return [line]
        if right is None and len(values) == 1 and not done and (name, values[0]) not in said:
            done.add(values[0])
            comment = _comment(line)
            start = line[: len(line) - len(line.lstrip())]
            return [f"{start}{name} {syntax.quote(values[0])}{comment}"]
        return []

    def child(self, statement: Statement, child: Item, indent: str) -> list[str]:
        if child.kind is LUN and statement.words[2:] != (child.device,):
            return conf.render_item(child).rstrip("\n").split("\n")
        if statement.block is None:
            if child.settings or any(child.items.values()):
                return conf.render_item(child).rstrip("\n").split("\n")
            return self.lines[statement.line - 1 : statement.end]
        head, foot = self.lines[statement.line - 1], self.lines[statement.end - 1]
        inside = self.block(
            statement.block, child, statement.line + 1, statement.end, indent + "\t"
        )
        return [head, *inside, foot]

    def new(
        self, item: Item, kept: dict[str, set[str]], children: set[tuple[str, str]], indent: str
    ) -> list[str]:
        """The lines that the old text does not have."""
        out: list[str] = []
        for name in sorted(item.settings):
            if name in _OWN or any(other.startswith(f"{name}_") for other in kept):
                continue
            for value in sorted(item.settings[name].values) or [""]:
                if value not in kept.get(name, ()):
                    out.append(f"{indent}{name} {syntax.quote(value)}")
        for kind in item.kind.children:
            for name, child in item.of(kind).items():
                if (kind.keyword, name) not in children:
                    text = conf.render_item(child).strip("\n")
                    if text:
                        out += ["", *text.split("\n")] if "\n" in text else [text]
        return out


def _value(statement: Statement) -> str:
    return statement.words[1] if len(statement.words) > 1 else ""


def _comment(line: str) -> str:
    """The comment at the end of a line, with the blanks before it."""
    quoted = False
    position = 0
    while position < len(line):
        character = line[position]
        if character == "\\":
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character == "#" and not quoted:
            return line[len(line[:position].rstrip()) :]
        position += 1
    return ""


def _says(text: Item, configuration: Item) -> bool:
    """Return whether a text is equivalent to a configuration."""
    for kind in text.kind.children:
        ours, theirs = text.of(kind), configuration.of(kind)
        for name in ours.keys() | theirs.keys():
            one, other = ours.get(name), theirs.get(name)
            if one is None or other is None:
                rest = one or other
                if rest is not None and (rest.kind.mgmt or _holds(rest)):
                    return False
            elif one.device != other.device or not _says(one, other):
                return False
    return all(
        name in _OWN
        or name not in text.settings
        or all(
            any(same(value, other) for other in text.settings[name].values)
            for value in setting.values
        )
        for name, setting in configuration.settings.items()
    )


def _holds(item: Item) -> bool:
    return bool(item.settings) or any(item.items.values())
