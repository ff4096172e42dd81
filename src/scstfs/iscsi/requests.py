"""Requests of an initiator in full-feature phase, as passed between a connection's parts."""

from __future__ import annotations

from typing import Final, NamedTuple

from scstfs.iscsi import pdu
from scstfs.iscsi.errors import ProtocolError, RejectReason

#: Least MaxRecvDataSegmentLength (RFC 7143 13.12); only the last segment need be shorter.
_LEAST_SEGMENT: Final = 512
#: Shorter segments that are kept all the same.
_SHORT_SEGMENTS: Final = 16


class Request(NamedTuple):
    """A PDU of the initiator: the buffer that its header is in, and where."""

    header: bytearray
    at: int
    ahs: bytes
    data: memoryview
    intact: bool
    """The data digest matched."""

    @property
    def itt(self) -> int:
        """The Initiator Task Tag, which is at the same place in all requests."""
        return int.from_bytes(self.header[self.at + 16 : self.at + 20], "big")

    @property
    def cmd_sn(self) -> int:
        """The CmdSN, which is at the same place in all requests that have one."""
        return int.from_bytes(self.header[self.at + 24 : self.at + 28], "big")

    def copy(self) -> Request:
        """A copy that stays valid when the buffers are reused."""
        header = bytearray(self.header[self.at : self.at + pdu.BHS_LENGTH])
        return Request(header, 0, self.ahs, memoryview(bytes(self.data)), self.intact)


class EarlyData:
    """Unsolicited data for a command that waits for its turn, in order."""

    __slots__ = ("_limit", "parts", "size")

    def __init__(self, limit: int) -> None:
        """``limit`` is how many bytes may come unsolicited (FirstBurstLength)."""
        self._limit = limit
        self.parts: list[Request] = []
        self.size = 0

    def add(self, request: Request) -> None:
        """Keep a copy of a Data-Out PDU; raises ProtocolError if there are too many."""
        self.size += len(request.data)
        if self.size > self._limit:
            raise ProtocolError("more unsolicited data than FirstBurstLength allows")
        if len(self.parts) > self._limit // _LEAST_SEGMENT + _SHORT_SEGMENTS:
            raise ProtocolError("unsolicited data in too many pieces, before the command's turn")
        self.parts.append(request.copy())


class Rejected(Exception):  # noqa: N818 - a decision about a request, not an error of ours
    """The request is answered by a Reject and otherwise ignored."""

    def __init__(self, reason: RejectReason, why: str) -> None:
        super().__init__(why)
        self.reason = reason
