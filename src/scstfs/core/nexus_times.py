"""How long the commands of a nexus take, and in sum those of a device.

Three times are kept for reads, writes and all other commands, each from the moment at which the
command was received:

- ``total``: until its answer is sent; in the general way, until the answer is laid out.
- ``first_data``: of reads, until their first data is sent or laid out.
- ``back_end``: only the part in which the store, a worker thread or a SCSI device has it. Commands
  that are answered from memory at once have no such part and are not counted there.

The fast path counts by batch: all commands of a batch were received at one moment and are sent at
one moment, so that a batch costs two looks at the clock and one entry for each nexus (``Batches``).
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from scstfs.core.histogram import Histogram

if TYPE_CHECKING:
    from scstfs.core.counters import DirectionCounter

READ: Final = "read"
WRITE: Final = "write"
OTHER: Final = "other"
KINDS: Final = (READ, WRITE, OTHER)

TOTAL: Final = "total"
FIRST_DATA: Final = "first_data"
BACK_END: Final = "back_end"


class NexusTimes:
    """The histograms of one nexus, or of all former ones of a device; made when first needed."""

    __slots__ = ("_general", "quick_reads", "quick_writes")

    def __init__(self) -> None:
        #: READs and WRITEs of the fast path: their total time, which for READs is also that until
        #: the first data.
        self.quick_reads: Histogram | None = None
        self.quick_writes: Histogram | None = None
        self._general: dict[tuple[str, str], Histogram] = {}

    def answered(self, duration: int, reads: int, writes: int) -> None:
        """Count commands of the fast path that took ``duration`` ns."""
        if reads:
            histogram = self.quick_reads
            if histogram is None:
                histogram = self.quick_reads = Histogram()
            histogram.add(duration, reads)
        if writes:
            histogram = self.quick_writes
            if histogram is None:
                histogram = self.quick_writes = Histogram()
            histogram.add(duration, writes)

    def from_disk(self, duration: int, *, is_read: bool) -> None:
        """Count a READ or WRITE that took ``duration`` ns, nearly all of it in the back end."""
        self.answered(duration, is_read, not is_read)
        self._count(READ if is_read else WRITE, BACK_END, duration)

    def ended(self, kind: str, total: int, back_end: int | None, *, has_data: bool) -> None:
        """Count a command of the general way that is about to be answered.

        ``total`` is its time in ns, ``back_end`` that in the back end, if it was there.
        """
        self._count(kind, TOTAL, total)
        if kind is READ and has_data:
            self._count(kind, FIRST_DATA, total)
        if back_end is not None:
            self._count(kind, BACK_END, back_end)

    def _count(self, kind: str, span: str, duration: int) -> None:
        histogram = self._general.get((kind, span))
        if histogram is None:
            histogram = self._general[kind, span] = Histogram()
        histogram.add(duration)

    def _parts(self) -> Iterator[tuple[tuple[str, str], Histogram]]:
        yield from self._general.items()
        if self.quick_reads is not None:
            yield (READ, TOTAL), self.quick_reads
            yield (READ, FIRST_DATA), self.quick_reads
        if self.quick_writes is not None:
            yield (WRITE, TOTAL), self.quick_writes

    def add_to(self, sums: dict[tuple[str, str], Histogram]) -> None:
        """Add the histograms, by kind and span, to ``sums``."""
        for key, histogram in self._parts():
            if key not in sums:
                sums[key] = Histogram()
            sums[key].merge(histogram)

    def counts(self) -> dict[str, tuple[int, int]]:
        """By kind: how many commands have ended, and the sum of their total times (ns)."""
        sums: dict[str, tuple[int, int]] = {}
        for (kind, span), histogram in self._parts():
            if span is TOTAL:
                count, total = sums.get(kind, (0, 0))
                sums[kind] = count + histogram.count, total + histogram.total
        return sums

    def merge(self, other: NexusTimes) -> None:
        """Count all that ``other`` has counted."""
        other.add_to(self._general)


class Batches:
    """What the fast path of a connection has answered, until it is sent."""

    __slots__ = ("received", "waiting")

    def __init__(self) -> None:
        #: When what is being worked off was received (ns, of time.perf_counter_ns).
        self.received = perf_counter_ns()
        #: Answers: the nexus, when its commands were received, how many READs and WRITEs.
        self.waiting: list[tuple[NexusTimes, int, int, int]] = []

    def add(
        self,
        times: NexusTimes,
        reads: DirectionCounter,
        writes: DirectionCounter,
        reads_before: int,
        writes_before: int,
    ) -> tuple[int, int]:
        """Commands of a nexus have been answered: those counted since ``reads_before`` and
        ``writes_before``. Returns what is counted now.
        """
        read, written = reads.cmds, writes.cmds
        if read != reads_before or written != writes_before:
            ended = times, self.received, read - reads_before, written - writes_before
            self.waiting.append(ended)
        return read, written

    def sent(self) -> int:
        """All answers have been sent: count them. Returns the time."""
        now = perf_counter_ns()
        if self.waiting:
            for times, began, reads, writes in self.waiting:
                if reads and times.quick_reads is not None and not writes:
                    times.quick_reads.add(now - began, reads)
                else:
                    times.answered(now - began, reads, writes)
            self.waiting.clear()
        return now
