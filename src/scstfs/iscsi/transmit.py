"""The sending side of a connection: PDUs in the order of their StatSN, as few large buffers.

Headers and small data are laid out one after the other in a *chunk*, so that the replies to a whole
batch of commands leave in one piece.  It is borrowed while it holds data. Data elsewhere, in memory
or in a file, is queued by reference. Nothing here knows a socket: ``buffers`` returns what to send,
``sent`` reports how much was sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final, TypeAlias

from fastcrc import crc32

from scstfs.iscsi import chunks, pdu
from scstfs.iscsi.chunks import NO_CHUNK, Chunk, Chunks

#: Largest data PDU (bytes) that is laid out inside a chunk.
CHUNK_DATA: Final = chunks.SIZE - 64 * 1024

#: Bytes waiting to be sent, above which no further request should be processed.
HIGH_WATER: Final = 256 * 1024

#: Most buffers that one call of sendmsg(2) may take (IOV_MAX is 1024).
MAX_BUFFERS: Final = 512

#: Bytes that are enough for occasional PDUs. Many connections may send something at the same
#: moment, each only a little.
_FEW: Final = 4096

_OVERHEAD: Final = pdu.BHS_LENGTH + 2 * pdu.DIGEST_LENGTH + 3
_DIGEST: Final = Struct("<I")


class FilePart:
    """Bytes that are sent from a file by sendfile(2)."""

    __slots__ = ("fd", "length", "offset")

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.fd = fd
        self.offset = offset
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> FilePart:
        start, stop, _ = part.indices(self.length)
        return FilePart(self.fd, self.offset + start, stop - start)


Referred: TypeAlias = memoryview | FilePart
"""Data that is not copied."""


# Stands for an empty queue: an empty deque takes as much memory as one with some entries.
_NO_QUEUE: Final[deque[Referred]] = deque(maxlen=0)
_NO_RELEASES: Final[deque[tuple[int, Callable[[], None]]]] = deque(maxlen=0)


class Transmitter:
    """PDUs waiting to be sent on one connection."""

    def __init__(self, chunks: Chunks | None = None) -> None:
        self.header_digest = False
        self.data_digest = False
        #: Bytes laid out and not reported ``sent`` yet.
        self.pending = 0
        self._queue: deque[Referred] = _NO_QUEUE
        self._releases: deque[tuple[int, Callable[[], None]]] = _NO_RELEASES
        self._queued_total = 0
        #: Bytes sent so far.
        self.sent_total = 0
        self._chunks = Chunks() if chunks is None else chunks
        #: The chunk that PDUs are laid out in: the bytes between these are not queued yet.
        self._chunk, self._view = NO_CHUNK
        self._start = 0
        self._at = 0

    # Laying out PDUs

    def put(self, header: bytes, data: bytes | bytearray | memoryview = b"") -> None:
        """Queue one PDU; ``data`` is copied, so it should be small."""
        length = len(data)
        at = self._room(_OVERHEAD + length)
        chunk = self._chunk
        chunk[at : at + pdu.BHS_LENGTH] = header
        at += pdu.BHS_LENGTH
        if self.header_digest:
            _DIGEST.pack_into(chunk, at, crc32.iscsi(header))
            at += pdu.DIGEST_LENGTH
        if length:
            chunk[at : at + length] = data
            at = self._close_segment(at, length)
        self._advance(at)

    def put_reference(
        self, header: bytes, data: Referred, release: Callable[[], None] | None = None
    ) -> None:
        """Queue one PDU whose data stays where it is until ``release`` is called.

        Data in a file gets no digest.
        """
        at = self._room(_OVERHEAD)
        chunk = self._chunk
        chunk[at : at + pdu.BHS_LENGTH] = header
        at += pdu.BHS_LENGTH
        if self.header_digest:
            _DIGEST.pack_into(chunk, at, crc32.iscsi(header))
            at += pdu.DIGEST_LENGTH
        self.lay_out_with(at, data, release)
        tail = bytes(-len(data) & 3)
        if self.data_digest:
            assert not isinstance(data, FilePart)
            digest = crc32.iscsi(tail, crc32.iscsi(data))
            tail += _DIGEST.pack(digest)
        if tail:
            at = self._room(len(tail))
            self._chunk[at : at + len(tail)] = tail
            self._advance(at + len(tail))

    def window(self, least: int) -> tuple[bytearray, memoryview, int, int]:
        """Room for at least ``least`` bytes of PDUs: a chunk, a view of it, start and end.

        The caller may use it until it calls any other method; ``lay_out`` says how much was used.
        """
        if not self._chunk:
            self._hold(self._take(least))
        at = self._room(least)
        return self._chunk, self._view, at, len(self._chunk)

    def lay_out(self, end: int) -> None:
        """Queue what the caller laid out in the window before ``end``, whole PDUs."""
        self._advance(end)

    def lay_out_with(
        self, end: int, data: Referred, release: Callable[[], None] | None = None
    ) -> None:
        """Queue what was laid out before ``end`` and then ``data``; the window stays open.

        ``release`` is called when all of it has been sent.
        """
        self._advance(end)
        self._cut()
        self._enqueue(data)
        if release is not None:
            self.release_later(release)

    def put_frame(self, frame: memoryview) -> None:
        """Queue whole PDUs that are laid out elsewhere; see ``release_later``."""
        if self._at > self._start:
            self._cut()
        self._enqueue(frame)

    def release_later(self, release: Callable[[], None]) -> None:
        """Call ``release`` when all that has been queued so far has left."""
        if self._releases is _NO_RELEASES:
            self._releases = deque()
        self._releases.append((self._queued_total, release))

    # Sending

    @property
    def laid_out(self) -> memoryview | None:
        """All pending bytes, if they are in one piece and nothing has been queued."""
        return None if self._queue else self._view[self._start : self._at]

    @property
    def file_part(self) -> FilePart | None:
        """The next data to send, if it is in a file."""
        first = self._queue[0] if self._queue else None
        return first if isinstance(first, FilePart) else None

    def buffers(self) -> list[memoryview]:
        """The next buffers to send, in order, up to the first data in a file; may be empty."""
        self._cut()
        found: list[memoryview] = []
        for part in self._queue:
            if len(found) == MAX_BUFFERS or isinstance(part, FilePart):
                break
            found.append(part)
        return found

    def sent(self, count: int) -> None:
        """``count`` bytes of ``buffers``, or of ``laid_out``, have been sent."""
        self.pending -= count
        self.sent_total += count
        queue = self._queue
        if not queue:
            self._queued_total += count
            self._start += count
            count = 0
        while queue and count >= len(queue[0]):
            count -= len(queue.popleft())
        if count:
            queue[0] = queue[0][count:]
        releases = self._releases
        while releases and releases[0][0] <= self.sent_total:
            releases.popleft()[1]()
        if not self.pending:
            # All is sent: lay out from the start again, in memory that is in the cache.
            self._start = self._at = 0

    def rest(self) -> None:
        """Give the memory back unless something waits to be sent: nothing is expected soon."""
        if self._chunk and not self.pending:
            self._return(self._chunk, self._view)
            self._hold(NO_CHUNK)
            self._queue, self._releases = _NO_QUEUE, _NO_RELEASES

    def clear(self) -> None:
        """Drop everything that is queued; its memory may be reused."""
        self._queue.clear()
        while self._releases:
            self._releases.popleft()[1]()
        self._queued_total = self.sent_total
        self.pending = 0
        self._start = self._at = 0
        self.rest()

    # Chunks

    def _room(self, length: int) -> int:
        """Where the next ``length`` bytes can be laid out."""
        if self._at + length > len(self._chunk):
            first = not self._chunk
            if not first:
                self._cut()
                self.release_later(partial(self._return, self._chunk, self._view))
            self._hold(_private(_FEW) if first and length <= _FEW else self._take(length))
        return self._at

    def _hold(self, chunk: Chunk) -> None:
        self._chunk, self._view = chunk
        self._start = self._at = 0

    def _take(self, least: int) -> Chunk:
        return self._chunks.take() if least <= self._chunks.size else _private(least)

    def _return(self, memory: bytearray, view: memoryview) -> None:
        if len(memory) == self._chunks.size:
            self._chunks.give_back((memory, view))

    def _advance(self, at: int) -> None:
        self.pending += at - self._at
        self._at = at

    def _cut(self) -> None:
        """Move the laid-out bytes to the queue."""
        if self._at > self._start:
            self._enqueue(self._view[self._start : self._at])
            self.pending -= self._at - self._start
            self._start = self._at

    def _enqueue(self, part: Referred) -> None:
        if self._queue is _NO_QUEUE:
            self._queue = deque()
        self._queue.append(part)
        self._queued_total += len(part)
        self.pending += len(part)

    def _close_segment(self, at: int, length: int) -> int:
        """Pad and digest the data segment at ``at``; returns where it ends."""
        end = at + length
        padded = end + (-length & 3)
        if padded != end:
            self._chunk[end:padded] = bytes(padded - end)
        if self.data_digest:
            _DIGEST.pack_into(self._chunk, padded, crc32.iscsi(self._view[at:padded]))
            padded += pdu.DIGEST_LENGTH
        return padded


def _private(size: int) -> Chunk:
    """Memory that is not borrowed."""
    memory = bytearray(size)
    return memory, memoryview(memory)
