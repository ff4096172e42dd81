"""A socket for iSCSI PDUs that records all of them. For tests."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from tests.support.iscsi_wire import Pdu, crc32c


class Stream(Protocol):
    """The part of a socket that is used here, so that a test can replace it."""

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, count: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> None: ...

    def gettimeout(self) -> float | None: ...

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...

    def close(self) -> None: ...


class ClosedError(Exception):
    """The target closed or reset the connection."""


@dataclass
class Record:
    """A PDU as sent or received; `raw` has the digests, too."""

    sent: bool
    pdu: Pdu
    raw: bytes


class Wire:
    """A socket for PDUs, and the record of them."""

    def __init__(self, sock: Stream, timeout: float = 5.0) -> None:
        self.sock = sock
        self.sock.settimeout(timeout)
        self.header_digest = False
        self.data_digest = False
        self.record: list[Record] = []
        self.complaints: list[str] = []

    def send_bytes(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ClosedError(str(error)) from None

    def encode(self, pdu: Pdu, *, spoil_header: bool = False, spoil_data: bool = False) -> bytes:
        head = bytes(pdu.header) + pdu.ahs
        body = pdu.data + bytes(-len(pdu.data) % 4)
        if self.header_digest:
            head += _spoil(crc32c(head), spoil_header)
        if self.data_digest and body:
            body += _spoil(crc32c(body), spoil_data)
        return head + body

    def send(self, pdu: Pdu, *, spoil_header: bool = False, spoil_data: bool = False) -> None:
        """Send a PDU; `spoil_*` flip a bit of the digest."""
        raw = self.encode(pdu, spoil_header=spoil_header, spoil_data=spoil_data)
        self.record.append(Record(True, pdu, raw))
        self.send_bytes(raw)

    def receive(self) -> Pdu:
        """Return the next PDU of any kind.

        Raises:
            ClosedError: the target closed the connection.
            TimeoutError: none came in time.
        """
        header = self._read(48)
        ahs = self._read(header[4] * 4)
        head = header + ahs
        raw = head
        if self.header_digest:
            raw += self._check(head, "header")
        length = int.from_bytes(header[5:8], "big")
        body = self._read((length + 3) & ~3)
        raw += body
        if self.data_digest and body:
            raw += self._check(body, "data")
        if any(body[length:]):
            self.complaints.append("padding is not zero")
        pdu = Pdu(header, body[:length], ahs)
        self.record.append(Record(False, pdu, raw))
        return pdu

    def _check(self, covered: bytes, what: str) -> bytes:
        digest = self._read(4)
        if digest != crc32c(covered):
            self.complaints.append(f"wrong {what} digest")
        return digest

    def _read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self.sock.recv(count - len(parts))
            except ConnectionResetError as error:
                raise ClosedError(str(error)) from None
            if not part:
                raise ClosedError(f"end of stream, {len(parts)} bytes of {count}")
            parts += part
        return bytes(parts)

    def received(self, opcode: int) -> list[Pdu]:
        """List the PDUs of a kind that came so far."""
        return [entry.pdu for entry in self.record if not entry.sent and entry.pdu.opcode == opcode]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_closed(self) -> list[Pdu]:
        """Read until the target closes; return the PDUs before that."""
        pdus = []
        with contextlib.suppress(ClosedError):
            while True:
                pdus.append(self.receive())
        return pdus


def _spoil(digest: bytes, wrong: bool) -> bytes:
    return bytes([digest[0] ^ 1]) + digest[1:] if wrong else digest
