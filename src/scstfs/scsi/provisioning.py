"""Logical block provisioning: UNMAP, WRITE SAME and GET LBA STATUS (SBC-3 4.7, 5.28, 5.43, 5.5)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.opcodes import CommandRow
from scstfs.scsi.sense import (
    INVALID_OPCODE,
    CheckCondition,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)
from scstfs.scsi.unit import LogicalUnit

_HEADER_LENGTH: Final = 8
_DESCRIPTOR_LENGTH: Final = 16
_UNMAP_ANCHOR: Final = 0x01
_SAME_ANCHOR: Final = 0x10
_SAME_UNMAP: Final = 0x08
_SAME_LBDATA_PBDATA: Final = 0x06


@dataclass(frozen=True, slots=True)
class LbaRange:
    """A run of logical blocks."""

    lba: int
    blocks: int


def unmap_extents(cdb: bytes, data: bytes) -> list[LbaRange]:
    """Return the block descriptors of an UNMAP parameter list; raises CheckCondition.

    SCST checks these before reservations and unit attentions; `check_unmap` has the other checks.
    """
    total = int.from_bytes(cdb[7:9], "big")
    if not total:
        return []
    length = int.from_bytes(data[2:4], "big")
    if not length:
        return []
    if length > total - _HEADER_LENGTH or length % _DESCRIPTOR_LENGTH:
        raise invalid_field_in_parameter_list(2)
    end = _HEADER_LENGTH + length
    body = data[_HEADER_LENGTH:end].ljust(length, b"\0")
    return [
        LbaRange(
            int.from_bytes(body[start : start + 8], "big"),
            int.from_bytes(body[start + 8 : start + 12], "big"),
        )
        for start in range(0, length, _DESCRIPTOR_LENGTH)
    ]


def check_unmap(cdb: bytes, extents: Iterable[LbaRange], unit: LogicalUnit) -> None:
    """Check the limits of an UNMAP; raises CheckCondition.

    The caller checks whether the blocks exist when it unmaps them, range by range.
    """
    if unit.thin is None:
        raise CheckCondition(INVALID_OPCODE)
    if cdb[1] & _UNMAP_ANCHOR:
        raise invalid_field_in_cdb(1, 0)
    if sum(extent.blocks for extent in extents) > unit.thin.max_unmap_blocks:
        raise invalid_field_in_parameter_list(0)


def check_write_same(op: CommandRow, cdb: bytes, data_length: int, unit: LogicalUnit) -> bool:
    """Check a WRITE SAME of `data_length` bytes of medium; raises CheckCondition.

    Returns whether the blocks should be unmapped instead of written.
    """
    control = 10 if op.cdb_length == 32 else 1
    bits = cdb[control]
    length_field = op.length.offset if op.length else 0
    if bits & _SAME_ANCHOR:
        raise invalid_field_in_cdb(control, 4)
    if not data_length:  # WSNZ
        raise invalid_field_in_cdb(length_field)
    unmap = bool(bits & _SAME_UNMAP)
    if unmap and unit.thin is None:
        raise CheckCondition(INVALID_OPCODE)
    if not unmap and bits & _SAME_LBDATA_PBDATA:
        raise invalid_field_in_cdb(control, 1)
    if data_length > unit.max_write_same:
        raise invalid_field_in_cdb(length_field)
    return unmap


class Provisioning(enum.IntEnum):
    """Provisioning status of GET LBA STATUS."""

    MAPPED = 0
    DEALLOCATED = 1
    ANCHORED = 2


@dataclass(frozen=True, slots=True)
class LbaStatus:
    """A run of blocks that are all in the same state."""

    lba: int
    blocks: int
    status: Provisioning


_LARGEST_RUN: Final = 0xFFFFFFFF
# Initiators continue where an answer ends; this one fills a megabyte.
_MOST_RUNS: Final = 1 << 16


def lba_status_count(allocation_length: int) -> int:
    """Return how many descriptors fit the allocation length, at least one."""
    return min(max(1, (allocation_length - _HEADER_LENGTH) // _DESCRIPTOR_LENGTH), _MOST_RUNS)


def get_lba_status(descriptors: Sequence[LbaStatus]) -> bytes:
    """Return the parameter data of GET LBA STATUS, to be cut at the allocation length.

    The parameter data length does not count itself.  Each run begins where the one before ends
    (SBC-3 5.5.2), so a run that is too long for its field is shortened and ends the list.
    """
    body = b""
    for item in descriptors:
        body += item.lba.to_bytes(8, "big") + min(item.blocks, _LARGEST_RUN).to_bytes(4, "big")
        body += bytes((item.status, 0, 0, 0))
        if item.blocks > _LARGEST_RUN:
            break
    return (len(body) + 4).to_bytes(4, "big") + bytes(4) + body
