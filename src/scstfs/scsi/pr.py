"""Persistent reservations on the wire (SPC-4 5.13, 6.15, 6.16).

Parameter lists of PERSISTENT RESERVE OUT, data of PERSISTENT RESERVE IN, and the access rules. The
core keeps registrations and reservations; every fault is answered as by SCST.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.opcodes import Flag
from scstfs.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    CheckCondition,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)
from scstfs.scsi.transport_id import COMMON_LENGTH, TransportId, received, transport_id_length

__all__ = [
    "Descriptor",
    "InAction",
    "OutAction",
    "PrOut",
    "PrType",
    "Reservation",
    "TransportId",
    "allowed",
    "check_in_action",
    "compatible",
    "decode_out",
    "read_full_status",
    "read_keys",
    "read_reservation",
    "report_capabilities",
]


class OutAction(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE OUT."""

    REGISTER = 0
    RESERVE = 1
    RELEASE = 2
    CLEAR = 3
    PREEMPT = 4
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE = 6
    REGISTER_AND_MOVE = 7


class InAction(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE IN."""

    READ_KEYS = 0
    READ_RESERVATION = 1
    REPORT_CAPABILITIES = 2
    READ_FULL_STATUS = 3


class PrType(enum.IntEnum):
    """Types of persistent reservation (SPC-4 table 61)."""

    WRITE_EXCLUSIVE = 0x1
    EXCLUSIVE_ACCESS = 0x3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 0x5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 0x6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 0x7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 0x8

    @property
    def for_registrants(self) -> bool:
        """Whether every registrant may do what the holder may."""
        return self >= PrType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY

    @property
    def all_registrants(self) -> bool:
        """Whether every registrant holds the reservation."""
        return self >= PrType.WRITE_EXCLUSIVE_ALL_REGISTRANTS

    @property
    def left_to_others(self) -> Flag:
        """The flag that a command needs to be executed for other nexuses."""
        return _LEFT_TO_OTHERS[self]


_LEFT_TO_OTHERS: Final = {
    PrType.WRITE_EXCLUSIVE: Flag.WRITE_EXCLUSIVE_OK,
    PrType.EXCLUSIVE_ACCESS: Flag.EXCLUSIVE_ACCESS_OK,
    PrType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY: Flag.WRITE_EXCLUSIVE_OK,
    PrType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: Flag.EXCLUSIVE_ACCESS_OK,
    PrType.WRITE_EXCLUSIVE_ALL_REGISTRANTS: Flag.WRITE_EXCLUSIVE_OK,
    PrType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS: Flag.EXCLUSIVE_ACCESS_OK,
}

_TYPES: Final = frozenset(PrType)
SCOPE_LOGICAL_UNIT: Final = 0


def compatible(kind: PrType, holder: bool, registered: bool) -> bool:
    """Whether a nexus has the rights of the holder of a reservation of type `kind`.

    Such a nexus also gets GOOD, without effect, for RESERVE and RELEASE (SPC-4 5.13.3).
    """
    return registered if kind.for_registrants else holder


def allowed(kind: PrType, flags: Flag, holder: bool, registered: bool) -> bool:
    """Whether a command with `flags` does not conflict with a reservation of type `kind`."""
    return compatible(kind, holder, registered) or bool(flags & kind.left_to_others)


_BASIC_LENGTH: Final = 24
_SPEC_I_PT: Final = 0x08
_ALL_TG_PT: Final = 0x04
_APTPL: Final = 0x01
_MOVE_UNREG: Final = 0x02
_EXTRA_LENGTH: Final = 24
_EXTRA: Final = 28
_ACTIONS: Final = frozenset(OutAction)
# Actions whose scope is not checked; actions that may have SPEC_I_PT, or ALL_TG_PT.
_REGISTERING: Final = frozenset((OutAction.REGISTER, OutAction.REGISTER_AND_IGNORE))
_ANY_SCOPE: Final = _REGISTERING | {OutAction.CLEAR}
_OTHER_LAYOUT: Final = OutAction.REGISTER_AND_MOVE
_PREEMPTING: Final = (OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT)


@dataclass(frozen=True, slots=True)
class PrOut:
    """A PERSISTENT RESERVE OUT command, checked as far as it can be without looking at keys.

    `scope` and `type` are those of the CDB, unchecked if the action does not use them. `unreg` and
    `rel_tgt_id` are for REGISTER AND MOVE, `spec_i_pt` and `all_tg_pt` for the others.
    """

    action: OutAction
    scope: int
    type: int
    key: int
    action_key: int
    aptpl: bool
    spec_i_pt: bool
    all_tg_pt: bool
    unreg: bool
    rel_tgt_id: int
    _data: bytes

    def refuse_spec_i_pt(self) -> None:
        """Refuse SPEC_I_PT, as REGISTER does for a nexus that is registered already."""
        if self.spec_i_pt:
            raise invalid_field_in_parameter_list(20, 3)

    def transport_ids(self) -> list[TransportId]:
        """Return the additional ports of REGISTER with SPEC_I_PT; raises CheckCondition.

        Call it only when the ports will be registered: errors in the list come after reservation
        conflicts.
        """
        if not self.spec_i_pt:
            return []
        end = len(self._data)
        found = []
        offset = _EXTRA
        while offset < end:
            length = transport_id_length(self._data[offset : offset + 4])
            if offset + length > end:
                raise invalid_field_in_parameter_list(_EXTRA_LENGTH)
            found.append(received(self._data[offset : offset + length]))
            offset += length
        return found

    def check_move_key(self) -> None:
        """Refuse REGISTER AND MOVE with a zero service action key."""
        if not self.action_key:
            raise invalid_field_in_cdb(8)

    def moved_to(self) -> TransportId:
        """Return the new holder of REGISTER AND MOVE; raises CheckCondition if it is cut off."""
        data = self._data[_BASIC_LENGTH:].ljust(COMMON_LENGTH, b"\0")
        length = transport_id_length(data)
        if length + _BASIC_LENGTH > len(self._data):
            raise CheckCondition(INVALID_FIELD_IN_PARAMETER_LIST)
        return received(data[:length].ljust(length, b"\0"))

    def same_port(self) -> CheckCondition:
        """Return the error for a move to the port that the command came from."""
        return invalid_field_in_parameter_list(_BASIC_LENGTH)


def decode_out(cdb: bytes, data: bytes) -> PrOut:
    """Decode PERSISTENT RESERVE OUT; raises CheckCondition.

    Call it for a registered nexus, or for actions that register.
    """
    action, scope, kind = cdb[1] & 0x1F, cdb[2] >> 4, cdb[2] & 0x0F
    head = data[:_EXTRA].ljust(_EXTRA, b"\0")
    if action not in _ANY_SCOPE and scope != SCOPE_LOGICAL_UNIT:
        raise invalid_field_in_cdb(2, 4)
    if action != _OTHER_LAYOUT:
        if action != OutAction.REGISTER and head[20] & _SPEC_I_PT:
            raise invalid_field_in_parameter_list(20, 3)
        if action not in _REGISTERING and head[20] & _ALL_TG_PT:
            raise invalid_field_in_parameter_list(20, 2)
    if action not in _ACTIONS:
        raise invalid_field_in_cdb(1, 0)
    length = int.from_bytes(cdb[5:9], "big")
    if len(data) < length:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    move = action == _OTHER_LAYOUT
    if move:
        _check_move(head, length)
    else:
        _check_basic(OutAction(action), kind, head, length)
    return PrOut(
        action=OutAction(action),
        scope=scope,
        type=kind,
        key=_number(head, 0, 8),
        action_key=_number(head, 8, 8),
        aptpl=bool(head[17 if move else 20] & _APTPL),
        spec_i_pt=not move and bool(head[20] & _SPEC_I_PT),
        all_tg_pt=not move and bool(head[20] & _ALL_TG_PT),
        unreg=move and bool(head[17] & _MOVE_UNREG),
        rel_tgt_id=_number(head, 18, 2) if move else 0,
        _data=bytes(data[:length]),
    )


def _check_basic(action: OutAction, kind: int, head: bytes, length: int) -> None:
    wanted = _BASIC_LENGTH
    if action is OutAction.REGISTER and head[20] & _SPEC_I_PT:
        wanted = _EXTRA + _number(head, _EXTRA_LENGTH, 4)
    if length != wanted:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if action is OutAction.RESERVE and kind not in _TYPES:
        raise invalid_field_in_cdb(2, 0)
    if action in _PREEMPTING and kind not in _TYPES:
        raise invalid_field_in_cdb(1, 0)


def _check_move(head: bytes, length: int) -> None:
    size = _number(head, 20, 4)
    if length < _BASIC_LENGTH:
        raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
    if size + _BASIC_LENGTH > length:
        raise CheckCondition(INVALID_FIELD_IN_PARAMETER_LIST)
    if size < COMMON_LENGTH:
        raise invalid_field_in_parameter_list(20)


def _number(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "big")


@dataclass(frozen=True, slots=True)
class Reservation:
    """A persistent reservation; `key` is the holder's, 0 if all registrants hold it."""

    type: PrType
    key: int = 0
    scope: int = SCOPE_LOGICAL_UNIT


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A registration, for READ FULL STATUS."""

    transport_id: TransportId
    rel_tgt_id: int
    key: int
    holder: bool = False


_IN_ACTIONS: Final = frozenset(InAction)
_CAPABILITIES: Final = 0x1D  # CRH, SIP_C, ATP_C, PTPL_C
_TYPE_MASK_VALID: Final = 0x80
_ALLOW_COMMANDS: Final = 4 << 4
_TYPE_MASK: Final = bytes((0xEA, 0x01))


def check_in_action(cdb: bytes) -> InAction:
    """Return the service action of PERSISTENT RESERVE IN; raises CheckCondition."""
    action = cdb[1] & 0x1F
    if action not in _IN_ACTIONS:
        raise invalid_field_in_cdb(1, 0)
    return InAction(action)


# The caller cuts the data of PERSISTENT RESERVE IN at the allocation length.


def read_keys(generation: int, keys: Iterable[int]) -> bytes:
    """Return the data of READ KEYS."""
    body = b"".join(key.to_bytes(8, "big") for key in keys)
    return _head(generation, len(body)) + body


def read_reservation(generation: int, reservation: Reservation | None) -> bytes:
    """Return the data of READ RESERVATION."""
    if reservation is None:
        return _head(generation, 0)
    body = reservation.key.to_bytes(8, "big") + bytes(5)
    body += bytes((reservation.scope << 4 | reservation.type, 0, 0))
    return _head(generation, len(body)) + body


def report_capabilities(aptpl: bool) -> bytes:
    """Return the data of REPORT CAPABILITIES; `aptpl` is whether registrations are kept on disk."""
    flags = _TYPE_MASK_VALID | _ALLOW_COMMANDS | (_APTPL if aptpl else 0)
    return bytes((0, 8, _CAPABILITIES, flags)) + _TYPE_MASK + bytes(2)


def read_full_status(
    generation: int, descriptors: Iterable[Descriptor], reservation: Reservation | None
) -> bytes:
    """Return the data of READ FULL STATUS."""
    body = b"".join(_full_status(descriptor, reservation) for descriptor in descriptors)
    return _head(generation, len(body)) + body


def _full_status(descriptor: Descriptor, reservation: Reservation | None) -> bytes:
    tid = descriptor.transport_id.data
    record = bytearray(24)
    record[0:8] = descriptor.key.to_bytes(8, "big")
    if reservation is not None and descriptor.holder:
        record[12] = 1
        record[13] = reservation.scope << 4 | reservation.type
    record[18:20] = descriptor.rel_tgt_id.to_bytes(2, "big")
    record[20:24] = len(tid).to_bytes(4, "big")
    return bytes(record) + tid


def _head(generation: int, length: int) -> bytes:
    return (generation & 0xFFFFFFFF).to_bytes(4, "big") + length.to_bytes(4, "big")
