"""Asymmetric logical unit access: what each state lets through, and how it changes (SPC-4 5.15)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from scstfs.core import gates
from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.core.execute import TRANSITION_DELAY
from scstfs.core.target import Target
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.alua import AccessState
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status
from tests.support.every_command import commands, listed
from tests.support.target import GOOD, Initiator, System, target

READY, READ = bytes(6), bytes.fromhex("28000000000000000100")
STANDBY, UNAVAILABLE, TRANSITION = (2, 4, 0x0B), (2, 4, 0x0C), (2, 4, 0x0A)
FAILED, STATE_CHANGED = (4, 0x67, 0x0A), (6, 0x2A, 6)
INVALID_FIELD = (5, 0x24, 0)

# SPC-4 5.15.2.4.4 to 5.15.2.4.7, of what disks serve.
ANY_STATE = """
    INQUIRY, REPORT LUNS, REPORT TARGET PORT GROUPS, REQUEST SENSE
"""
BUT_IN_TRANSITION = "SET TARGET PORT GROUPS"
STANDBY_TOO = """
    LOG SELECT, LOG SENSE, MODE SELECT(6), MODE SELECT(10), MODE SENSE(6), MODE SENSE(10),
    PERSISTENT RESERVE IN, PERSISTENT RESERVE OUT, RECEIVE DIAGNOSTIC RESULTS, SEND DIAGNOSTIC
"""
# SCST lets these through as well, so that initiators find out what they are looking at.
SCST_ANY_STATE = "READ CAPACITY, READ CAPACITY(16)"
SCST_STANDBY = "RESERVE(6), RESERVE(10), RELEASE(6), RELEASE(10)"

_TRANSITIONING = listed(ANY_STATE) + listed(SCST_ANY_STATE)
_UNAVAILABLE = [*_TRANSITIONING, *listed(BUT_IN_TRANSITION)]
_STANDBY = [*_UNAVAILABLE, *listed(STANDBY_TOO), *listed(SCST_STANDBY)]

ALLOWED: dict[AccessState, list[str] | None] = {
    AccessState.ACTIVE: None,
    AccessState.NONOPTIMIZED: None,
    AccessState.STANDBY: _STANDBY,
    AccessState.UNAVAILABLE: _UNAVAILABLE,
    AccessState.OFFLINE: _UNAVAILABLE,
    AccessState.TRANSITIONING: _TRANSITIONING,
}
REFUSED_WITH = {
    AccessState.STANDBY: STANDBY,
    AccessState.UNAVAILABLE: UNAVAILABLE,
    AccessState.OFFLINE: UNAVAILABLE,
    AccessState.TRANSITIONING: TRANSITION,
}


def group_of(system: System, disk: VdiskDevice, *targets: Target, number: int = 1) -> TargetGroup:
    """A target group with these targets in a device group with the disk."""
    group = system.scst.device_groups.setdefault("dg", DeviceGroup(system.scst, "dg"))
    if disk.group is None:
        group.add(disk)
    target_group = TargetGroup(group, f"tg{number}")
    target_group.group_id = number
    for one in targets:
        target_group.targets[one.name] = GroupTarget(one.name, one)
    group.target_groups[target_group.name] = target_group
    return target_group


def second_target(system: System) -> Target:
    other = Target(system.driver, "second", cpus=1)
    system.driver.targets[other.name] = other
    other.default_acg.luns.update(system.target.default_acg.luns)
    return other


@pytest.mark.parametrize("state", list(ALLOWED))
async def test_every_command_in_every_state(tmp_path: Path, state: AccessState) -> None:
    async with target(tmp_path) as system:
        disk = await system.add_disk(thin_provisioned=1)
        disk.explicit_alua = True
        one = system.initiator()
        group_of(system, disk, system.target).set_state(state)
        one.clear_unit_attentions()
        disk.max_tgt_dev_commands = 1000
        allowed = ALLOWED[state]
        assert allowed is None or set(allowed) <= {name for name, _ in commands(disk)}
        for name, cdb in commands(disk):
            refused = refusal(one, cdb)
            if allowed is None or name in allowed:
                assert refused is None, name
            else:
                assert refused == REFUSED_WITH[state], name


def refusal(initiator: Initiator, cdb: bytes) -> tuple[int, int, int] | None:
    device = initiator.session.tgt_devs[0].device
    decoded = device.opcodes.decode(cdb, device.block_shift)
    sent = decoded.length if decoded.direction is Direction.OUT else 0
    asked_for = decoded.length if decoded.direction is Direction.IN else None
    cmd = initiator.prepare(cdb, sent, asked_for)
    assert not cmd.is_over, cmd.result
    try:
        gates.check_access_state(cmd)
    except CheckCondition as condition:
        return condition.sense.triple
    return None


@pytest.mark.parametrize("state", [s for s in ALLOWED if ALLOWED[s] is not None])
async def test_the_fast_paths_know(system: System, disk: VdiskDevice, state: AccessState) -> None:
    one = system.initiator()
    group = group_of(system, disk, system.target)
    (nexus,) = one.session.tgt_devs.values()
    assert nexus.quick.read is not None
    group.set_state(state)
    one.clear_unit_attentions()
    assert nexus.quick.read is None
    assert nexus.quick.write is None
    group.set_state(AccessState.NONOPTIMIZED)
    one.clear_unit_attentions()
    assert nexus.quick.read is not None


async def test_each_port_has_its_own_state(system: System, disk: VdiskDevice) -> None:
    second = second_target(system)
    one, other = system.initiator("a"), system.initiator("b", second.default_acg)
    group_of(system, disk, system.target)
    standby = group_of(system, disk, second, number=2)
    standby.set_state(AccessState.STANDBY)
    assert (await one.execute(READ, data_in=512)).status is Status.GOOD
    assert (await other.execute(READ, data_in=512)).triple == STANDBY
    # The state is checked first.
    standby.set_state(AccessState.ACTIVE)
    assert (await other.execute(READ, data_in=512)).triple == STATE_CHANGED
    assert (await other.execute(READ, data_in=512)).status is Status.GOOD


async def test_a_transition_is_waited_for_once(
    system: System, disk: VdiskDevice, autojump_clock: MockClock
) -> None:
    one = system.initiator()
    group = group_of(system, disk, system.target)
    group.set_state(AccessState.TRANSITIONING)
    began = trio.current_time()
    assert (await one.execute(READ, data_in=512)).triple == TRANSITION
    assert trio.current_time() - began == pytest.approx(TRANSITION_DELAY)
    waiting = one.start(READ, data_in=512)
    assert not waiting.is_over
    group.set_state(AccessState.NONOPTIMIZED)
    one.clear_unit_attentions()
    assert (await waiting.wait()).status is Status.GOOD


@pytest.mark.parametrize("on", [False, True])
async def test_waiting_for_a_transition_is_traced_with_retry(
    system: System,
    disk: VdiskDevice,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    on: bool,
) -> None:
    one = system.initiator()
    group_of(system, disk, system.target).set_state(AccessState.TRANSITIONING)
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    log = system.scst.env.trace
    log.flags = log.bit("retry") if on else 0
    assert (await one.execute(READ, data_in=512)).triple == TRANSITION
    assert sum("is tried again in" in record.getMessage() for record in caplog.records) == on


async def test_a_state_that_changes_while_commands_run(system: System, disk: VdiskDevice) -> None:
    """What has begun ends as if nothing had happened, what waits for its turn as well."""
    one = system.initiator()
    group = group_of(system, disk, system.target)
    disk.tasks.block()
    waiting = one.start(READ, data_in=512)
    group.set_state(AccessState.STANDBY)
    one.clear_unit_attentions()
    disk.tasks.unblock()
    assert (await waiting.wait()).status is Status.GOOD
    assert (await one.execute(READ, data_in=512)).triple == STANDBY


# SET TARGET PORT GROUPS (SPC-4 6.45)


def set_groups(*changes: tuple[int, AccessState]) -> tuple[bytes, bytes]:
    data = bytes(4) + b"".join(
        bytes((state, 0)) + number.to_bytes(2, "big") for number, state in changes
    )
    return bytes((0xA4, 0x0A, 0, 0, 0, 0)) + len(data).to_bytes(4, "big") + bytes(2), data


class Pair:
    """A disk behind two targets, each in its own group."""

    def __init__(self, system: System, disk: VdiskDevice) -> None:
        second = second_target(system)
        self.one = system.initiator("a")
        self.other = system.initiator("b", second.default_acg)
        self.neighbour = system.initiator("c")
        self.groups = (
            group_of(system, disk, system.target),
            group_of(system, disk, second, number=2),
        )
        disk.explicit_alua = True

    @property
    def states(self) -> Sequence[AccessState]:
        return [group.state for group in self.groups]

    def pending(self) -> list[list[tuple[int, int, int]]]:
        return [
            [condition.sense.triple for condition in i.session.tgt_devs[0].unit_attentions]
            for i in (self.one, self.neighbour, self.other)
        ]


@pytest.fixture
async def pair(system: System, disk: VdiskDevice) -> Pair:
    return Pair(system, disk)


async def test_states_are_set(pair: Pair) -> None:
    command = set_groups((1, AccessState.STANDBY), (2, AccessState.NONOPTIMIZED))
    assert await pair.one.execute(*command) == GOOD
    assert pair.states == [AccessState.STANDBY, AccessState.NONOPTIMIZED]
    # All nexuses are told except the one that sent the command.
    assert pair.pending() == [[], [STATE_CHANGED], [STATE_CHANGED]]
    # From a port that is not active, too.
    assert await pair.one.execute(*set_groups((1, AccessState.ACTIVE))) == GOOD
    assert pair.states == [AccessState.ACTIVE, AccessState.NONOPTIMIZED]


@pytest.mark.parametrize(
    "change",
    [(3, AccessState.ACTIVE), (0, AccessState.ACTIVE), (1, AccessState.TRANSITIONING)],
    ids=["unknown group", "group 0", "transitioning"],
)
async def test_all_states_are_set_or_none(pair: Pair, change: tuple[int, AccessState]) -> None:
    command = set_groups((1, AccessState.STANDBY), change)
    assert (await pair.one.execute(*command)).triple == FAILED
    assert pair.states == [AccessState.ACTIVE, AccessState.ACTIVE]
    assert pair.pending() == [[], [], []]


async def test_it_is_told_who_changed_a_state(pair: Pair) -> None:
    async def status_codes() -> list[int]:
        pair.one.clear_unit_attentions()
        cdb = bytes.fromhex("a30a00000000000001000000")
        data = (await pair.one.execute(cdb, data_in=256)).data
        # Two descriptors with a port each.
        return [data[4 + 5], data[4 + 12 + 5]]

    assert await status_codes() == [2, 2]
    await pair.one.execute(*set_groups((1, AccessState.STANDBY), (2, AccessState.ACTIVE)))
    # The second one was active already.
    assert await status_codes() == [1, 2]
    pair.groups[1].set_state(AccessState.TRANSITIONING)
    pair.groups[1].set_state(AccessState.NONOPTIMIZED)
    assert await status_codes() == [1, 2]
    pair.groups[0].set_state(AccessState.ACTIVE)
    assert await status_codes() == [2, 2]


async def test_a_group_in_transition_is_left_alone(pair: Pair) -> None:
    pair.groups[1].set_state(AccessState.TRANSITIONING)
    command = set_groups((1, AccessState.STANDBY), (2, AccessState.ACTIVE))
    assert (await pair.one.execute(*command)).triple == TRANSITION
    assert pair.states == [AccessState.ACTIVE, AccessState.TRANSITIONING]


async def test_without_explicit_access(pair: Pair, disk: VdiskDevice) -> None:
    disk.explicit_alua = False
    result = await pair.one.execute(*set_groups((1, AccessState.STANDBY)))
    assert result.triple == INVALID_FIELD
    assert pair.states == [AccessState.ACTIVE, AccessState.ACTIVE]


async def test_without_a_device_group(system: System, disk: VdiskDevice) -> None:
    disk.explicit_alua = True
    one = system.initiator()
    assert (await one.execute(*set_groups((1, AccessState.STANDBY)))).triple == FAILED


async def test_nothing_of_a_device_starts_meanwhile(pair: Pair, disk: VdiskDevice) -> None:
    """It is executed alone: what comes after it meets the new state."""
    disk.tasks.block()
    command = pair.one.start(*set_groups((1, AccessState.OFFLINE)))
    disk.tasks.unblock()
    assert await command.wait() == GOOD
    assert (await pair.one.execute(READ, data_in=512)).triple == UNAVAILABLE
