"""The steps of a plan: changes of the tree, each with its undo actions."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from scstfs.admin.configuration import Item

HIDDEN: Final = "********"
"""Shown instead of a secret. As a secret it is too short, so it would be refused."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write(2)."""

    path: str
    data: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Give an attribute its default value, which removes the mark of a key attribute.

    Attributes:
        path: of the attribute.
        candidates: values that may be the default, likely ones first.
        scratch: how to make an object of the same kind, to read its attribute, and how to remove
            it; its directory stands between.
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
    """The order of steps: likely refusals first, disruptive steps last."""

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
    """The effect of a step on its item."""

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
        phase: its place in the order.
        verb: its effect.
        item: the item that it changes.
        action: the change of the tree.
        undo: the actions that undo it, in order.
        line: of the file that requires it, 0 if it is for something that is not in the file.
        attribute: the one that is set or reset, added to the item or removed from it.
        old, new: values of the attribute; the device of a LUN; the group of an initiator.
        secret: the values must not be shown.
        parameters: those that the item is made with, with their lines.
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
    """Steps in order, and notes.

    Attributes:
        steps: the steps.
        notes: attributes that stay as they are although the file does not have them, with the
            reason.
    """

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def hide(value: str) -> str:
    """A value with its secret hidden: the first word is a name."""
    name, blank, secret = value.partition(" ")
    return f"{name} {HIDDEN}" if blank and secret else HIDDEN
