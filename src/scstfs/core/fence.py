"""Until when this node may execute commands of a unit that other nodes serve, too.

Other nodes go on without a node from the moment that its lease has ended.  So a node that was
stopped, or cut off from the others, must not execute anything later than that, whatever it still
has to do: every command of a shared unit compares the clock with the deadline when it starts, and
again right before the system gets its blocks (``aio.deadline``).  What the system has by then
cannot be taken back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from scstfs.aio.deadline import Deadline
from scstfs.scsi.status import Status, TaskStatus

if TYPE_CHECKING:
    from scstfs.aio.request import DiskRequest
    from scstfs.core.quick import Loan, Quick, Submit, TryRead, TryWrite

G = TypeVar("G")

Clock: TypeAlias = Callable[[], float]

#: Seconds since the machine was started.  Unlike CLOCK_MONOTONIC it goes on while the machine
#: sleeps, and it cannot be set.
boot_clock: Final[Clock] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class Fence:
    """Open until a deadline that is put off as long as the lease is renewed.

    A fence that was closed once stays so: a node that is late cannot know what others did
    meanwhile.
    """

    def __init__(self, clock: Clock = boot_clock, deadline: float = -math.inf) -> None:
        self.clock: Final = clock
        self._native: Final = Deadline()
        self._deadline = -math.inf
        self._guards: dict[object, object] = {}
        self._set(deadline)

    @property
    def deadline(self) -> float:
        """When it closes, by ``clock``."""
        return self._deadline

    def _set(self, deadline: float) -> None:
        self._deadline = deadline
        # Another clock than the system's is a test's, which looks here.
        is_open = math.inf if deadline > -math.inf else deadline
        self._native.set(deadline if self.clock is boot_clock else is_open)

    @property
    def is_open(self) -> bool:
        """Commands may be executed now."""
        return self.clock() < self._deadline

    def extend(self, deadline: float) -> bool:
        """Put the deadline off; False if it has passed already, which stays so."""
        if not self.is_open:
            self.close()
            return False
        self._set(max(self._deadline, deadline))
        return True

    def close(self) -> None:
        """Execute nothing more."""
        self._set(-math.inf)

    def run(self, work: Callable[[], object]) -> object:
        """What a worker thread does instead of ``work``; raises TaskStatus if it is too late."""
        if not self.is_open:
            raise TaskStatus(Status.BUSY)
        return work()

    @property
    def address(self) -> int:
        """What requests refer to the deadline by (``DiskRequest.deadline``)."""
        return self._native.address

    def limit(self, request: DiskRequest) -> None:
        """Have ``request`` end with ETIME if the system has not got it before the deadline."""
        request.deadline = self.address

    def guard(self, quick: Quick) -> Quick:
        """The same way past the gates, which ends at the deadline."""
        return quick._replace(
            read=self._guard(quick.read, self._read),
            write=self._guard(quick.write, self._write),
            lend=self._guard(quick.lend, self._lend),
            submit_read=self._guard(quick.submit_read, self._submit),
            submit_write=self._guard(quick.submit_write, self._submit),
        )

    def _guard(self, function: G, make: Callable[[Any], Any]) -> G:
        """The guard of a function, the same one each time."""
        if function is None:
            return function
        key = make.__name__, function
        guard = self._guards.get(key)
        if guard is None:
            guard = self._guards[key] = make(function)
        return cast(G, guard)

    # These are called for every command: what does not change is bound.

    def _read(self, read: TryRead) -> TryRead:
        clock = self.clock

        def guarded(offset: int, memory: memoryview) -> bool:
            return clock() < self._deadline and read(offset, memory)

        return guarded

    def _write(self, write: TryWrite) -> TryWrite:
        clock, address = self.clock, self.address

        def guarded(
            offset: int, data: memoryview, *, stays: bool = False, deadline: int = address
        ) -> bool:
            return clock() < self._deadline and write(offset, data, stays=stays, deadline=deadline)

        return guarded

    def _lend(self, lend: Callable[[int, int], Loan | None]) -> Callable[[int, int], Loan | None]:
        def guarded(offset: int, length: int) -> Loan | None:
            return lend(offset, length) if self.is_open else None

        return guarded

    def _submit(self, submit: Submit) -> Submit:
        def guarded(request: DiskRequest) -> None:
            self.limit(request)
            submit(request)

        return guarded
