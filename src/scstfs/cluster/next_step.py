"""What a node does next for an item: a decision from what it knows, and from nothing else.

A change is one transaction that puts the item's key if its revision is still the one that the
change was computed from.  Every node that serves the item then closes it, takes the new state over
and says so (`keys.Keys.user`); when all have, the item is *settled*: each opens it again, and the
node that wanted the change answers.  No node wants a change before the last one is settled.  So at
any time a node that serves an item is at most one change behind, and one of its own, which it says
with the transaction that it has taken over: it has closed the item before.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from scstfs.cluster.replica import ItemView


class NextStep(enum.Enum):
    """The next step."""

    WAIT = enum.auto()
    """Until something changes."""
    CREATE = enum.auto()
    """Put the item's key: there is none."""
    ADOPT = enum.auto()
    """Take over the present state."""
    JOIN = enum.auto()
    """Say that this node serves the item from now on, if that state is still the present one."""
    ACKNOWLEDGE = enum.auto()
    """Say that this node has taken the state over."""
    CONFIRM = enum.auto()
    """Tell what wanted the last change that it is settled."""
    PROPOSE = enum.auto()
    """Send the change that was computed."""
    COMPUTE = enum.auto()
    """Compute the next change that is wanted."""
    OPEN = enum.auto()
    """Start commands."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a node knows of itself.

    Attributes:
        lease: None without one.
        adopted: the change whose state it has.
        proposed_at: the item's revision that its proposal was computed from; None without one.
        is_committed: a change of its own has been adopted, and is not yet confirmed.
        is_wanted: changes are wanted.
        is_open: commands start.
    """

    node: str
    lease: int | None
    adopted: str | None
    proposed_at: int | None = None
    is_committed: bool = False
    is_wanted: bool = False
    is_open: bool = False


def next_step(item: ItemView, own: Situation) -> NextStep:
    """The next step of a node whose knowledge is complete."""
    if own.lease is None or item.problem:
        return NextStep.WAIT
    if item.record is None:
        return NextStep.CREATE
    current = item.record.change
    if own.adopted != current:
        return NextStep.ADOPT
    user = item.users.get(own.node)
    if user is None or user.lease != own.lease:
        return NextStep.JOIN
    if user.change != current:
        return NextStep.ACKNOWLEDGE
    if not item.is_settled:
        return NextStep.WAIT
    if own.is_committed:
        return NextStep.CONFIRM
    if own.proposed_at is not None and own.proposed_at == item.revision:
        return NextStep.PROPOSE
    if own.is_wanted:
        return NextStep.COMPUTE
    return NextStep.WAIT if own.is_open else NextStep.OPEN
