"""A connection's receiver and transmitter that report each PDU.

Both work on the state of the ones that they replace. So untraced connections pay nothing, and one
can replace the other between any two PDUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from scstfs.iscsi import pdu
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import Referred, Transmitter

Told: TypeAlias = Callable[[str, bytes], None]
"""``(direction, header)``: a PDU was ``received`` or will be ``sent``."""

RECEIVED: Final = "received"
SENT: Final = "sent"


class TracedReceiver(Receiver):
    """Reports each PDU that is received."""

    __slots__ = ("_told", "untraced")

    def __init__(self, receiver: Receiver, told: Told) -> None:
        """Replace ``receiver``."""
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
    """Reports each PDU that is queued."""

    __slots__ = ("_told", "untraced")

    def __init__(self, transmitter: Transmitter, told: Told) -> None:
        """Replace ``transmitter``."""
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
