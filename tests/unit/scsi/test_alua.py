from __future__ import annotations

import pytest

from scstfs.scsi import sense
from scstfs.scsi.alua import (
    AccessState,
    StateChange,
    TargetPortGroup,
    check_set_target_port_groups,
    connected,
    refusal,
    report_target_port_groups,
    set_target_port_groups,
)
from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import CheckCondition, Sense

S = AccessState
TABLE = opcode_table(DeviceType.DISK)
TUR, INQUIRY, MODE_SENSE = "000000000000", "120000002400", "1a003f00ff00"
READ, STPG, RTPG = "28000000000000000100", "a40a00000000000000080000", "a30a00000000000001000000"


@pytest.mark.parametrize(
    ("state", "cdb", "expected"),
    [
        (S.ACTIVE, READ, None),
        (S.NONOPTIMIZED, READ, None),
        (S.LBA_DEPENDENT, READ, None),
        (S.STANDBY, READ, sense.ALUA_STANDBY),
        (S.STANDBY, TUR, sense.ALUA_STANDBY),
        (S.STANDBY, MODE_SENSE, None),
        (S.STANDBY, STPG, None),
        (S.UNAVAILABLE, MODE_SENSE, sense.ALUA_UNAVAILABLE),
        (S.UNAVAILABLE, INQUIRY, None),
        (S.UNAVAILABLE, STPG, None),
        (S.OFFLINE, TUR, sense.ALUA_UNAVAILABLE),
        (S.OFFLINE, RTPG, None),
        (S.TRANSITIONING, STPG, sense.ALUA_TRANSITION),
        (S.TRANSITIONING, RTPG, None),
    ],
)
def test_what_a_state_refuses(state: AccessState, cdb: str, expected: Sense | None) -> None:
    assert refusal(state, TABLE.decode(bytes.fromhex(cdb)).flags) == expected


def test_connected() -> None:
    assert [state for state in S if not connected(state)] == [S.UNAVAILABLE, S.OFFLINE]


GROUPS = (
    TargetPortGroup(10, S.ACTIVE, ports=(1,)),
    TargetPortGroup(20, S.STANDBY, preferred=True, ports=(2, 3)),
)


def test_reporting() -> None:
    assert report_target_port_groups(bytes.fromhex(RTPG), GROUPS) == bytes.fromhex(
        "0000001c"
        "00 cf 000a 00 02 00 01 00000001"  # active; all but LBA dependent supported
        "82 cf 0014 00 02 00 02 00000002 00000003"  # preferred, standby
    )


def test_reporting_with_extended_header() -> None:
    cdb = bytes.fromhex("a32a00000000000001000000")
    assert report_target_port_groups(cdb, GROUPS[:1]) == bytes.fromhex(
        "00000010 10 00 0000 00 cf 000a 00 02 00 01 00000001"
    )
    assert report_target_port_groups(cdb, ()) == bytes.fromhex("00000004 10000000")


def test_reporting_in_another_format() -> None:
    with pytest.raises(CheckCondition) as refused:
        report_target_port_groups(bytes.fromhex("a34a00000000000001000000"), ())
    assert refused.value.sense == sense.INVALID_FIELD_IN_CDB
    assert report_target_port_groups(bytes.fromhex("a34a00000000000000000000"), ()) == b""


def test_setting() -> None:
    data = bytes.fromhex("00000000 02 00 000a 00 00 0014 03")  # the last one is incomplete
    assert list(set_target_port_groups(data)) == [
        StateChange(10, S.STANDBY),
        StateChange(20, S.ACTIVE),
    ]
    assert list(set_target_port_groups(b"")) == []


@pytest.mark.parametrize("change", ["0f 00 000a", "04 00 000a", "05 00 000a", "02 00 0000"])
def test_setting_what_cannot_be(change: str) -> None:
    changes = set_target_port_groups(bytes.fromhex("00000000 00 00 000a" + change))
    assert next(changes) == StateChange(10, S.ACTIVE)
    with pytest.raises(CheckCondition) as refused:
        next(changes)
    assert refused.value.sense == sense.SET_TARGET_PORT_GROUPS_FAILED


def test_setting_too_many() -> None:
    with pytest.raises(CheckCondition) as refused:
        set_target_port_groups(bytes(4 + 65 * 4))
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c00006")


def test_setting_without_explicit_alua() -> None:
    check_set_target_port_groups(explicit_alua=True)
    with pytest.raises(CheckCondition) as refused:
        check_set_target_port_groups(explicit_alua=False)
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c80001")
