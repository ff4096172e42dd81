"""Write data of one command: immediate, unsolicited and solicited (RFC 7143 4.2.5.2, 11.7, 11.8).

A Transfer knows which bytes may come next and which R2Ts to send; it sends nothing itself. Data is
assembled in one buffer, in any order that the negotiated keys allow.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scstfs.iscsi.codes import RESERVED_TAG
from scstfs.iscsi.errors import ProtocolError, RejectReason

#: Gaps between pieces of data that came out of order, at most; a burst has fewer blocks.
_MOST_RANGES: Final = 4096


class TaskFault(enum.Enum):
    """Faults that end a task with CHECK CONDITION: key, ASC, ASCQ (RFC 7143 11.4.7.2).

    NO_MEMORY has no sense data: the answer to it is the status BUSY.
    """

    UNEXPECTED_UNSOLICITED_DATA = (0x0B, 0x0C, 0x0C)
    INCORRECT_AMOUNT_OF_DATA = (0x0B, 0x0C, 0x0D)
    PROTOCOL_SERVICE_CRC_ERROR = (0x0B, 0x47, 0x05)
    DATA_PHASE_ERROR = (0x0B, 0x4B, 0x00)
    NO_MEMORY = None


class DataFault(Exception):  # noqa: N818 - a property of the data, the task ends with it
    """A Data-Out PDU does not fit; the task ends with ``fault``."""

    def __init__(self, fault: TaskFault, why: str) -> None:
        super().__init__(why)
        self.fault = fault


@dataclass(slots=True)
class Sequence:
    """Data-Out PDUs that answer one R2T, or the unsolicited ones."""

    offset: int
    length: int
    received: int = 0
    next_data_sn: int = 0

    @property
    def end(self) -> int:
        """Offset behind the last byte that belongs to the sequence."""
        return self.offset + self.length


class Transfer:
    """Assembly of the write data of one command.

    It has no memory until ``open``. Without memory, or after ``discard``, data is received and
    dropped, and only whether more will come matters.
    """

    __slots__ = (
        "_abandoned",
        "_extents",
        "_filling",
        "_halted",
        "_next_offset",
        "_release",
        "_sequences",
        "buffer",
        "next_r2t_sn",
        "received",
        "total",
        "unsolicited",
        "wanted",
    )

    def __init__(self, *, first_burst: int, unsolicited: bool, in_order: bool) -> None:
        """``first_burst`` (bytes) limits unsolicited data, which may come if ``unsolicited``."""
        self.buffer = memoryview(b"")
        #: Bytes that the command needs, and how many of them have arrived.
        self.total = 0
        self.received = 0
        #: False once the data is not needed any more.
        self.wanted = True
        self.next_r2t_sn = 0
        #: The unsolicited sequence while more of it may come.
        self.unsolicited = Sequence(0, first_burst) if unsolicited else None
        self._extents = None if in_order else _Extents()
        self._sequences: dict[int, Sequence] = {}
        self._next_offset = 0
        self._release: Callable[[], None] = _nothing
        self._filling = False
        self._abandoned = False
        self._halted = False

    def open(self, buffer: memoryview, release: Callable[[], None]) -> None:
        """Assemble the data in ``buffer``, which is exactly as long as the command needs."""
        self.buffer, self._release = buffer, release
        self.total = len(buffer)

    @property
    def is_complete(self) -> bool:
        """Return whether all bytes have arrived and no more PDUs will come."""
        return self.received >= self.total and not self.awaits_data

    @property
    def awaits_data(self) -> bool:
        """Return whether the peer owes data, announced or requested."""
        return bool(self._sequences) or self.unsolicited is not None

    @property
    def outstanding(self) -> int:
        """R2Ts that have not been answered completely."""
        return len(self._sequences)

    @property
    def can_solicit(self) -> bool:
        """Return whether there are bytes that no R2T has requested."""
        return (
            self.unsolicited is None
            and self._next_offset < self.total
            and self.wanted
            and not self._halted
        )

    def put_immediate(self, data: memoryview) -> None:
        """Take the data segment of the command itself."""
        self._store(0, data)
        if self._extents is not None:
            self._extents.add(0, len(data))
        self._next_offset = len(data)
        if self.unsolicited is not None:
            self.unsolicited.received = len(data)

    def solicit(self, ttt: int, max_burst: int) -> Sequence:
        """Begin the sequence that an R2T with this Target Transfer Tag requests."""
        sequence = Sequence(self._next_offset, min(max_burst, self.total - self._next_offset))
        self._sequences[ttt] = sequence
        self._next_offset = sequence.end
        self.next_r2t_sn += 1
        return sequence

    def halt(self) -> None:
        """Request no more data: the command is about to be aborted."""
        self._halted = True

    def resume(self) -> None:
        """Undo ``halt``."""
        self._halted = False

    def place(self, ttt: int, offset: int, length: int) -> memoryview | None:
        """The memory that an arriving data segment may be received into, if any.

        The buffer is not given back meanwhile.
        """
        sequence = self._find(ttt)
        if sequence is None or not self.wanted or offset + length > self.total:
            return None
        if not sequence.offset <= offset <= sequence.end - length:
            return None
        self._filling = True
        return self.buffer[offset : offset + length]

    def placed(self) -> None:
        """Nothing is received directly any more."""
        self._filling = False
        if self._abandoned:
            self._abandoned = False
            self._give_back()

    def put(
        self,
        ttt: int,
        data_sn: int,
        offset: int,
        data: memoryview,
        *,
        final: bool,
        stored: bool = False,
    ) -> None:
        """Take one Data-Out PDU, whose data may be ``stored`` already where ``place`` said.

        Raises DataFault if it does not fit, and ProtocolError (a Reject) for an unknown tag. In
        both cases the end of a sequence (``final``) is noted.
        """
        sequence = self._find(ttt)
        if sequence is None:
            if ttt != RESERVED_TAG:
                raise ProtocolError(f"no R2T has the tag {ttt:08x}", RejectReason.INVALID_PDU_FIELD)
            raise DataFault(TaskFault.UNEXPECTED_UNSOLICITED_DATA, "data that was not requested")
        if final:
            self._end(ttt)
        if self.wanted:
            self._check(sequence, data_sn, offset, len(data))
            sequence.next_data_sn += 1
            sequence.received += len(data)
            self._store(offset, data, stored=stored)
            if final:
                self._check_end(sequence, solicited=ttt != RESERVED_TAG)

    def skip(self, ttt: int, *, final: bool) -> None:
        """Take a Data-Out PDU whose data is not used."""
        if final and self._find(ttt) is not None:
            self._end(ttt)

    def discard(self) -> None:
        """Give the memory back as soon as possible: the data is not needed any more."""
        self.wanted = False
        if self._filling:
            self._abandoned = True
        else:
            self._give_back()

    def _find(self, ttt: int) -> Sequence | None:
        return self.unsolicited if ttt == RESERVED_TAG else self._sequences.get(ttt)

    def _end(self, ttt: int) -> None:
        if ttt == RESERVED_TAG:
            self.unsolicited = None
        else:
            del self._sequences[ttt]

    def _check(self, sequence: Sequence, data_sn: int, offset: int, length: int) -> None:
        if data_sn != sequence.next_data_sn:
            # To be treated as the digest error that it must come from (RFC 7143 7.9).
            raise DataFault(
                TaskFault.PROTOCOL_SERVICE_CRC_ERROR,
                f"DataSN {data_sn} where {sequence.next_data_sn} is due",
            )
        if not sequence.offset <= offset <= sequence.end - length:
            raise DataFault(TaskFault.INCORRECT_AMOUNT_OF_DATA, "data outside its sequence")
        if self._extents is None:
            in_place = offset == sequence.offset + sequence.received
        else:
            in_place = self._extents.add(offset, offset + length)
        if not in_place:
            raise DataFault(TaskFault.DATA_PHASE_ERROR, f"data at {offset} is out of order")

    def _check_end(self, sequence: Sequence, *, solicited: bool) -> None:
        """Refuse a sequence that is too short, or has holes.

        Otherwise the rest of the buffer would be written to the disk as it is.
        """
        if not solicited:
            self._next_offset = sequence.received
            if self._extents is None or self._extents.is_one(sequence.received):
                return
        elif sequence.received == sequence.length:
            return
        raise DataFault(
            TaskFault.INCORRECT_AMOUNT_OF_DATA,
            f"{sequence.received} bytes do not make up the sequence of {sequence.length}",
        )

    def _store(self, offset: int, data: memoryview, *, stored: bool = False) -> None:
        # Data beyond what the command can use is received and dropped.
        wanted = data[: max(self.total - offset, 0)]
        if wanted and not stored:
            self.buffer[offset : offset + len(wanted)] = wanted
        self.received += len(wanted)

    def _give_back(self) -> None:
        release, self._release = self._release, _nothing
        self.buffer = memoryview(b"")
        release()


class _Extents:
    """The bytes that have arrived: disjoint ranges, in order."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> bool:
        """Add a range; False if it overlaps a present one, or there are too many gaps."""
        if start == end:
            return True
        ranges = self._ranges
        at = bisect_left(ranges, (start, end))
        if len(ranges) == _MOST_RANGES or (at < len(ranges) and ranges[at][0] < end):
            return False
        if at and ranges[at - 1][1] > start:
            return False
        if at < len(ranges) and ranges[at][0] == end:
            end = ranges.pop(at)[1]
        if at and ranges[at - 1][1] == start:
            at -= 1
            start = ranges.pop(at)[0]
        ranges.insert(at, (start, end))
        return True

    def is_one(self, length: int) -> bool:
        """Return whether they are the first ``length`` bytes without a gap."""
        return self._ranges == ([(0, length)] if length else [])


def _nothing() -> None:
    """Give back memory that was never taken."""
