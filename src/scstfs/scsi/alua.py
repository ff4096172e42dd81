"""Asymmetric logical unit access (SPC-4 5.15): states, and the two commands about them."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.opcodes import Flag
from scstfs.scsi.sense import (
    ALUA_STANDBY,
    ALUA_TRANSITION,
    ALUA_UNAVAILABLE,
    INVALID_FIELD_IN_CDB,
    SET_TARGET_PORT_GROUPS_FAILED,
    CheckCondition,
    Sense,
    invalid_field_in_cdb,
)


class AccessState(enum.IntEnum):
    """Asymmetric access states (SPC-4 table 291)."""

    ACTIVE = 0x0
    NONOPTIMIZED = 0x1
    STANDBY = 0x2
    UNAVAILABLE = 0x3
    LBA_DEPENDENT = 0x4
    OFFLINE = 0xE
    TRANSITIONING = 0xF


@dataclass(frozen=True, slots=True)
class _Gate:
    """A command needs one of the flags, or ends with the sense."""

    flag: Flag
    sense: Sense


_GATES: Final[Mapping[AccessState, _Gate]] = {
    AccessState.STANDBY: _Gate(Flag.STANDBY_OK, ALUA_STANDBY),
    AccessState.UNAVAILABLE: _Gate(Flag.UNAVAILABLE_OK, ALUA_UNAVAILABLE),
    AccessState.OFFLINE: _Gate(Flag.UNAVAILABLE_OK, ALUA_UNAVAILABLE),
    AccessState.TRANSITIONING: _Gate(Flag.TRANSITIONING_OK, ALUA_TRANSITION),
}


def refusal(state: AccessState, flags: Flag) -> Sense | None:
    """Return the sense of a port in `state` for a command with `flags`, None if it executes it."""
    gate = _GATES.get(state)
    return None if gate is None or flags & gate.flag else gate.sense


def connected(state: AccessState) -> bool:
    """Whether INQUIRY through a port in `state` says that a device is connected."""
    return state not in (AccessState.UNAVAILABLE, AccessState.OFFLINE)


class StatusCode(enum.IntEnum):
    """The cause of the last change of an access state (SPC-4 table 292)."""

    SET_TARGET_PORT_GROUPS = 0x01
    IMPLICIT = 0x02


@dataclass(frozen=True, slots=True)
class TargetPortGroup:
    """A target port group as reported; `ports` are relative target port identifiers."""

    group_id: int
    state: AccessState
    preferred: bool = False
    ports: tuple[int, ...] = ()
    status_code: StatusCode = StatusCode.IMPLICIT


_PREFERRED: Final = 0x80
# Active, non-optimized, standby, unavailable, offline and transitioning; not LBA dependent.
_SUPPORTED_STATES: Final = 0xCF
_EXTENDED_HEADER: Final = bytes((0x10, 0, 0, 0))
_LENGTH_ONLY: Final = 0
_EXTENDED: Final = 1


def report_target_port_groups(cdb: bytes, groups: Sequence[TargetPortGroup]) -> bytes:
    """Return the data for a 12-byte `cdb` (SPC-4 6.37), to be cut; raises CheckCondition.

    `groups` is empty for a device that is in no device group.
    """
    if not any(cdb[6:10]):
        return b""
    data_format = cdb[1] >> 5
    if data_format not in (_LENGTH_ONLY, _EXTENDED):
        raise CheckCondition(INVALID_FIELD_IN_CDB)
    body = _EXTENDED_HEADER if data_format == _EXTENDED else b""
    body += b"".join(_group_descriptor(group) for group in groups)
    return len(body).to_bytes(4, "big") + body


def _group_descriptor(group: TargetPortGroup) -> bytes:
    state = (_PREFERRED if group.preferred else 0) | group.state
    head = bytes((state, _SUPPORTED_STATES)) + group.group_id.to_bytes(2, "big")
    head += bytes((0, group.status_code, 0, len(group.ports) & 0xFF))
    return head + b"".join(port.to_bytes(4, "big") for port in group.ports)


@dataclass(frozen=True, slots=True)
class StateChange:
    """One requested change of SET TARGET PORT GROUPS."""

    group_id: int
    state: AccessState


_MAX_CHANGES: Final = 64
_SETTABLE: Final = frozenset(
    (
        AccessState.ACTIVE,
        AccessState.NONOPTIMIZED,
        AccessState.STANDBY,
        AccessState.UNAVAILABLE,
        AccessState.OFFLINE,
    )
)


def check_set_target_port_groups(explicit_alua: bool) -> None:
    """Refuse SET TARGET PORT GROUPS where only implicit changes are supported."""
    if not explicit_alua:
        raise invalid_field_in_cdb(1, 0)


def set_target_port_groups(data: bytes) -> Iterator[StateChange]:
    """Return the changes in a parameter list (SPC-4 6.45), checked one by one as they are taken.

    An incomplete descriptor at the end is ignored.  Raises CheckCondition: at once for too many
    descriptors, and on reaching a state that cannot be set, or group 0.
    """
    if (len(data) - 4) // 4 > _MAX_CHANGES:
        raise invalid_field_in_cdb(6)
    return _changes(data)


def _changes(data: bytes) -> Iterator[StateChange]:
    for offset in range(4, len(data) - 3, 4):
        state = data[offset] & 0x1F
        group_id = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if state not in _SETTABLE or not group_id:
            raise CheckCondition(SET_TARGET_PORT_GROUPS_FAILED)
        yield StateChange(group_id, AccessState(state))
