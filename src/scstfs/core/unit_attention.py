"""Unit attention conditions of an I_T_L nexus (SAM-5 5.14).

Each tgt_dev has a first-in first-out queue.  A condition that is already queued is not queued
again.  A *session-wide* one concerns all LUNs: when it is reported on one it disappears from all
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scstfs.scsi.sense import Sense


@dataclass(frozen=True, slots=True)
class UnitAttention:
    """One queued condition, and whether it concerns the whole session."""

    sense: Sense
    session_wide: bool = False


class UnitAttentionQueue:
    """The pending conditions of one nexus, oldest first."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: list[UnitAttention] = []

    def __bool__(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[UnitAttention]:
        return iter(self._queue)

    def add(self, condition: UnitAttention, *, at_head: bool = False) -> None:
        """Queue ``condition`` unless an equal one is pending."""
        if any(pending.sense == condition.sense for pending in self._queue):
            return
        self._queue.insert(0 if at_head else len(self._queue), condition)

    def take(self) -> UnitAttention:
        """Remove and return the oldest condition."""
        return self._queue.pop(0)

    def discard(self, sense: Sense) -> bool:
        """Forget a pending condition with this sense; returns whether there was one."""
        before = len(self._queue)
        self._queue = [pending for pending in self._queue if pending.sense != sense]
        return len(self._queue) < before
