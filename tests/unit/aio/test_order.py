"""Which of two requests that change the same place comes first."""

from __future__ import annotations

import random

from scstfs.aio import DiskRequest, RequestKind
from scstfs.aio.order import WriteOrder

MIB = 1 << 20


class Begun:
    """Requests of one file, in the order in which they were begun."""

    def __init__(self) -> None:
        self.order = WriteOrder()
        self.requests: list[DiskRequest] = []

    def write(self, offset: int, length: int) -> DiskRequest:
        request = DiskRequest(RequestKind.ZERO, offset, length=length)
        self.order.enter(request, self.requests.append)
        return request


def test_what_does_not_overlap_waits_for_nothing() -> None:
    begun = Begun()
    requests = [begun.write(offset, 4096) for offset in (0, 4096, MIB, 16384, 100 * MIB)]
    assert begun.requests == requests
    for request in requests:
        request.end(0)
    assert not begun.order


def test_what_overlaps_waits_for_all_that_is_older() -> None:
    begun = Begun()
    first, second = begun.write(0, 4096), begun.write(8192, 4096)
    both = begun.write(0, 3 * 4096)
    after = begun.write(4096, 512)
    assert begun.requests == [first, second]
    first.end(0)
    assert begun.requests == [first, second]
    second.end(5)
    assert begun.requests == [first, second, both]
    both.end(0)
    assert begun.requests[-1] is after


def test_large_ranges_are_compared_too() -> None:
    begun = Begun()
    small, large = begun.write(70 * MIB, 512), begun.write(0, 100 * MIB)
    inside, outside = begun.write(50 * MIB, 512), begun.write(100 * MIB, 512)
    assert begun.requests == [small, outside]
    assert begun.order.has_overlap(1, 1)
    assert not begun.order.has_overlap(101 * MIB, 512)
    small.end(0)
    large.end(0)
    assert begun.requests == [small, outside, large, inside]


def test_what_is_cancelled_holds_nobody_up() -> None:
    begun = Begun()
    first, second, third = (begun.write(0, 512) for _ in range(3))
    second.is_canceled = True
    second.end(125)
    assert begun.requests == [first]
    first.end(0)
    assert begun.requests == [first, third]
    third.end(0)
    assert not begun.order


def test_any_requests_end_in_order_and_all_of_them() -> None:
    chance = random.Random(1)
    for _ in range(200):
        begun, made, ended = Begun(), [], []
        for _ in range(40):
            if chance.random() < 0.6:
                length = chance.choice((512, 4096, 256 << 10, 8 * MIB))
                made.append(begun.write(chance.randrange(0, 16 * MIB, 512), length))
            left = [request for request in begun.requests if request not in ended]
            if left and chance.random() < 0.5:
                ended.append(chance.choice(left))
                ended[-1].end(0)
        while len(ended) < len(made):
            ended.append(next(one for one in begun.requests if one not in ended))
            ended[-1].end(0)
        assert not begun.order
        for number, older in enumerate(made):
            for younger in made[number + 1 :]:
                is_apart = older.span[1] <= younger.span[0] or younger.span[1] <= older.span[0]
                assert is_apart or ended.index(older) < ended.index(younger)
