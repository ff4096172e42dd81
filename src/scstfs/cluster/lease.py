"""A node's lease, and the fences that end with it.

etcd counts the lease's time from when it handles a request, which is after the request was sent.
So a node that counts from before it sends always thinks that its time is over before etcd does.
"""

from __future__ import annotations

from typing import Final

from scstfs.core.fence import Clock, Fence

#: Part of the time to live that a node does without, for clocks that do not go equally fast and
#: commands that have passed the fence but not yet reached the kernel.
MARGIN: Final = 0.1
#: How often the lease is renewed in its time to live.
RENEWALS: Final = 6


class Lease:
    """A lease that was asked for at ``since``."""

    def __init__(self, number: int, ttl: int, since: float, clock: Clock) -> None:
        """``ttl``: in seconds, as etcd has granted it."""
        self.number: Final = number
        self.ttl: Final = ttl
        self._clock: Final = clock
        self.fence: Final = Fence(clock, self._deadline(since))
        self._issued: list[Fence] = []

    def _deadline(self, since: float) -> float:
        return since + self.ttl * (1 - MARGIN)

    @property
    def left(self) -> float:
        """Seconds until the node must stop, if nothing happens; may be negative."""
        return self.fence.deadline - self._clock()

    @property
    def interval(self) -> float:
        """Seconds between two renewals."""
        return self.ttl / RENEWALS

    def renewed(self, since: float) -> bool:
        """It was renewed by a request sent at ``since``; False if that came too late."""
        if not self.fence.extend(self._deadline(since)):
            self.end()
            return False
        self._issued = [fence for fence in self._issued if fence.extend(self.fence.deadline)]
        return True

    def issue(self) -> Fence:
        """A new fence that ends with the lease, or before."""
        fence = Fence(self._clock, self.fence.deadline)
        self._issued.append(fence)
        return fence

    def end(self) -> None:
        """Close all fences."""
        for fence in (self.fence, *self._issued):
            fence.close()
        self._issued.clear()
