"""Text Requests and Responses of the full feature phase (RFC 7143 6.2, 6.4, 11.10, 11.11).

Text may be cut anywhere over several PDUs, in either direction.  There is one exchange at a time
on a connection; a request with the reserved Target Transfer Tag begins a new one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from scstfs.iscsi.codes import CONTINUE, FINAL, RESERVED_TAG
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.host import Host, TextNegotiation
from scstfs.iscsi.pdu import TextRequest
from scstfs.iscsi.text_format import Assembler

#: There is one exchange at a time, so one tag is enough.
_TAG: Final = 0


class TextPart(NamedTuple):
    """The contents of a Text Response."""

    ttt: int
    flags: int
    data: bytes


class TextExchange:
    """The exchanges of a connection, one after the other."""

    __slots__ = ("_host", "_itt", "_left", "_negotiation", "_received")

    def __init__(self, host: Host) -> None:
        self._host = host
        self.reset()

    def reset(self) -> None:
        """Drop the present exchange; it has failed."""
        self._negotiation: TextNegotiation | None = None
        self._itt = RESERVED_TAG
        self._received = Assembler()
        #: The rest of an answer that did not fit into one PDU.
        self._left = b""

    def receive(self, request: TextRequest, data: memoryview, limit: int) -> TextPart:
        """Answer a request whose data segment is ``data``, with at most ``limit`` bytes.

        Raises ProtocolError, to be answered by a Reject; the exchange is over then.
        """
        try:
            return self._receive(request, data, limit)
        except ProtocolError:
            self.reset()
            raise

    def _receive(self, request: TextRequest, data: memoryview, limit: int) -> TextPart:
        more, final = bool(request.flags & CONTINUE), bool(request.flags & FINAL)
        if more and final:
            raise ProtocolError("a text request that is final and continues")
        negotiation = self._join(request)
        if self._left:
            if data or more:
                raise ProtocolError("text in the middle of our answer")
        else:
            text = self._received.add(data, more=more)
            if text is None:
                return TextPart(_TAG, 0, b"")
            self._left = negotiation.answer(text)
        part, self._left = self._left[:limit], self._left[limit:]
        if self._left:
            return TextPart(_TAG, CONTINUE, part)
        if not final:
            return TextPart(_TAG, 0, part)
        self.reset()
        negotiation.conclude()
        return TextPart(RESERVED_TAG, FINAL, part)

    def _join(self, request: TextRequest) -> TextNegotiation:
        """Begin an exchange, unless the request belongs to the present one."""
        if request.ttt == RESERVED_TAG:
            self.reset()
            self._itt = request.itt
            self._negotiation = self._host.negotiate()
        elif request.ttt != _TAG or request.itt != self._itt:
            raise ProtocolError("text for no exchange", RejectReason.INVALID_PDU_FIELD)
        if self._negotiation is None or request.itt == RESERVED_TAG:
            raise ProtocolError("text for no task", RejectReason.INVALID_PDU_FIELD)
        return self._negotiation
