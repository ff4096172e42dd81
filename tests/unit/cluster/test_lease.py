"""The lease and the fences that end with it."""

from __future__ import annotations

from scstfs.cluster.lease import Lease


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_fence_closes_before_etcd_thinks_that_the_lease_has_ended() -> None:
    clock = Clock()
    lease = Lease(1, 3, 100.0, clock)
    fence = lease.issue()
    clock.now = 102.69
    assert fence.is_open
    clock.now = 102.71
    assert not fence.is_open


def test_a_renewal_counts_from_when_it_was_sent() -> None:
    clock = Clock()
    lease = Lease(1, 3, 100.0, clock)
    fence = lease.issue()
    clock.now = 102.0
    assert lease.renewed(101.0)
    clock.now = 103.6
    assert fence.is_open
    clock.now = 103.8
    assert not fence.is_open


def test_a_renewal_that_comes_too_late_opens_nothing() -> None:
    clock = Clock()
    lease = Lease(1, 3, 100.0, clock)
    fence = lease.issue()
    clock.now = 160.0
    assert not lease.renewed(159.9)
    assert not fence.is_open
    assert not lease.fence.is_open
    assert not lease.renewed(160.0)


def test_a_fence_that_was_closed_stays_so() -> None:
    clock = Clock()
    lease = Lease(1, 3, 100.0, clock)
    given_up, other = lease.issue(), lease.issue()
    given_up.close()
    assert lease.renewed(100.5)
    assert other.is_open
    assert not given_up.is_open
