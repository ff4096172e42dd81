"""Unit attention conditions of an I_T_L nexus (SAM-5 5.14).

Each tgt_dev has a first-in first-out queue.  A condition that is already queued is not queued
again.  A *session-wide* one concerns all LUNs: when it is reported on one it disappears from all
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scstfs.core.gated import Gated
from scstfs.scsi.sense import Sense


@dataclass(frozen=True, slots=True)
class UnitAttention:
    """One queued condition, and whether it concerns the whole session."""

    sense: Sense
    session_wide: bool = False


class UnitAttentionQueue:
    """The pending conditions of one nexus, oldest first."""

    _queue: Gated[tuple[UnitAttention, ...]] = Gated(())

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[UnitAttention]:
        return iter(self._queue)

    def add(self, condition: UnitAttention, *, at_head: bool = False) -> None:
        """Queue ``condition`` unless an equal one is pending."""
        if any(pending.sense == condition.sense for pending in self._queue):
            return
        self._queue = (condition, *self._queue) if at_head else (*self._queue, condition)

    def take(self) -> UnitAttention:
        """Remove and return the oldest condition."""
        oldest, *others = self._queue
        self._queue = tuple(others)
        return oldest

    def discard(self, sense: Sense) -> None:
        """Forget a pending condition with this sense, if there is one."""
        self._queue = tuple(pending for pending in self._queue if pending.sense != sense)
