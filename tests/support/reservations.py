"""PERSISTENT RESERVE OUT and IN as initiators write and read them (SPC-4 6.15, 6.16)."""

from __future__ import annotations

import struct
from typing import NamedTuple

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE, MOVE = range(8)
KEYS, RESERVATION, CAPABILITIES, FULL_STATUS = range(4)

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = TYPES = (1, 3, 5, 6, 7, 8)

APTPL, ALL_TG_PT, SPEC_I_PT = 0x01, 0x04, 0x08


def pr_out(
    action: int,
    kind: int = 0,
    *,
    key: int = 0,
    new: int = 0,
    flags: int = 0,
    scope: int = 0,
    length: int | None = None,
    ports: bytes | None = None,
) -> tuple[bytes, bytes]:
    """CDB and parameter list.

    Args:
        key: the reservation key.
        new: the service action reservation key.
        flags: byte 20.
        length: of the parameter list, None for the correct one.
        ports: TransportIDs of SPEC_I_PT.
    """
    data = struct.pack(">QQ4xB3x", key, new, flags)
    if ports is not None:
        data += struct.pack(">I", len(ports)) + ports
    return _cdb(action, scope << 4 | kind, len(data) if length is None else length), data


def move(
    transport_id: bytes, rel_tgt_id: int, *, key: int, new: int, unreg: bool = False, aptpl: bool
) -> tuple[bytes, bytes]:
    """REGISTER AND MOVE."""
    flags = unreg << 1 | aptpl
    data = struct.pack(">QQxBHI", key, new, flags, rel_tgt_id, len(transport_id)) + transport_id
    return _cdb(MOVE, 0, len(data)), data


def _cdb(action: int, scope_and_type: int, length: int) -> bytes:
    return struct.pack(">BBB2xIx", 0x5F, action, scope_and_type, length)


def pr_in(action: int, length: int = 4096) -> bytes:
    """CDB of PERSISTENT RESERVE IN."""
    return struct.pack(">BB5xHx", 0x5E, action, length)


class Registration(NamedTuple):
    """A full status descriptor."""

    key: int
    holder: bool
    scope_and_type: int
    rel_tgt_id: int
    transport_id: bytes


def read_keys(data: bytes) -> tuple[int, list[int]]:
    """Generation and keys."""
    generation, length = struct.unpack_from(">II", data)
    assert len(data) == 8 + length
    return generation, [key for (key,) in struct.iter_unpack(">Q", data[8:])]


def read_reservation(data: bytes) -> tuple[int, int] | None:
    """Key and type, None without a reservation."""
    (length,) = struct.unpack_from(">4xI", data)
    assert len(data) == 8 + length
    if not length:
        return None
    key, kind = struct.unpack(">Q5xB2x", data[8:])
    return key, kind


def read_full_status(data: bytes) -> list[Registration]:
    """The descriptors."""
    (length,) = struct.unpack_from(">4xI", data)
    rest, found = data[8:], []
    assert len(rest) == length
    while rest:
        key, holder, kind, port, size = struct.unpack_from(">Q4xBB4xHI", rest)
        found.append(Registration(key, bool(holder), kind, port, rest[24 : 24 + size]))
        rest = rest[24 + size :]
    return found
