"""The state of a logical unit that several nodes serve, as it is kept for all of them.

The reservations are the bytes of ``pr/NAME`` (`persist.reservations`); JSON holds them together
with what a file does not need: the generation, SPC-2's RESERVE, and what the last change means for
nexuses that are connected to other nodes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from scstfs.persist import reservations
from scstfs.persist.reservations import DamagedFile, SavedReservations

NOTHING_SAVED: Final = SavedReservations(aptpl=False, reservation=None, registrants=())

SenseTriple = tuple[int, int, int]


class NexusEffect(NamedTuple):
    """What a change means for an I_T nexus.

    Attributes:
        transport_id, rel_tgt_id: its ports.
        condition: a unit attention (sense key, ASC, ASCQ), or None: its commands are aborted.
    """

    transport_id: bytes
    rel_tgt_id: int
    condition: SenseTriple | None


class ReservedBy(NamedTuple):
    """The holder of a reservation by RESERVE (SPC-2 5.5.1).

    Attributes:
        node: to which it is connected.
        nexus: what that node calls it.
    """

    node: str
    nexus: str


@dataclass(frozen=True, slots=True)
class UnitState:
    """What is the same for all nodes; ``effects`` and ``is_reset`` are of the last change.

    ``atomic_at`` is the node that may execute atomic commands, such as COMPARE AND WRITE.
    """

    reservations: SavedReservations = NOTHING_SAVED
    generation: int = 0
    reserved_by: ReservedBy | None = None
    atomic_at: str | None = None
    effects: tuple[NexusEffect, ...] = ()
    #: The last change is a logical unit reset.
    is_reset: bool = False

    @property
    def lasting(self) -> UnitState:
        """What lasts longer than the change."""
        return replace(self, effects=(), is_reset=False)


def encode(state: UnitState) -> dict[str, Any]:
    """The state as JSON has it."""
    return {
        "reservations": _text(reservations.encode(state.reservations)),
        "generation": state.generation,
        "reserved_by": None if state.reserved_by is None else list(state.reserved_by),
        "atomic_at": state.atomic_at,
        "effects": [
            [_text(effect.transport_id), effect.rel_tgt_id, effect.condition]
            for effect in state.effects
        ],
        "is_reset": state.is_reset,
    }


def decode(data: Mapping[str, Any]) -> UnitState:
    """Decode what `encode` made; raises ValueError."""
    try:
        holder = data["reserved_by"]
        return UnitState(
            reservations.decode(base64.b64decode(data["reservations"])),
            int(data["generation"]),
            None if holder is None else ReservedBy(*map(str, holder)),
            None if data["atomic_at"] is None else str(data["atomic_at"]),
            tuple(map(_effect, data["effects"])),
            bool(data["is_reset"]),
        )
    except (DamagedFile, KeyError, TypeError) as error:
        raise ValueError(f"no state of a unit: {error!r}") from error


def _effect(data: Any) -> NexusEffect:
    transport_id, rel_tgt_id, condition = data
    triple = None
    if condition is not None:
        key, asc, ascq = map(int, condition)
        triple = key, asc, ascq
    return NexusEffect(base64.b64decode(transport_id), int(rel_tgt_id), triple)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
