"""The file format of persistent reservations (``pr/NAME``), SCST's version 1.

========  ====  ==============================================================================
offset    size  contents
========  ====  ==============================================================================
0         8     signature 0xBBEEEEAAEEBBDD77, little endian
8         8     version 1, little endian
16        1     APTPL
17        1     a reservation exists
18        1     its type, 0xff if there is none
19        1     its scope
20        …     per registrant: 1 byte "holds the reservation" (0 for all-registrants types),
                the TransportID (24 bytes, or 4 + its length field for iSCSI), the key (8 bytes
                as the initiator sent them), the relative target port (2 bytes, little endian)
========  ====  ==============================================================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SIGNATURE: Final = (0xBBEEEEAAEEBBDD77).to_bytes(8, "little")
VERSION: Final = (1).to_bytes(8, "little")
MAX_SIZE: Final = 15 << 20
NO_TYPE: Final = 0xFF

#: Reservation types (SPC-4 table 61): those with one holder, and those all registrants hold.
_SINGLE_HOLDER: Final = frozenset({0x1, 0x3, 0x5, 0x6})
_TYPES: Final = _SINGLE_HOLDER | {0x7, 0x8}

_HEADER: Final = struct.Struct("<8s8sBBBB")
_TAIL: Final = struct.Struct("<8sH")
_TRANSPORT_ID_SIZE: Final = 24
_ISCSI: Final = 5


class DamagedFile(Exception):  # noqa: N818 - it describes the file, not the reader
    """The bytes are not a complete file of this format."""


@dataclass(frozen=True, slots=True)
class SavedRegistrant:
    """One registration."""

    transport_id: bytes
    rel_tgt_id: int
    key: bytes
    is_holder: bool


@dataclass(frozen=True, slots=True)
class SavedReservations:
    """The contents of the file."""

    aptpl: bool
    #: Type and scope of the reservation, None without one.
    reservation: tuple[int, int] | None
    registrants: tuple[SavedRegistrant, ...]

    @property
    def is_kept(self) -> bool:
        """Whether there is a file: without APTPL or registrations there is none."""
        return self.aptpl and bool(self.registrants)


def encode(saved: SavedReservations) -> bytes:
    """The file's bytes."""
    kind, scope = saved.reservation or (NO_TYPE, 0)
    parts = [
        _HEADER.pack(SIGNATURE, VERSION, saved.aptpl, saved.reservation is not None, kind, scope)
    ]
    for registrant in saved.registrants:
        parts.append(bytes([registrant.is_holder]))
        parts.append(registrant.transport_id)
        parts.append(_TAIL.pack(registrant.key, registrant.rel_tgt_id))
    return b"".join(parts)


def decode(data: bytes) -> SavedReservations:
    """Decode the file's bytes; raises DamagedFile.

    As in SCST a single trailing byte is ignored.  Contents that SCST never writes are damage, too:
    two registrations of one nexus, or a reservation without the holder that its type needs.
    """
    if not _HEADER.size <= len(data) < MAX_SIZE:
        raise DamagedFile(f"impossible size of {len(data)} bytes")
    signature, version, aptpl, is_set, kind, scope = _HEADER.unpack_from(data)
    if signature != SIGNATURE:
        raise DamagedFile(f"wrong signature {signature.hex()}")
    if version != VERSION:
        raise DamagedFile(f"unknown version {int.from_bytes(version, 'little')}")
    if is_set and kind not in _TYPES:
        raise DamagedFile(f"unknown reservation type {kind}")
    registrants = []
    position = _HEADER.size
    while position + 1 < len(data):
        registrant, position = _decode_registrant(data, position)
        registrants.append(registrant)
    if is_set and kind in _SINGLE_HOLDER and not any(r.is_holder for r in registrants):
        raise DamagedFile("the reservation has no holder")
    if len({(r.transport_id, r.rel_tgt_id) for r in registrants}) < len(registrants):
        raise DamagedFile("a nexus is registered twice")
    reservation = (kind, scope) if is_set else None
    return SavedReservations(bool(aptpl), reservation, tuple(registrants))


def _decode_registrant(data: bytes, position: int) -> tuple[SavedRegistrant, int]:
    start = position + 1
    header = data[start : start + 4].ljust(4, b"\0")
    size = _TRANSPORT_ID_SIZE
    if header[0] & 0x0F == _ISCSI:
        size = 4 + int.from_bytes(header[2:4], "big")
    end = start + size + _TAIL.size
    if end > len(data):
        raise DamagedFile("a registration runs over the end")
    key, rel_tgt_id = _TAIL.unpack_from(data, start + size)
    return SavedRegistrant(data[start : start + size], rel_tgt_id, key, data[position] != 0), end
