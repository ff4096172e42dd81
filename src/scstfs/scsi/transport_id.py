"""TransportIDs: identifiers of initiator ports, for any transport (SPC-4 7.6.4)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

COMMON_LENGTH: Final = 24
_ISCSI_HEADER: Final = 4
_FORMAT_MASK: Final = 0xC0
_WITHOUT_ISID: Final = 0x00
_WITH_ISID: Final = 0x40


class Protocol(enum.IntEnum):
    """Protocol identifiers (SPC-4 table 476); COPY_MANAGER is SCST's own."""

    FIBRE_CHANNEL = 0x0
    PARALLEL_SCSI = 0x1
    SRP = 0x4
    ISCSI = 0x5
    SAS = 0x6
    COPY_MANAGER = 0xC


# Where the port's name is, for log messages.
_NAME_BYTES: Final = {
    Protocol.FIBRE_CHANNEL: slice(8, 16),
    Protocol.SRP: slice(8, 24),
    Protocol.SAS: slice(4, 12),
}


@dataclass(frozen=True, slots=True)
class TransportId:
    """A TransportID as its bytes: 24, or for iSCSI 4 plus its length field.

    Equality of objects is that of the bytes; ports are compared with `same_port`.
    """

    data: bytes

    @property
    def protocol(self) -> int:
        """The protocol identifier, which need not be one of `Protocol`."""
        return self.data[0] & 0x0F

    @property
    def wildcard(self) -> bool:
        """Whether this is an iSCSI name without ISID, which stands for all ports of that name."""
        return self.protocol == Protocol.ISCSI and self.data[0] & _FORMAT_MASK == _WITHOUT_ISID

    @property
    def text(self) -> str:
        """The port's name, as in SCST's log messages."""
        if self.protocol == Protocol.ISCSI:
            return _text(self.data[_ISCSI_HEADER:])
        if self.protocol == Protocol.COPY_MANAGER:
            return _text(self.data[2:])
        if self.protocol == Protocol.PARALLEL_SCSI:
            # Single bytes, taken for the upper halves of 16-bit numbers.
            return f"{self.data[2] << 8:x}:{self.data[6] << 8:x}"
        for protocol, name in _NAME_BYTES.items():
            if self.protocol == protocol:
                return self.data[name].hex(":")
        return f"(Not known protocol ID {self.protocol:x})"

    def same_port(self, other: TransportId) -> bool:
        """Whether both mean the same initiator port.

        iSCSI names are compared without regard to case, and if one of them has no ISID up to the
        comma before the other's; everything else byte by byte.
        """
        if self.protocol != other.protocol:
            return False
        if self.protocol != Protocol.ISCSI:
            return self.data[:COMMON_LENGTH] == other.data[:COMMON_LENGTH]
        formats = (self.data[0] & _FORMAT_MASK, other.data[0] & _FORMAT_MASK)
        if not set(formats) <= {_WITHOUT_ISID, _WITH_ISID}:
            return False
        names = [_c_string(port.data[_ISCSI_HEADER:]).lower() for port in (self, other)]
        if formats[0] != formats[1]:
            with_isid = formats.index(_WITH_ISID)
            name, comma, _ = names[with_isid].partition(b",")
            if not comma:
                return False
            names[with_isid] = name
        return names[0] == names[1]

    @classmethod
    def iscsi(cls, name: str, isid: bytes | None = None) -> TransportId:
        """Return the id of an iSCSI initiator; `isid` is the six bytes of the login.

        SCST writes the ISID as the hexadecimal number its bytes are in little-endian order.
        """
        text = name.encode()
        if isid is not None:
            text += b",i,0x%x" % int.from_bytes(isid, "little")
        text = text.ljust((len(text) + 4) & ~3, b"\0")
        form = _WITHOUT_ISID if isid is None else _WITH_ISID
        return cls(bytes((form | Protocol.ISCSI, 0)) + len(text).to_bytes(2, "big") + text)

    @classmethod
    def sas(cls, number: int) -> TransportId:
        """Return the id that SCST's local driver generates for its session number `number`."""
        address = bytes.fromhex("5feede400fade050")
        middle = 0x40 | (number >> 4 & 0x0F), 0x0F | (number & 0x0F) << 4
        address = address[:3] + bytes(middle) + address[5:]
        return cls(bytes((Protocol.SAS, 0, 0, 0)) + address.ljust(COMMON_LENGTH - 4, b"\0"))

    @classmethod
    def copy_manager(cls) -> TransportId:
        """Return the id of the copy manager's own session."""
        return cls((bytes((Protocol.COPY_MANAGER, 0)) + b"COPY_MGR").ljust(COMMON_LENGTH, b"\0"))


def transport_id_length(data: bytes) -> int:
    """Return the length that the TransportID at the beginning of `data` claims."""
    if data[:1] and data[0] & 0x0F == Protocol.ISCSI:
        return int.from_bytes(data[2:4].ljust(2, b"\0"), "big") + _ISCSI_HEADER
    return COMMON_LENGTH


def received(data: bytes) -> TransportId:
    """Return the TransportID at the start of a parameter list; an iSCSI name gets a final zero."""
    if data[0] & 0x0F == Protocol.ISCSI:
        data = data[:-1] + b"\0"
    return TransportId(bytes(data))


def _c_string(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _text(data: bytes) -> str:
    return _c_string(data).decode("utf-8", "backslashreplace")
