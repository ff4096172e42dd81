"""The receiving side of a connection: a byte stream cut into PDUs (RFC 7143 11.2).

``buffers`` says where the next bytes of the stream should go, ``received`` how many came; ``next``
then finds one PDU after the other. Headers and small data segments stay where they arrived. A large
data segment that has only begun to arrive is redirected: its rest is received directly into its
final memory, so write data is not copied.

The memory is borrowed while something arrives (``scstfs.iscsi.chunks``); ``rest`` gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, TypeAlias

from fastcrc import crc32

from scstfs.iscsi import pdu
from scstfs.iscsi.chunks import NO_CHUNK, Chunk, Chunks
from scstfs.iscsi.errors import ProtocolError

#: Least rest of a data segment that is worth redirecting (bytes).
REDIRECT: Final = 16 * 1024

#: Most bytes of an incomplete PDU that are moved to separate memory.
_LITTLE: Final = 16 * 1024

_LENGTHS: Final = Struct(">I").unpack_from
_DIGEST: Final = Struct("<I").unpack_from
_NOTHING: Final = memoryview(b"")

#: ``(header, offset, data length) -> where the data goes``, None for wherever.
DataPlace: TypeAlias = Callable[[bytearray, int, int], memoryview | None]


class Receiver:
    """A connection's input.

    After ``next`` returned the offset of a header, ``header`` is the buffer it is in, ``ahs`` its
    additional header segments and ``data`` its data segment; they are valid until ``buffers`` or
    ``rest`` is called.  ``data_intact`` is False when the data digest did not match.
    """

    def __init__(self, max_data: int, chunks: Chunks | None = None) -> None:
        """``max_data`` is the MaxRecvDataSegmentLength declared to the peer (bytes).

        At most one chunk arrives between two calls of ``next``.
        """
        #: Says where a large data segment goes.
        self.place: DataPlace = _anywhere
        #: Told of what has a wrong digest, a ``header`` or ``data``.
        self.tell_spoilt: Callable[[str], None] = _ignore
        #: Bytes received so far.
        self.total = 0
        self.header_digest = False
        self.data_digest = False
        self.max_data = max_data
        self.data = _NOTHING
        self.ahs = b""
        self.data_intact = True
        self._chunks = Chunks() if chunks is None else chunks
        #: What was borrowed; None while resting.
        self._chunk: Chunk | None = None
        self._buffer, self._view = NO_CHUNK
        self.header = self._buffer
        self._start = 0
        self._end = 0
        self._redirected: _Redirected | None = None

    def release(self) -> None:
        """Give all memory back: the connection is over."""
        self.place = _anywhere
        self._redirected = None
        self._start = self._end = 0
        self.rest()

    def rest(self) -> None:
        """Give the chunk back unless much is in it: nothing is expected soon."""
        chunk, start, end = self._chunk, self._start, self._end
        if start == end:
            self._buffer, self._view = NO_CHUNK
        elif chunk is None or end - start > _LITTLE:
            return
        else:
            self._buffer = bytearray(self._view[start:end])
            self._view = memoryview(self._buffer)
        self._start, self._end = 0, end - start
        self.header, self.data = self._buffer, _NOTHING
        if chunk is not None:
            self._chunk = None
            self._chunks.give_back(chunk)

    # Filling

    def buffers(self) -> list[memoryview]:
        """Where the next bytes go, in order; never empty."""
        self._make_room()
        redirected = self._redirected
        if redirected is not None and redirected.missing:
            return [redirected.missing, self._view[self._end :]]
        return [self._view[self._end :]]

    def received(self, count: int) -> None:
        """``count`` bytes have been put into ``buffers``."""
        self.total += count
        redirected = self._redirected
        if redirected is not None and redirected.missing:
            taken = min(count, len(redirected.missing))
            redirected.missing = redirected.missing[taken:]
            count -= taken
        self._end += count

    def feed(self, data: bytes) -> None:
        """Append ``data``, which must fit, as if it had been received."""
        for buffer in self.buffers():
            part = data[: len(buffer)]
            buffer[: len(part)] = part
            data = data[len(part) :]
            self.received(len(part))
            if not data:
                return
        raise ValueError("more data than the buffer holds")

    @property
    def is_empty(self) -> bool:
        """Return whether no incomplete PDU is waiting for its rest."""
        return self._start == self._end and self._redirected is None

    def take_rest(self) -> bytes:
        """Take the bytes that arrived behind the last cut PDU."""
        rest = bytes(self._view[self._start : self._end])
        self._start = self._end = 0
        return rest

    def _make_room(self) -> None:
        if self._chunk is None:
            self._borrow()
        elif self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < REDIRECT:
            waiting = self._end - self._start
            self._view[:waiting] = self._view[self._start : self._end]
            self._start, self._end = 0, waiting

    def _borrow(self) -> None:
        self._chunk = buffer, view = self._chunks.take()
        waiting = self._end - self._start
        if waiting:
            view[:waiting] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, view
        self._start, self._end = 0, waiting

    # Cutting

    def next(self) -> int:
        """Offset of the next complete PDU's header in ``header``, -1 if there is none yet.

        Raises ProtocolError if the stream cannot be followed any further.
        """
        at = self._start
        if self._redirected is not None:
            return self._finish_redirected()
        available = self._end - at
        if available < pdu.BHS_LENGTH:
            return -1
        (lengths,) = _LENGTHS(self._buffer, at + 4)
        self.header = self._buffer
        if lengths == 0 and not self.header_digest:
            self._start = at + pdu.BHS_LENGTH
            self.data = _NOTHING
            self.ahs = b""
            self.data_intact = True
            return at
        return self._next_long(at, available, lengths)

    def window(self) -> tuple[bytearray, memoryview, int, int]:
        """The bytes that have arrived and have not been cut: buffer, view, start and end.

        Nothing (start and end are equal) while a data segment is received elsewhere.
        """
        end = self._start if self._redirected is not None else self._end
        return self._buffer, self._view, self._start, end

    def consume(self, start: int) -> None:
        """The caller has cut everything in the window before ``start``."""
        self._start = start

    def _next_long(self, at: int, available: int, lengths: int) -> int:
        data_length = lengths & pdu.DATA_LENGTH_MASK
        ahs_end = pdu.BHS_LENGTH + (lengths >> 24) * 4
        data_at = ahs_end + (pdu.DIGEST_LENGTH if self.header_digest else 0)
        if available < data_at:
            return -1
        if self.header_digest:
            self._check_header(at, ahs_end)
        if data_length > self.max_data:
            raise ProtocolError(
                f"data segment of {data_length} bytes, more than MaxRecvDataSegmentLength"
            )
        trailer = self._trailer(data_length)
        total = data_at + data_length + trailer
        if available < total:
            if self._worth_redirecting(total, available):
                self._redirect(at, ahs_end, data_at, data_length)
                return self._finish_redirected()
            return -1
        self.ahs = bytes(self._buffer[at + pdu.BHS_LENGTH : at + ahs_end]) if lengths >> 24 else b""
        self.data = self._view[at + data_at : at + data_at + data_length]
        self._start = at + total
        self.data_intact = True
        if data_length and self.data_digest:
            self._check_data(self.data, at + data_at + data_length, trailer)
        return at

    def _trailer(self, data_length: int) -> int:
        """Bytes behind a data segment: padding and digest."""
        digest = pdu.DIGEST_LENGTH if self.data_digest and data_length else 0
        return (-data_length & 3) + digest

    def _check_header(self, at: int, ahs_end: int) -> None:
        (digest,) = _DIGEST(self._buffer, at + ahs_end)
        if digest != crc32.iscsi(self._view[at : at + ahs_end]):
            self.tell_spoilt("header")
            raise ProtocolError("header digest does not match")

    def _check_data(self, data: memoryview, trailer_at: int, trailer: int) -> None:
        padding = self._view[trailer_at : trailer_at + trailer - pdu.DIGEST_LENGTH]
        (digest,) = _DIGEST(self._buffer, trailer_at + len(padding))
        self.data_intact = digest == crc32.iscsi(padding, crc32.iscsi(data))
        if not self.data_intact:
            self.tell_spoilt("data")

    # Redirected data segments

    def _worth_redirecting(self, total: int, available: int) -> bool:
        return total - available >= REDIRECT or total > self._chunks.size

    def _redirect(self, at: int, ahs_end: int, data_at: int, data_length: int) -> None:
        header = bytearray(self._view[at : at + ahs_end])
        target = self.place(header, 0, data_length)
        if target is None:
            target = memoryview(bytearray(data_length))
        present = self._view[at + data_at : min(self._end, at + data_at + data_length)]
        target[: len(present)] = present
        self._redirected = _Redirected(header, target, target[len(present) :])
        self._start = at + data_at + len(present)

    def _finish_redirected(self) -> int:
        redirected = self._redirected
        if redirected is None or redirected.missing:
            return -1
        trailer = self._trailer(len(redirected.data))
        if self._end - self._start < trailer:
            return -1
        self._redirected = None
        self.header = redirected.header
        self.ahs = bytes(redirected.header[pdu.BHS_LENGTH :])
        self.data = redirected.data
        self.data_intact = True
        if self.data_digest:
            self._check_data(self.data, self._start, trailer)
        self._start += trailer
        return 0


class _Redirected:
    """A data segment that is received directly into its final memory."""

    __slots__ = ("data", "header", "missing")

    def __init__(self, header: bytearray, data: memoryview, missing: memoryview) -> None:
        self.header = header
        self.data = data
        self.missing = missing


def _ignore(_part: str) -> None:
    """Wrong digests are not counted."""


def _anywhere(_header: bytearray, _at: int, _length: int) -> None:
    """No data segment is redirected."""
