"""What a plan is made of: steps that change the tree, each with what undoes it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from scstfs.admin.configuration import Item

HIDDEN: Final = "********"
"""Shown instead of a secret. As a secret it is too short, so that it is refused."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write(2)."""

    path: str
    data: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Give an attribute its default value, which takes the mark of a key attribute away.

    Attributes:
        path: of the attribute.
        candidates: values that may be the default, likely ones first.
        scratch: how to make an object of the same kind, to look what its attribute says, and how
            to take it away; its directory stands between.
    """

    path: str
    candidates: tuple[str, ...]
    scratch: tuple[Write, str, Write] | None = None


@dataclass(frozen=True, slots=True)
class CloseSessions:
    """Close all sessions of a target, and wait until they are gone."""

    target: str


Action: TypeAlias = Write | Reset | CloseSessions


class StepPhase(enum.IntEnum):
    """The order of steps: what is likely to be refused first, what hurts last."""

    ROOT = enum.auto()
    DISABLE = enum.auto()
    CHANGE = enum.auto()
    UNLINK = enum.auto()
    REPLACED_TARGETS = enum.auto()
    REPLACED_DEVICES = enum.auto()
    DEVICES = enum.auto()
    TARGETS = enum.auto()
    GROUPS = enum.auto()
    FREE_INITIATORS = enum.auto()
    LUNS = enum.auto()
    INITIATORS = enum.auto()
    OLD_GROUPS = enum.auto()
    FREE_DEVICES = enum.auto()
    DEVICE_GROUPS = enum.auto()
    OLD_TARGETS = enum.auto()
    LATE_MEMBERS = enum.auto()
    OLD_DEVICES = enum.auto()
    MARKS = enum.auto()
    ENABLE_TARGETS = enum.auto()
    ENABLE_DRIVERS = enum.auto()


class Verb(enum.Enum):
    """What a step does to its item."""

    ADD = "add"
    REMOVE = "remove"
    SET = "set"
    RESET = "reset"
    ASSIGN = "assign"
    MOVE = "move"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        phase: when it is done.
        verb: what it does.
        item: what it does that to.
        action: how.
        undo: what undoes it, in order.
        line: of the file that asks for it, 0 when it is because something is not there.
        attribute: that is set or reset, added to the item or removed from it.
        old, new: values of the attribute; the device or the group of what is assigned or moved.
        secret: the values must not be shown.
        parameters: with which the item is made, with their lines.
    """

    phase: StepPhase
    verb: Verb
    item: Item
    action: Action
    undo: tuple[Action, ...] = ()
    line: int = 0
    attribute: str = ""
    old: str = ""
    new: str = ""
    secret: bool = False
    parameters: tuple[tuple[str, str, int], ...] = ()


@dataclass(slots=True)
class Plan:
    """Steps in order, and what they do not reach.

    Attributes:
        steps: what is to be done.
        notes: attributes that stay as they are though the file does not have them, with the reason.
    """

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def hide(value: str) -> str:
    """A value that holds a secret as it may be shown: the first word is a name."""
    name, blank, secret = value.partition(" ")
    return f"{name} {HIDDEN}" if blank and secret else HIDDEN
