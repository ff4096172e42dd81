"""A connection's receiver and transmitter for while somebody wants to hear of each PDU.

Both work on the state of those that they stand in for.  So nothing is in the way of PDUs that
nobody wants to hear of, and one can take the other's place between any two PDUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from scstfs.iscsi import pdu
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import Referred, Transmitter

Told: TypeAlias = Callable[[str, bytes], None]
"""``(direction, header)``: a PDU was ``received`` or is to be ``sent``."""

RECEIVED: Final = "received"
SENT: Final = "sent"


class TracedReceiver(Receiver):
    """Tells of each PDU that is cut."""

    __slots__ = ("_told", "untraced")

    def __init__(self, receiver: Receiver, told: Told) -> None:
        """Stand in for ``receiver``."""
        self.__dict__ = receiver.__dict__
        self.untraced = receiver
        self._told = told

    def next(self) -> int:
        """See Receiver."""
        at = super().next()
        if at >= 0:
            self._told(RECEIVED, bytes(self.header[at : at + pdu.BHS_LENGTH]))
        return at


class TracedTransmitter(Transmitter):
    """Tells of each PDU that is queued."""

    __slots__ = ("_told", "untraced")

    def __init__(self, transmitter: Transmitter, told: Told) -> None:
        """Stand in for ``transmitter``."""
        self.__dict__ = transmitter.__dict__
        self.untraced = transmitter
        self._told = told

    def put(self, header: bytes, data: bytes | bytearray | memoryview = b"") -> None:
        """See Transmitter."""
        self._told(SENT, header)
        super().put(header, data)

    def put_reference(
        self, header: bytes, data: Referred, release: Callable[[], None] | None = None
    ) -> None:
        """See Transmitter."""
        self._told(SENT, header)
        super().put_reference(header, data, release)
