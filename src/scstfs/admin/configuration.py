"""A configuration: items with their settings.

It comes from a file (`conf.from_document`) or from the tree (`tree.walk`). Items from a file have
their lines; items from the tree have all their attributes, saved or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from scstfs.admin.attributes import Attribute, Attributes
from scstfs.admin.kinds import (
    DEVICE,
    DRIVER,
    ENABLED,
    HANDLER,
    HARDWARE,
    LUN,
    ROOT,
    TARGET,
    Kind,
)

_MOST_DIGITS: Final = 20


class Place(NamedTuple):
    """A position in a file: line and column, both counted from 1; line 0 for none."""

    line: int = 0
    column: int = 1


NOWHERE: Final = Place()


@dataclass(slots=True)
class Setting:
    """The setting of an attribute in a configuration.

    Attributes:
        values: one, or those of several instances.
        place: in the file, of the last value, which counts.
        places: in the file, of each value, if there are several.
        nested: a further word or a block follows the value, which no attribute has.
    """

    values: list[str]
    place: Place = NOWHERE
    places: dict[str, Place] = field(default_factory=dict)
    nested: bool = False

    def place_of(self, value: str) -> Place:
        """The position of a value in the file."""
        return self.places.get(value, self.place)


@dataclass(slots=True, eq=False)
class Item:
    """A configured object.

    Attributes:
        kind: what it is.
        name: in the tree; "" for none.
        parent: the item that contains it.
        settings: attributes that a saved configuration has.
        items: the items in it, by kind and name, in order.
        place: of its statement.
        device: the device of a LUN.
        rivals: other devices that the same LUN is also assigned to, a mistake.
        live: all attributes that were read from the tree.
        parameters: those of the command that makes it; only from the tree.
        dynamic: attributes that commands add and delete, likewise.
        makes, gives: the same of its targets or devices.
        hardware: a target that exists without a command (SysfsRules III, "How to distinguish
            hardware and virtual targets"), or a driver that has only such targets; only from the
            tree.
    """

    kind: Kind
    name: str = ""
    parent: Item | None = None
    settings: dict[str, Setting] = field(default_factory=dict)
    items: dict[Kind, dict[str, Item]] = field(default_factory=dict)
    place: Place = NOWHERE
    device: str = ""
    rivals: list[str] = field(default_factory=list)
    live: Attributes = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    hardware: bool = False

    def __repr__(self) -> str:
        """``<device devices/disk1>``."""
        return f"<{self.kind.name} {self.path}>"

    @property
    def line(self) -> int:
        """The line of its statement."""
        return self.place.line

    @property
    def path(self) -> str:
        """Its path in the tree."""
        parent = "" if self.parent is None else self.parent.path
        return self.kind.path.format(parent=parent, name=self.name)

    def of(self, kind: Kind) -> dict[str, Item]:
        """Its items of a kind."""
        return self.items.get(kind, {})

    def add(self, kind: Kind, name: str, place: Place = NOWHERE) -> Item:
        """Add an empty item, replacing one of the same name."""
        item = Item(kind, name, self, place=place)
        self.items.setdefault(kind, {})[name] = item
        return item

    def item(self, kind: Kind, name: str) -> Item | None:
        """One of its items."""
        return self.of(kind).get(name)

    def walk(self) -> Iterator[Item]:
        """It and all below it, parents first."""
        yield self
        for items in self.items.values():
            for item in items.values():
                yield from item.walk()

    def command(self, template: str) -> str:
        """A management command for it."""
        return template.format(name=self.name, device=self.device)

    @property
    def mgmt(self) -> str:
        """The file that takes commands for it."""
        return self.kind.mgmt.format(parent="" if self.parent is None else self.parent.path)

    @property
    def is_internal(self) -> bool:
        """Whether it is a target that cannot be enabled: its driver manages its LUNs itself."""
        return self.hardware and ENABLED not in self.live

    def take_live(self, attributes: Attributes) -> None:
        """Take attributes of the tree; those that must be saved become settings."""
        self.live = attributes
        for name, attribute in attributes.items():
            if attribute.choices is not None:
                continue
            if attribute.static and name not in self.parameters:
                continue
            if attribute.is_key:
                self.settings[name] = Setting(attribute.values)
            elif name in (ENABLED, HARDWARE) and attribute.value is not None:
                self.settings[name] = Setting([attribute.value])

    def others(self) -> dict[str, str]:
        """Attributes that need not be saved, and their values."""
        return {
            name: attribute.value
            for name, attribute in self.live.items()
            if name not in self.settings and _is_worth_telling(name, attribute, self.parameters)
            if attribute.value is not None
        }


def _is_worth_telling(name: str, attribute: Attribute, parameters: tuple[str, ...]) -> bool:
    return (
        attribute.choices is None
        and not attribute.is_key
        and (not attribute.static or name in parameters)
        and name not in (ENABLED, HARDWARE, "dif_checks_failed")
    )


def empty() -> Item:
    """An empty configuration."""
    return Item(ROOT)


def without_internal(configuration: Item) -> Item:
    """Remove what drivers manage themselves (`Item.is_internal`); returns the same item."""
    for driver in configuration.of(DRIVER).values():
        targets = driver.of(TARGET)
        for name, target in list(targets.items()):
            if target.is_internal:
                target.items.pop(LUN, None)
                if not target.settings and not any(target.items.values()):
                    del targets[name]
    return configuration


def devices(configuration: Item) -> dict[str, Item]:
    """The devices of all handlers, by name."""
    return {
        name: device
        for handler in configuration.of(HANDLER).values()
        for name, device in handler.of(DEVICE).items()
    }


def luns(configuration: Item) -> Iterator[Item]:
    """The LUNs of all targets and groups."""
    return (item for item in configuration.walk() if item.kind is LUN)


def lun_number(name: str) -> int | None:
    """The number that the name of a LUN says; None where it says none."""
    is_number = name.isascii() and name.isdecimal() and len(name) <= _MOST_DIGITS
    return int(name) if is_number else None
