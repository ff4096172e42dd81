"""Writes to the same place take effect in the order in which they were begun.

SAM leaves the order of simple commands that overlap to the target, and initiators that care do not
send them together.  But what is written at once, in the event loop, would overtake what a disk was
given before, and be overwritten by it after it was acknowledged.  A write that overlaps an older
one therefore waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scstfs.aio.request import DiskRequest

#: log2 of the bytes by which ranges are found again.
_SHIFT: Final = 16
#: A range of more such pieces is compared with each that begins.
_MOST_PIECES: Final = 64


class WriteOrder:
    """The requests that change one file and have not ended."""

    __slots__ = ("large", "pieces")

    def __init__(self) -> None:
        #: By where they are; code in a hurry looks whether there are any at all.
        self.pieces: dict[int, list[DiskRequest]] = {}
        self.large: list[DiskRequest] = []

    def __bool__(self) -> bool:
        return bool(self.pieces or self.large)

    def has_overlap(self, offset: int, length: int) -> bool:
        """Something that has not ended changes a range."""
        return bool(self) and any(True for _ in self._overlapping(offset, offset + length))

    def enter(self, request: DiskRequest, begin: Callable[[DiskRequest], None]) -> None:
        """Have ``begin`` called with ``request`` as soon as it may begin, maybe at once."""
        start, end = request.offset, request.offset + request.length
        if start == end:
            begin(request)
            return
        older = dict.fromkeys(self._overlapping(start, end)) if self else ()
        request.order, request.span, request.begin = self, (start, end), begin
        for lists in self._lists(start, end):
            lists.append(request)
        if older:
            request.ahead = len(older)
            for other in older:
                other.followers = (*other.followers, request)
        else:
            begin(request)

    def leave(self, request: DiskRequest) -> None:
        """``request`` has ended; what waited for it alone begins."""
        start, end = request.span
        if (end - 1 >> _SHIFT) - (start >> _SHIFT) >= _MOST_PIECES:
            self.large.remove(request)
        else:
            for piece in range(start >> _SHIFT, (end - 1 >> _SHIFT) + 1):
                there = self.pieces[piece]
                if len(there) == 1:
                    del self.pieces[piece]
                else:
                    there.remove(request)
        followers, request.followers = request.followers, ()
        for follower in followers:
            follower.ahead -= 1
            if not follower.ahead and not follower.is_canceled:
                follower.begin(follower)

    def _lists(self, start: int, end: int) -> Iterable[list[DiskRequest]]:
        """Where a range is to be found."""
        first, last = start >> _SHIFT, end - 1 >> _SHIFT
        if last - first >= _MOST_PIECES:
            return (self.large,)
        return [self.pieces.setdefault(piece, []) for piece in range(first, last + 1)]

    def _overlapping(self, start: int, end: int) -> Iterator[DiskRequest]:
        """What changes a part of a range; some of it more than once."""
        first, last = start >> _SHIFT, end - 1 >> _SHIFT
        pieces = self.pieces
        if last - first >= _MOST_PIECES:
            there = chain(self.large, *pieces.values())
        else:
            found = (pieces[piece] for piece in range(first, last + 1) if piece in pieces)
            there = chain(self.large, *found)
        for other in there:
            if start < other.span[1] and other.span[0] < end:
                yield other
