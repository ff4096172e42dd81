"""Random PERSISTENT RESERVE OUT commands of two initiators, and their possible results after a
crash.
"""

from __future__ import annotations

import copy
import random
from typing import NamedTuple

from scstfs.scsi.status import Status
from tests.support import reservations
from tests.support.model_reservations import ModelReservations, Refusal, Request, Triple
from tests.support.reservations import (
    APTPL,
    CLEAR,
    IGNORE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    TYPES,
    pr_out,
)

INITIATORS = 2
#: The answer if a change cannot be saved.
NOT_SAVED = (4, 0x44, 0)

_ACTIONS = (
    *(REGISTER, IGNORE, IGNORE, IGNORE, RESERVE, RESERVE),
    *(RELEASE, PREEMPT, PREEMPT_AND_ABORT, CLEAR),
)


class Seen(NamedTuple):
    """The data of PERSISTENT RESERVE IN: READ KEYS, READ RESERVATION, READ FULL STATUS."""

    keys: tuple[int, list[int]]
    reservation: tuple[int, int] | None
    #: Key, and whether it holds the reservation.
    full_status: list[tuple[int, bool]]

    @classmethod
    def decode(cls, keys: bytes, reservation: bytes, full_status: bytes) -> Seen:
        """From the data of all three."""
        return cls(
            reservations.read_keys(keys),
            reservations.read_reservation(reservation),
            [(r.key, r.holder) for r in reservations.read_full_status(full_status)],
        )

    @classmethod
    def of(cls, model: ModelReservations) -> Seen:
        """From a model."""
        kind, holder = model.kind, model.holder
        return cls(
            (model.generation, list(model.keys.values())),
            None if kind is None else (0 if holder is None else model.keys[holder], kind),
            [(key, model.holds(nexus)) for nexus, key in model.keys.items()],
        )


class Step(NamedTuple):
    """A command, the state after it, and its answer."""

    initiator: int
    cdb: bytes
    data: bytes
    after: ModelReservations
    status: Status
    sense: Triple | None


def step(chance: random.Random, model: ModelReservations) -> Step:
    """The next command of one of the initiators, mostly a sensible one."""
    initiator = chance.randrange(INITIATORS)
    own = model.keys.get(initiator, 0)
    request = Request(
        chance.choice(_ACTIONS if model.keys else (REGISTER, IGNORE)),
        kind=model.kind if model.kind and chance.random() < 0.5 else chance.choice(TYPES),
        key=own if chance.random() < 0.9 else 7,
        new=chance.choice((1, 2, 3, 0, *model.keys.values())),
        aptpl=chance.random() < 0.9,
    )
    flags = request.aptpl * APTPL
    cdb, data = pr_out(request.action, request.kind, key=request.key, new=request.new, flags=flags)
    after, status, sense = copy.deepcopy(model), Status.GOOD, None
    try:
        after.out(initiator, request)
    except Refusal as refusal:
        sense = refusal.sense
        status = Status.RESERVATION_CONFLICT if sense is None else Status.CHECK_CONDITION
        after = model
    return Step(initiator, cdb, data, after, status, sense)
