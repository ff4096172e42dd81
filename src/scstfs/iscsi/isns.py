"""Messages of the Internet Storage Name Service as a target needs them: RFC 4171.

A message is a 12-byte header and attributes, each a tag, a length and a value padded to a multiple
of four bytes; answers have a status before them. Messages longer than one PDU are sent as several,
told apart by their sequence numbers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple

from scstfs.iscsi.errors import ProtocolError

PORT: Final = 3205
VERSION: Final = 1
HEADER: Final = Struct(">HHHHHH")
"""version, function, payload length, flags, transaction, sequence (RFC 4171 5.1)."""
MAX_PAYLOAD: Final = 65532
"""Bytes after the header of one PDU: 16 bits, a multiple of four."""
MAX_MESSAGE: Final = 1024 * 1024
"""Most bytes in all PDUs of a message that we accept."""
RESPONSE: Final = 0x8000
"""Set in the function of every answer."""
ISCSI_PROTOCOL: Final = 2
"""Entity Protocol of iSCSI (RFC 4171 6.2.2)."""

_TLV: Final = Struct(">II")
_STATUS: Final = Struct(">I")


class Function(IntEnum):
    """Requests (RFC 4171 4.1.3); an answer has RESPONSE set."""

    DEV_ATTR_REG = 0x0001
    DEV_ATTR_QRY = 0x0002
    DEV_GET_NEXT = 0x0003
    DEV_DEREG = 0x0004
    SCN_REG = 0x0005
    SCN_DEREG = 0x0006
    SCN_EVENT = 0x0007
    SCN = 0x0008
    ESI = 0x000D
    HEARTBEAT = 0x000E


class IsnsFlag(IntFlag):
    """Header flags (RFC 4171 5.1.4)."""

    FROM_CLIENT = 0x8000
    FROM_SERVER = 0x4000
    AUTHENTICATION = 0x2000
    REPLACE = 0x1000
    LAST_PDU = 0x0800
    FIRST_PDU = 0x0400


class IsnsStatus(IntEnum):
    """Status of an answer (RFC 4171 5.4), those that matter to a client."""

    SUCCESS = 0
    UNKNOWN_ERROR = 1
    FORMAT_ERROR = 2
    INVALID_REGISTRATION = 3
    INVALID_QUERY = 5
    SOURCE_UNKNOWN = 6
    SOURCE_ABSENT = 7
    SOURCE_UNAUTHORIZED = 8
    NO_SUCH_ENTRY = 9
    VERSION_NOT_SUPPORTED = 10
    INTERNAL_ERROR = 11
    BUSY = 12
    MESSAGE_NOT_SUPPORTED = 15
    SCN_REGISTRATION_REJECTED = 17
    ESI_NOT_AVAILABLE = 21


class Tag(IntEnum):
    """Attributes (RFC 4171 6.1)."""

    DELIMITER = 0
    ENTITY_IDENTIFIER = 1
    ENTITY_PROTOCOL = 2
    TIMESTAMP = 4
    REGISTRATION_PERIOD = 6
    PORTAL_IP_ADDRESS = 16
    PORTAL_PORT = 17
    ESI_INTERVAL = 19
    ESI_PORT = 20
    SCN_PORT = 23
    ISCSI_NAME = 32
    ISCSI_NODE_TYPE = 33
    ISCSI_ALIAS = 34
    ISCSI_SCN_BITMAP = 35
    PORTAL_GROUP_TAG = 51


class NodeType(IntFlag):
    """iSCSI Node Type (RFC 4171 6.4.2)."""

    TARGET = 1
    INITIATOR = 2
    CONTROL = 4


class ScnEvent(IntFlag):
    """iSCSI SCN Bitmap (RFC 4171 6.4.4)."""

    DD_ADDED = 0x01
    DD_REMOVED = 0x02
    OBJECT_UPDATED = 0x04
    OBJECT_ADDED = 0x08
    OBJECT_REMOVED = 0x10
    MANAGEMENT = 0x20
    TARGET_AND_SELF_ONLY = 0x40
    INITIATOR_AND_SELF_ONLY = 0x80


class IsnsAttribute(NamedTuple):
    """A tag and its value; an empty value in a query asks for the attribute."""

    tag: int
    value: bytes = b""

    @property
    def text(self) -> str:
        """The value as a string, up to its NUL."""
        return self.value.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    @property
    def number(self) -> int | None:
        """The value as an unsigned 32-bit number, None if it has another length."""
        return int.from_bytes(self.value, "big") if len(self.value) == 4 else None


class PortalEntry(NamedTuple):
    """A portal as it is registered (RFC 4171 6.3)."""

    address: str
    """Numeric."""
    port: int
    scn_port: int | None = None
    """TCP port, at this address, for state change notifications."""
    esi_port: int | None = None
    """TCP port, at this address, for entity status inquiries."""
    esi_interval: int = 0
    """Requested interval of entity status inquiries in seconds."""


DELIMITER: Final = IsnsAttribute(Tag.DELIMITER)
"""Ends the message key of a request (RFC 4171 5.6)."""


@dataclass(frozen=True, slots=True)
class Message:
    """An iSNS message."""

    function: int
    transaction: int
    attributes: tuple[IsnsAttribute, ...] = ()
    status: int = IsnsStatus.SUCCESS
    """Of answers."""
    flags: IsnsFlag = IsnsFlag.FROM_CLIENT
    """Besides FIRST_PDU and LAST_PDU, which `encode` sets."""

    @property
    def is_response(self) -> bool:
        """An answer, with a status."""
        return bool(self.function & RESPONSE)

    def find(self, tag: int) -> IsnsAttribute | None:
        """Return the first attribute with this tag."""
        return next((attribute for attribute in self.attributes if attribute.tag == tag), None)


def text(tag: Tag, value: str) -> IsnsAttribute:
    """Make a string attribute: NUL-terminated."""
    return IsnsAttribute(tag, value.encode("utf-8", "surrogateescape") + b"\0")


def number(tag: Tag, value: int) -> IsnsAttribute:
    """Make a 32-bit attribute."""
    return IsnsAttribute(tag, value.to_bytes(4, "big"))


def address(tag: Tag, value: str) -> IsnsAttribute:
    """Make an IP address attribute: 16 bytes, IPv4 mapped into IPv6 (RFC 4171 6.3.1)."""
    parsed = ipaddress.ip_address(value.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return IsnsAttribute(tag, bytes(10) + b"\xff\xff" + parsed.packed)
    return IsnsAttribute(tag, parsed.packed)


def registration(
    transaction: int,
    *,
    source: str,
    entity: str,
    target: str,
    alias: str | None = None,
    portals: Sequence[PortalEntry] = (),
) -> Message:
    """Ask to register a target (DevAttrReg, RFC 4171 5.6.5.1).

    `source` is a registered name of ours, or this target's; `entity` names this machine. With
    `portals`, all that the server knows of the entity is replaced.
    """
    attributes = [
        text(Tag.ISCSI_NAME, source),
        text(Tag.ENTITY_IDENTIFIER, entity),
        DELIMITER,
        text(Tag.ENTITY_IDENTIFIER, entity),
    ]
    if portals:
        attributes.append(number(Tag.ENTITY_PROTOCOL, ISCSI_PROTOCOL))
    for portal in portals:
        attributes += _portal_attributes(portal)
    attributes.append(text(Tag.ISCSI_NAME, target))
    if alias is not None:
        attributes.append(text(Tag.ISCSI_ALIAS, alias))
    attributes.append(number(Tag.ISCSI_NODE_TYPE, NodeType.TARGET))
    flags = IsnsFlag.FROM_CLIENT | IsnsFlag.REPLACE if portals else IsnsFlag.FROM_CLIENT
    return Message(Function.DEV_ATTR_REG, transaction, tuple(attributes), flags=flags)


def _portal_attributes(portal: PortalEntry) -> Iterator[IsnsAttribute]:
    yield address(Tag.PORTAL_IP_ADDRESS, portal.address)
    yield number(Tag.PORTAL_PORT, portal.port)
    if portal.esi_port is not None:
        yield number(Tag.ESI_INTERVAL, portal.esi_interval)
        yield number(Tag.ESI_PORT, portal.esi_port)
    if portal.scn_port is not None:
        yield number(Tag.SCN_PORT, portal.scn_port)


def deregistration(transaction: int, *, source: str, what: IsnsAttribute) -> Message:
    """Ask to forget a target (its ISCSI_NAME) or all (ENTITY_IDENTIFIER) (DevDereg, 5.6.5.4)."""
    return Message(Function.DEV_DEREG, transaction, (text(Tag.ISCSI_NAME, source), DELIMITER, what))


def initiators_query(transaction: int, *, source: str) -> Message:
    """Ask which initiators share a discovery domain with the target `source` (DevAttrQry)."""
    return Message(
        Function.DEV_ATTR_QRY,
        transaction,
        (
            text(Tag.ISCSI_NAME, source),
            number(Tag.ISCSI_NODE_TYPE, NodeType.INITIATOR),
            DELIMITER,
            IsnsAttribute(Tag.ISCSI_NAME),
            IsnsAttribute(Tag.ISCSI_NODE_TYPE),
            IsnsAttribute(Tag.PORTAL_IP_ADDRESS),
        ),
    )


def initiators(answer: Message) -> list[str]:
    """List the names of initiators in the answer to `initiators_query`."""
    names = []
    name = ""
    for attribute in answer.attributes:
        if attribute.tag == Tag.ISCSI_NAME:
            name = attribute.text
        elif attribute.tag == Tag.ISCSI_NODE_TYPE and name:
            if attribute.number is not None and attribute.number & NodeType.INITIATOR:
                names.append(name)
            name = ""
    return names


def scn_registration(transaction: int, *, source: str, events: ScnEvent) -> Message:
    """Ask to be told of changes (SCNReg, RFC 4171 5.6.5.5)."""
    return Message(
        Function.SCN_REG,
        transaction,
        (
            text(Tag.ISCSI_NAME, source),
            text(Tag.ISCSI_NAME, source),
            DELIMITER,
            number(Tag.ISCSI_SCN_BITMAP, events),
        ),
    )


def scn_deregistration(transaction: int, *, source: str) -> Message:
    """Ask to be told no more (SCNDereg, RFC 4171 5.6.5.6)."""
    name = text(Tag.ISCSI_NAME, source)
    return Message(Function.SCN_DEREG, transaction, (name, name))


def reply(request: Message, attributes: Iterable[IsnsAttribute] = ()) -> Message:
    """Answer a request of the server: an SCN with our name, an ESI with what it holds."""
    return Message(request.function | RESPONSE, request.transaction, tuple(attributes))


def encode(message: Message) -> bytes:
    """Return the PDUs of a message, one after the other."""
    payload = b"".join(_encode_attributes(message.attributes))
    if message.is_response:
        payload = _STATUS.pack(message.status) + payload
    pieces = [
        payload[start : start + MAX_PAYLOAD] for start in range(0, len(payload), MAX_PAYLOAD)
    ] or [b""]
    pdus = []
    for sequence, piece in enumerate(pieces):
        flags = message.flags
        flags |= IsnsFlag.FIRST_PDU if sequence == 0 else IsnsFlag(0)
        flags |= IsnsFlag.LAST_PDU if sequence == len(pieces) - 1 else IsnsFlag(0)
        header = HEADER.pack(
            VERSION, message.function, len(piece), flags, message.transaction, sequence
        )
        pdus.append(header + piece)
    return b"".join(pdus)


def _encode_attributes(attributes: Iterable[IsnsAttribute]) -> Iterator[bytes]:
    for tag, value in attributes:
        padded = value + bytes(-len(value) & 3)
        yield _TLV.pack(tag, len(padded)) + padded


class Decoder:
    """Cuts a byte stream into messages."""

    __slots__ = ("_buffer", "_payload", "_sequence")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._payload = bytearray()
        self._sequence = 0

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes from the stream and return the messages that are complete now.

        Raises:
            ProtocolError: the stream is not iSNS; close the connection.
        """
        self._buffer += data
        messages = []
        while (pdu := self._next_pdu()) is not None:
            message = self._add_pdu(*pdu)
            if message is not None:
                messages.append(message)
        return messages

    def _next_pdu(self) -> tuple[bytes, bytes] | None:
        if len(self._buffer) < HEADER.size:
            return None
        end = HEADER.size + int.from_bytes(self._buffer[4:6], "big")
        if int.from_bytes(self._buffer[:2], "big") != VERSION or end & 3:
            raise ProtocolError("not an iSNS header")
        if len(self._buffer) < end:
            return None
        header, payload = bytes(self._buffer[: HEADER.size]), bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return header, payload

    def _add_pdu(self, header: bytes, payload: bytes) -> Message | None:
        _, function, _, flags, transaction, sequence = HEADER.unpack(header)
        if sequence != self._sequence or bool(flags & IsnsFlag.FIRST_PDU) != (sequence == 0):
            raise ProtocolError("iSNS PDU out of sequence")
        if len(self._payload) + len(payload) > MAX_MESSAGE:
            raise ProtocolError(f"iSNS message is longer than {MAX_MESSAGE} bytes")
        self._payload += payload
        self._sequence += 1
        if not flags & IsnsFlag.LAST_PDU:
            return None
        complete = bytes(self._payload)
        self._payload.clear()
        self._sequence = 0
        return _decode(function, transaction, IsnsFlag(flags & _OTHER_FLAGS), complete)


def _decode(function: int, transaction: int, flags: IsnsFlag, payload: bytes) -> Message:
    status = int(IsnsStatus.SUCCESS)
    offset = 0
    if function & RESPONSE:
        if len(payload) < _STATUS.size:
            raise ProtocolError("iSNS answer without a status")
        (status,) = _STATUS.unpack_from(payload)
        offset = _STATUS.size
    return Message(function, transaction, tuple(_decode_attributes(payload, offset)), status, flags)


def _decode_attributes(payload: bytes, offset: int) -> Iterator[IsnsAttribute]:
    while offset < len(payload):
        start = offset + _TLV.size
        if start > len(payload):
            raise ProtocolError("iSNS attribute is cut short")
        tag, length = _TLV.unpack_from(payload, offset)
        offset = start + length
        if offset > len(payload) or length & 3:
            raise ProtocolError("iSNS attribute with a wrong length")
        yield IsnsAttribute(tag, payload[start:offset])


_OTHER_FLAGS: Final = (
    IsnsFlag.FROM_CLIENT | IsnsFlag.FROM_SERVER | IsnsFlag.AUTHENTICATION | IsnsFlag.REPLACE
)
