"""Until when this node may execute commands of a unit that other nodes serve, too.

Other nodes go on without a node from the moment that its lease has ended.  So a node that was
stopped, or cut off from the others, must not execute anything later than that, whatever it still
has to do: every command of a shared unit compares the clock with the deadline, right before its
blocks are moved.  What has been handed to the kernel by then cannot be taken back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from scstfs.scsi.status import Status, TaskStatus

if TYPE_CHECKING:
    from scstfs.core.quick import Loan, Move, Quick

Clock: TypeAlias = Callable[[], float]

#: Seconds since the machine was started.  Unlike CLOCK_MONOTONIC it goes on while the machine
#: sleeps, and nobody can set it.
boot_clock: Final[Clock] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class Fence:
    """Open until a deadline that is put off as long as the lease is renewed.

    A fence that was closed once stays so: whoever is late cannot know what others did meanwhile.
    """

    __slots__ = ("_guards", "clock", "deadline")

    def __init__(self, clock: Clock = boot_clock, deadline: float = -math.inf) -> None:
        self.clock: Final = clock
        #: By ``clock``.
        self.deadline = deadline
        self._guards: dict[object, Move] = {}

    @property
    def is_open(self) -> bool:
        """Commands may be executed now."""
        return self.clock() < self.deadline

    def extend(self, deadline: float) -> bool:
        """Put the deadline off; False if it has passed already, which stays so."""
        if not self.is_open:
            self.close()
            return False
        self.deadline = max(self.deadline, deadline)
        return True

    def close(self) -> None:
        """Execute nothing more."""
        self.deadline = -math.inf

    def run(self, work: Callable[[], object]) -> object:
        """What a worker thread does instead of ``work``; raises TaskStatus if it is too late."""
        if not self.is_open:
            raise TaskStatus(Status.BUSY)
        return work()

    def guard(self, quick: Quick) -> Quick:
        """The same way past the gates, which ends at the deadline."""
        read, write, lend = quick.read, quick.write, quick.lend
        return quick._replace(
            read=None if read is None else self._guarded(read),
            write=None if write is None else self._guarded(write),
            lend=_Lender(self, lend),
        )

    def _guarded(self, move: Move) -> Move:
        guard = self._guards.get(move)
        if guard is None:
            guard = self._guards[move] = self._make_guard(move)
        return guard

    def _make_guard(self, move: Move) -> Move:
        # Bound here: this is called for every command.
        now, boot = time.clock_gettime, time.CLOCK_BOOTTIME
        clock = self.clock

        def by_boot_clock(offset: int, memory: memoryview) -> bool:
            return now(boot) < self.deadline and move(offset, memory)

        def by_clock(offset: int, memory: memoryview) -> bool:
            return clock() < self.deadline and move(offset, memory)

        return by_boot_clock if clock is boot_clock else by_clock


class _Lender:
    """Lends what ``lend`` does until the deadline; equal to another of the same."""

    __slots__ = ("_fence", "_lend")

    def __init__(self, fence: Fence, lend: Callable[[int, int], Loan | None]) -> None:
        self._fence = fence
        self._lend = lend

    def __call__(self, offset: int, length: int) -> Loan | None:
        return self._lend(offset, length) if self._fence.is_open else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Lender) and (self._fence, self._lend) == (
            other._fence,
            other._lend,
        )

    def __hash__(self) -> int:
        return hash(self._lend)
