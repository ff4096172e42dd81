"""Creation and removal of items: commands, and the steps for an item with all that is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from scstfs.admin.attributes import SESSION_NAME
from scstfs.admin.configuration import Item, Setting, lun_number
from scstfs.admin.kinds import (
    DEVICE,
    ENABLED,
    GROUP_TARGET,
    HARDWARE,
    HW_TARGET,
    LUN,
    TARGET,
    TARGET_GROUP,
    Kind,
)
from scstfs.admin.steps import Action, CloseSessions, Step, StepPhase, Verb, Write

CLUSTER_MODE: Final = "cluster_mode"
"""Parameter that fixes the values of others, so it comes after them."""

ENDS_PARAMETER: Final = re.compile(r"[;\s]")

NOT_SET: Final = frozenset({ENABLED, HARDWARE, HW_TARGET})
"""Settings that are not attributes to write when an item is made."""

IDENTIFIERS: Final[Mapping[Kind, str]] = {TARGET_GROUP: "group_id", GROUP_TARGET: "rel_tgt_id"}
"""Attributes that are 0 until they are set, and cannot be set to 0."""


def in_file(item: Item, name: str) -> str:
    """The path of an attribute."""
    return f"{item.path}/{name}" if item.path else name


def line_of(value: str) -> str:
    """The text to write to an attribute for a value."""
    return f"{value}\n"


def is_secret(item: Item, name: str, value: str, dynamic: Iterable[str]) -> bool:
    """Whether a value must not be shown: that of a private file, or a name followed by a secret.

    The second is for attributes that are added by commands, whose files do not exist yet.
    """
    live = item.live.get(name)
    return (live is not None and live.private) or (name in dynamic and " " in value.strip())


def has_no_identifier(item: Item) -> bool:
    """Whether the item's identifier setting equals the identifier that it gets when made."""
    setting = item.settings.get(IDENTIFIERS.get(item.kind, ""))
    return setting is not None and all(_is_zero(value) for value in setting.values)


def _is_zero(value: str) -> bool:
    try:
        return int(value, 0) == 0
    except ValueError:
        return False


def remove_command(item: Item) -> Write:
    """Remove an item."""
    return Write(item.mgmt, item.command(item.kind.remove) + "\n")


def add_lun(lun: Item, verb: str = "add") -> Write:
    """Assign a device to a LUN: ``add``, or ``replace`` if it has another device."""
    return Write(lun.mgmt, _command(lun, f"{verb} {lun.device} {lun.name}", _pairs(lun, None)))


def dynamic_command(item: Item, verb: str, attribute: str, value: str) -> Write:
    """Add an attribute or delete one: *verb* is ``add`` or ``del``."""
    mgmt, command = item.kind.dynamic
    parent = "" if item.parent is None else item.parent.path
    path = mgmt.format(path=item.path, parent=parent)
    text = command.format(verb=verb, name=item.name, attribute=attribute, value=value)
    return Write(path, text + "\n")


def _pairs(item: Item, makes: Iterable[str] | None) -> list[tuple[str, str, int]]:
    """Parameters for the command that makes an item, with their lines; None: all settings."""
    pairs = [
        (name, value, setting.place_of(value).line)
        for name, setting in item.settings.items()
        if name not in NOT_SET and (makes is None or name in makes)
        for value in setting.values or [""]
        if not ENDS_PARAMETER.search(value)  # such a value must be written later
    ]
    return sorted(pairs, key=lambda pair: pair[0] == CLUSTER_MODE)


def _command(item: Item, command: str, pairs: Iterable[tuple[str, str, int]]) -> str:
    parameters = "; ".join(f"{name}={value}" for name, value, _ in pairs)
    return f"{command} {parameters}\n" if parameters else f"{command}\n"


def create(
    item: Item,
    owner: Item | None,
    phase: StepPhase,
    *,
    without: Callable[[Item], bool] | None = None,
) -> list[Step]:
    """The steps that make an item and all that is in it, except for enabling it.

    Args:
        item: the item.
        owner: the item that contains it, from the tree: it knows the parameters.
        phase: of all steps.
        without: tells which items in it to leave out.

    Undoing the first step undoes them all.
    """
    return list(_create(item, owner, phase, without or (lambda _: False)))


def _create(
    item: Item, owner: Item | None, phase: StepPhase, without: Callable[[Item], bool]
) -> Iterator[Step]:
    kind = item.kind
    if kind is LUN:
        yield Step(
            phase,
            Verb.ADD,
            item,
            add_lun(item),
            (remove_command(item),),
            item.line,
            new=item.device,
            parameters=tuple(_pairs(item, None)),
        )
        return
    made = _made_with(item, owner)
    pairs = _pairs(item, made) if made else []
    undo: tuple[Action, ...] = (remove_command(item),)
    if kind is TARGET:
        undo = (CloseSessions(item.path), *undo)
    yield Step(
        phase,
        Verb.ADD,
        item,
        Write(item.mgmt, _command(item, item.command(kind.add), pairs)),
        undo,
        item.line,
        parameters=tuple(pairs),
    )
    given = {(name, value) for name, value, _ in pairs}
    dynamic = frozenset() if owner is None else frozenset(owner.gives)
    without_identifier = has_no_identifier(item)
    for name, setting in item.settings.items():
        if name not in NOT_SET and not (without_identifier and name == IDENTIFIERS[kind]):
            yield from _set(item, name, setting, phase, dynamic, given)
    for child_kind in kind.children:
        for child in _in_order(item, child_kind):
            if not without(child):
                yield from _create(child, None, phase, without)


def _made_with(item: Item, owner: Item | None) -> frozenset[str]:
    """Settings that are given to the command that makes an item.

    For a device these are all parameters. For a target they are only those that cannot be set
    later, or that are unknown: if a setting is refused later, it is clear which one.
    """
    if owner is None or item.kind not in (DEVICE, TARGET):
        return frozenset()
    makes = frozenset(owner.makes)
    if item.kind is DEVICE:
        return makes
    sibling = next(iter(owner.of(TARGET).values()), None)
    if sibling is None:
        return makes - frozenset(owner.gives)
    return frozenset(
        name
        for name in makes
        if name == SESSION_NAME or (name in sibling.live and sibling.live[name].static)
    )


def _set(
    item: Item,
    name: str,
    setting: Setting,
    phase: StepPhase,
    dynamic: frozenset[str],
    given: set[tuple[str, str]],
) -> Iterator[Step]:
    for value in setting.values or [""]:
        if (name, value) in given:
            continue
        if name in dynamic:
            action = dynamic_command(item, "add", name, value)
        else:
            action = Write(in_file(item, name), line_of(value))
        yield Step(
            phase,
            Verb.SET,
            item,
            action,
            line=setting.place_of(value).line,
            attribute=name,
            new=value,
            secret=is_secret(item, name, value, dynamic),
        )


def _in_order(item: Item, kind: Kind) -> list[Item]:
    children = item.of(kind)
    if kind is LUN:
        return [children[name] for name in sorted(children, key=number_of)]
    return list(children.values())


def number_of(name: str) -> tuple[int, str]:
    """What LUNs are sorted by."""
    return (lun_number(name) or 0, name)
