"""Histories of commands from several initiators, and whether one unit could have answered so.

A history is *linearizable* if there is an order of its commands in which each takes effect at one
moment between its request and its answer, and in which a single unit, modelled from the standards
(`tests.support.model_reservations`), gives these answers. The search is exhaustive: an operation
that nobody knows the outcome of may have taken effect at any time after its request, or never.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from tests.support.model_reservations import ModelReservations, Refusal, Request

CONFLICT: Final = "conflict"
DONE: Final = "done"

READ_ALLOWED: Final = "W"

Outcome: TypeAlias = Hashable


@dataclass(frozen=True, slots=True)
class Operation:
    """A command.

    Attributes:
        client: the initiator that sent it, which is a nexus.
        kind: "out", "keys", "reserve", "release", "write", "read", or "lose": the nexus was lost.
        argument: the request, or the value that is written.
        outcome: None if it is not known.
    """

    client: int
    kind: str
    argument: Any
    invoked: float
    returned: float = math.inf
    outcome: Outcome = None


@dataclass
class ModelUnit:
    """A unit with one block."""

    reservations: ModelReservations = field(default_factory=ModelReservations)
    value: int = 0

    def apply(self, operation: Operation) -> Outcome:
        """Execute an operation; its outcome."""
        model, client = self.reservations, operation.client
        try:
            match operation.kind:
                case "out":
                    model.out(client, operation.argument)
                case "keys":
                    model.check_persistent()
                    return model.generation, tuple(model.keys.values())
                case "reserve":
                    model.check(client, "WE")
                    model.reserve(client)
                case "release":
                    model.check(client, "RWE")
                    model.release(client)
                case "write":
                    model.check(client, "")
                    self.value = operation.argument
                case "read":
                    model.check(client, READ_ALLOWED)
                    return self.value
                case "lose":
                    if model.reserved_by == client:
                        model.reserved_by = None
        except Refusal as refusal:
            return CONFLICT if refusal.sense is None else refusal.sense
        return DONE

    @property
    def state(self) -> Hashable:
        """Everything that later outcomes depend on."""
        model = self.reservations
        keys = tuple(model.keys.items())
        held = model.kind, model.holder, model.generation, model.reserved_by
        return keys, held, self.value


def is_linearizable(operations: Iterable[Operation], unit: ModelUnit) -> bool:
    """Whether one unit that begins as ``unit`` could have answered so."""
    return longest_explained(operations, unit) is None


def longest_explained(operations: Iterable[Operation], unit: ModelUnit) -> list[Operation] | None:
    """None if the history is linearizable, else the longest order that explains a part of it."""
    ordered = sorted(operations, key=lambda one: one.invoked)
    known = sum(1 << at for at, one in enumerate(ordered) if one.outcome is not None)
    seen: set[tuple[int, Hashable]] = set()
    best: list[Operation] = []
    stack: list[tuple[int, ModelUnit, list[Operation]]] = [(0, unit, [])]
    while stack:
        done, state, order = stack.pop()
        if done & known == known:
            return None
        if len(order) > len(best):
            best = order
        # What was requested after another one was answered cannot come before it.
        deadline = min(
            (one.returned for at, one in enumerate(ordered) if not done >> at & 1),
            default=math.inf,
        )
        for at, one in enumerate(ordered):
            if one.invoked > deadline:
                break
            if done >> at & 1:
                continue
            following = ModelUnit(copy.copy(state.reservations), state.value)
            following.reservations.keys = dict(state.reservations.keys)
            outcome = following.apply(one)
            if one.outcome is not None and outcome != one.outcome:
                continue
            if one.outcome is None and following.state == state.state:
                continue  # as if it had never happened
            key = done | 1 << at, following.state
            if key not in seen:
                seen.add(key)
                stack.append((key[0], following, [*order, one]))
    return best


def request_of(kind: int, action: int, key: int, new: int) -> Request:
    """PERSISTENT RESERVE OUT as the model has it."""
    return Request(action, kind, key=key, new=new)
