"""A configuration as data, for JSON; and with its secrets hidden."""

from __future__ import annotations

import copy
from typing import Any, Final

from scstfs.admin.configuration import Item, Setting
from scstfs.admin.creation import is_secret
from scstfs.admin.kinds import (
    ALUA,
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
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
from scstfs.admin.steps import hide

_KEYS: Final = {
    HANDLER: "handlers",
    DEVICE: "devices",
    DRIVER: "drivers",
    TARGET: "targets",
    LUN: "luns",
    GROUP: "groups",
    INITIATOR: "initiators",
    ALUA: "alua",
    DEVICE_GROUP: "device_groups",
    GROUP_DEVICE: "devices",
    TARGET_GROUP: "target_groups",
    GROUP_TARGET: "targets",
}
_LISTED: Final = frozenset({INITIATOR, GROUP_DEVICE})
"""Kinds that have only a name."""
_ALWAYS_THERE: Final = frozenset({HANDLER, DRIVER, ALUA})
"""Kinds without commands to make them; they are left out if empty."""


def as_data(item: Item) -> dict[str, Any]:
    """The contents of an item. Values are strings, or lists for instances of one attribute."""
    found: dict[str, Any] = {}
    if item.kind is LUN:
        found["device"] = item.device
    if item.settings:
        found["attributes"] = {n: _value(item.settings[n]) for n in sorted(item.settings)}
    for kind in item.kind.children:
        children = _children(kind, item.of(kind))
        if children:
            found[_KEYS[kind]] = children
    return found


def _children(kind: Kind, items: dict[str, Item]) -> Any:
    if kind in _LISTED:
        return list(items)
    children = {name: as_data(item) for name, item in items.items()}
    if kind in _ALWAYS_THERE:
        children = {name: child for name, child in children.items() if child}
    return children.get("") if kind is ALUA else children


def _value(setting: Setting) -> Any:
    return setting.values[0] if len(setting.values) == 1 else sorted(setting.values)


def without_secrets(configuration: Item) -> Item:
    """A copy that may be shown."""
    shown = copy.copy(configuration)
    shown.settings = {
        name: Setting([_hidden(configuration, name, value) for value in setting.values])
        for name, setting in configuration.settings.items()
    }
    shown.items = {
        kind: {name: without_secrets(item) for name, item in items.items()}
        for kind, items in configuration.items.items()
    }
    return shown


def _hidden(item: Item, name: str, value: str) -> str:
    return hide(value) if is_secret(item, name, value, item.dynamic) else value
