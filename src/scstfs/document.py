"""docs/tree.md, made of the tables of the tree: ``python -m scstfs.document``.

Entries that several drivers or handlers share are listed once, with the names of those that have
them if not all do.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from scstfs.layout import LAYOUT
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each, EachAttr, EachLink, Include, Link, Sub
from scstfs.sysfs.entry import Entry

_INTRODUCTION: Final = """\
# The tree

`make docs` makes this page from the tables that define the tree. Words in capitals stand for names,
`N` for a number or nothing.

- After a file's name come its mode and the first release of SCST that has it.
- *Key*: when the value is followed by the line `[key]`, which marks what a saved configuration
  needs. Without *Key*, never.
- *Parameter*: the value can also be given to the `mgmt` command that makes the object.
- *Queued*: `last_sysfs_mgmt_res` also shows the result of the command.
- Names in parentheses are the drivers or handlers that have the entry, if not all have it.

All files take one command or value per write(2), which is cut at the first NUL. A refused write
changes nothing unless stated otherwise here. Where text that is not a number gets EINVAL, a number
of more than 64 bits gets ERANGE.
"""

_WIDTH: Final = 100

#: Directories whose children are different implementations of one thing, and their placeholder.
_IMPLEMENTATIONS: Final = {"targets/": "DRIVER"}

_PROSE: Final = (
    ("Reads", "reads"),
    ("Takes", "accepts"),
    ("Refuses", "refuses"),
    ("Key", "key_when"),
    ("Effect", "effect"),
)


@dataclass(slots=True)
class _Item:
    """The description of one entry, or of several with the same description."""

    text: str
    names: dict[str, None] = field(default_factory=dict)
    owners: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Section:
    """One directory."""

    items: dict[str, dict[str, _Item]] = field(default_factory=dict)
    """By name, then by text."""
    owners: dict[str, None] = field(default_factory=dict)

    def add(self, name: str, text: str, owner: str) -> None:
        item = self.items.setdefault(name, {}).setdefault(text, _Item(text))
        item.names[name] = None
        item.owners[owner] = None

    def grouped(self) -> list[_Item]:
        """The items, with equal texts merged."""
        groups: dict[tuple[str, tuple[str, ...]], _Item] = {}
        for versions in self.items.values():
            for item in versions.values():
                key = (item.text, tuple(item.owners))
                groups.setdefault(key, _Item(item.text, {}, item.owners)).names.update(item.names)
        return list(groups.values())


class _TableWalk:
    """Walks the tables once and collects their rows by directory."""

    def __init__(self) -> None:
        self.sections: dict[str, _Section] = {}
        self._places: dict[int, str] = {}

    def visit(self, dirtype: DirType[Any], path: str, owner: str = "") -> None:
        """Collect a directory and all below it."""
        self._places[id(dirtype)] = path
        section = self.sections.setdefault(path, _Section())
        section.owners[owner] = None
        for entry in dirtype.entries:
            self._take(entry, path, owner)

    def _take(self, entry: Entry[Any], path: str, owner: str) -> None:
        section = self.sections[path]
        match entry:
            case Attr():
                section.add(entry.name, _attribute(entry), owner)
            case EachAttr():
                section.add(entry.label, _attribute(entry.attr), owner)
            case Link():
                section.add(entry.name, _sentence("Link", entry.about), owner)
            case EachLink():
                section.add(entry.label, _sentence("Link", entry.about), owner)
            case Include():
                for chosen in entry.among:
                    for row in chosen.entries:
                        self._take(row, path, chosen.name)
            case Sub():
                name = _IMPLEMENTATIONS.get(path, entry.name)
                below = entry.name if path in _IMPLEMENTATIONS else owner
                section.add(f"{entry.name}/", self._below(entry, path + name, below), owner)
            case Each():
                place = path + entry.label
                section.add(f"{entry.label}/", self._below(entry, place, owner), owner)

    def _below(self, entry: Sub[Any, Any] | Each[Any, Any], place: str, owner: str) -> str:
        """Visit a subdirectory, once; return its description for this place."""
        path = f"{place}/"
        known = self._places.get(id(entry.dirtype), path)
        if known != path:
            return _sentence("Directory", f"{entry.about}, like `{known}`")
        self.visit(entry.dirtype, path, owner)
        return _sentence("Directory", entry.about)


def _sentence(what: str, text: str) -> str:
    return f"*{what}* {text}."


def _attribute(row: Attr[Any, Any]) -> str:
    sentences = [
        _sentence(title, getattr(row, name)) for title, name in _PROSE if getattr(row, name)
    ]
    sentences += ["*Parameter*."] * row.parameter + ["*Queued*."] * row.queued
    return f"{row.mode:04o}, {row.since}. {' '.join(sentences)}"


def document() -> str:
    """The whole page."""
    walk = _TableWalk()
    walk.visit(LAYOUT.root(), "")
    return "\n".join((_INTRODUCTION, *_lines(walk))) + "\n"


def _lines(walk: _TableWalk) -> Iterator[str]:
    for path, section in walk.sections.items():
        yield f"## `{path or '/'}`"
        yield ""
        for item in section.grouped():
            owners = [owner for owner in item.owners if owner]
            only = f" ({', '.join(owners)})" if set(item.owners) != set(section.owners) else ""
            names = ", ".join(f"**`{name}`**" for name in item.names)
            yield textwrap.fill(
                f"- {names}{only}: {item.text}",
                _WIDTH,
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        yield ""


if __name__ == "__main__":
    print(document(), end="")
