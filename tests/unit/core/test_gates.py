"""Gates: conditions that refuse a command, their order, and what is known of them in advance."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from scstfs.core import gates
from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.core.session import SessionState, TgtDev
from scstfs.core.target import BlackHole
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi import sense
from scstfs.scsi.alua import AccessState
from scstfs.scsi.control import ControlValues
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus
from tests.support.reservations import EA_RO, IGNORE, RESERVE, WE, pr_out
from tests.support.target import GOOD, Initiator, System, TestCommand

READY, INQUIRY = bytes(6), bytes.fromhex("120000002400")
READ, WRITE = bytes.fromhex("28000000000000000100"), bytes.fromhex("2a000000000000000100")
RELEASE = bytes.fromhex("170000000000")
CONFLICT = Status.RESERVATION_CONFLICT
CHANGED, PROTECTED, SOFTWARE_PROTECTED = (6, 0x2A, 9), (7, 0, 0), (7, 0x27, 0)
STANDBY = (2, 4, 0x0B)
#: The commands that a closed gate may still let pass: READ and WRITE.
BOTH, READS, NEITHER = (True, True), (True, False), (False, False)

Outcome = Status | tuple[int, int, int] | None


def outcome(gate: Callable[[TestCommand], None], cmd: TestCommand) -> Outcome:
    """How a gate ends the command; None where it lets the command pass."""
    try:
        gate(cmd)
    except CheckCondition as refused:
        return refused.sense.triple
    except TaskStatus as refused:
        return refused.status
    return None


def asked(initiator: Initiator, cdb: bytes) -> TestCommand:
    """A decoded command before all checks."""
    return initiator.prepare(cdb, data_out=512 if cdb == WRITE else 0, data_in=512)


def set_control(disk: VdiskDevice, **values: int) -> None:
    disk.modes.current = ControlValues(**values)


def access_states(system: System, disk: VdiskDevice) -> TargetGroup:
    """A target port group through which the disk is reached."""
    group = system.scst.device_groups["g"] = DeviceGroup(system.scst, "g")
    group.add(disk)
    ports = group.target_groups["t"] = TargetGroup(group, "t")
    ports.targets[system.target.name] = GroupTarget(system.target.name, system.target)
    return ports


# One gate after the other


async def test_who_is_refused_first(system: System, disk: VdiskDevice) -> None:
    """A conflict reports no unit attention, nor does a command that could not write."""
    one, other = system.initiator("one"), system.initiator("other")
    tgt_dev = one.session.tgt_devs[0]
    disk.reserved_by = other.session
    tgt_dev.queue_unit_attention(sense.CAPACITY_CHANGED)
    set_control(disk, swp=1)
    cmd = asked(one, WRITE)
    assert outcome(gates.check, cmd) is CONFLICT
    disk.reserved_by = None
    assert outcome(gates.check, cmd) == CHANGED
    assert not tgt_dev.unit_attentions
    assert outcome(gates.check, cmd) == SOFTWARE_PROTECTED
    set_control(disk)
    assert outcome(gates.check, cmd) is None


@pytest.mark.parametrize(
    ("cdb", "expected"), [(READ, CONFLICT), (WRITE, CONFLICT), (INQUIRY, None), (RELEASE, None)]
)
async def test_a_reservation_is_for_others_and_not_for_every_command(
    system: System, disk: VdiskDevice, cdb: bytes, expected: Outcome
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    disk.reserved_by = one.session
    assert outcome(gates.check, asked(one, cdb)) is None
    assert outcome(gates.check, asked(other, cdb)) is expected
    system.target.forward_dst = True
    assert outcome(gates.check, asked(other, cdb)) is None


@pytest.mark.parametrize(("kind", "reads"), [(WE, None), (EA_RO, CONFLICT)])
async def test_a_persistent_reservation_is_for_who_holds_it(
    system: System, disk: VdiskDevice, kind: int, reads: Outcome
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    assert await one.execute(*pr_out(IGNORE, new=7)) == GOOD
    assert await one.execute(*pr_out(RESERVE, kind, key=7)) == GOOD
    for cdb, expected in ((READ, reads), (WRITE, CONFLICT), (INQUIRY, None)):
        assert outcome(gates.check, asked(one, cdb)) is None
        assert outcome(gates.check, asked(other, cdb)) is expected


@pytest.mark.parametrize(("cdb", "expected"), [(READY, CHANGED), (READ, CHANGED), (INQUIRY, None)])
async def test_a_unit_attention_is_told_by_commands_that_tell_it(
    system: System, disk: VdiskDevice, cdb: bytes, expected: Outcome
) -> None:
    one = system.initiator()
    one.session.tgt_devs[0].queue_unit_attention(sense.CAPACITY_CHANGED)
    assert outcome(gates.check, asked(one, cdb)) == expected
    assert bool(one.session.tgt_devs[0].unit_attentions) is (expected is None)


async def test_a_lun_that_can_not_be_written_says_why(system: System) -> None:
    """SCST has a sense code for each reason; a read-only LUN comes before the mode page's SWP."""
    await system.add_disk("disk", read_only=1)
    other = await system.add_disk("other")
    one = system.initiator()
    set_control(other, swp=1)
    for lun, refused in ((0, PROTECTED), (1, SOFTWARE_PROTECTED)):
        for cdb, expected in ((WRITE, refused), (READ, None), (READY, None)):
            cmd = one.prepare(cdb, 512 if cdb == WRITE else 0, 512, lun=lun)
            assert outcome(gates.check, cmd) == expected


async def test_a_read_only_lun_is_so_before_the_mode_page_is(system: System) -> None:
    disk = await system.add_disk("disk", read_only=1)
    set_control(disk, swp=1)
    assert outcome(gates.check, asked(system.initiator(), WRITE)) == PROTECTED


async def test_access_states_have_a_gate_of_their_own(system: System, disk: VdiskDevice) -> None:
    one, ports = system.initiator(), access_states(system, disk)
    for state, cdb, expected in (
        (AccessState.STANDBY, READ, STANDBY),
        (AccessState.STANDBY, INQUIRY, None),
        (AccessState.NONOPTIMIZED, READ, None),
    ):
        ports.set_state(state)
        cmd = asked(one, cdb)
        assert outcome(gates.check_access_state, cmd) == expected
        one.clear_unit_attentions()
        assert outcome(gates.check, cmd) is None


# How many at once


def room(tgt_dev: TgtDev) -> Status | None:
    try:
        gates.check_queue_depth(tgt_dev)
    except TaskStatus as refused:
        return refused.status
    return None


async def test_a_device_takes_so_many_commands_of_a_nexus(
    system: System, disk: VdiskDevice
) -> None:
    disk.max_tgt_dev_commands = 2
    one, other = system.initiator("one"), system.initiator("other")
    tgt_dev = one.session.tgt_devs[0]
    asked(one, READ)
    assert room(tgt_dev) is None
    asked(one, READ)
    assert room(tgt_dev) is Status.TASK_SET_FULL
    assert room(other.session.tgt_devs[0]) is None
    disk.max_tgt_dev_commands = 3
    assert room(tgt_dev) is None


async def test_who_has_nothing_to_wait_for_is_told_to_come_again(
    system: System, disk: VdiskDevice
) -> None:
    """TASK SET FULL asks for fewer commands at a time, and one command is the minimum."""
    disk.max_tgt_dev_commands = 0
    one = system.initiator()
    session, tgt_dev = one.session, one.session.tgt_devs[0]
    for count, expected in ((0, Status.BUSY), (1, Status.BUSY), (2, Status.TASK_SET_FULL)):
        session.command_count = count
        assert room(tgt_dev) is expected
    session.state = SessionState.STARTING
    assert room(tgt_dev) is Status.BUSY
    session.command_count = 0


async def test_too_many_commands_are_traced_with_flow_control(
    system: System, disk: VdiskDevice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    trace, tgt_dev = system.scst.env.trace, system.initiator().session.tgt_devs[0]
    disk.max_tgt_dev_commands = 0
    for flags, told in ((0, 0), (trace.bit("flow_control"), 2)):
        trace.flags = flags
        for count in (1, 2):
            tgt_dev.session.command_count = count
            assert room(tgt_dev) is not None
        assert len(caplog.messages) == told
    assert "Sending BUSY status to initiator initiator" in caplog.messages[0]
    assert "Sending QUEUE_FULL status to initiator initiator" in caplog.messages[1]
    tgt_dev.session.command_count = 0


# The black hole


@pytest.mark.parametrize(
    ("hole", "swallowed"),
    [
        (BlackHole.NONE, set()),
        (BlackHole.COMMANDS, set(Direction)),
        (BlackHole.ALL, set(Direction)),
        (BlackHole.DATA_COMMANDS, set(Direction) - {Direction.NONE}),
        (BlackHole.DATA_COMMANDS_AND_TASK_MANAGEMENT, set(Direction) - {Direction.NONE}),
    ],
)
async def test_what_falls_into_the_black_hole(
    system: System, disk: VdiskDevice, hole: BlackHole, swallowed: set[Direction]
) -> None:
    tgt_dev = system.initiator().session.tgt_devs[0]
    tgt_dev.session.acg.black_hole = hole
    found = {direction for direction in Direction if gates.is_swallowed(tgt_dev, direction)}
    assert found == swallowed


# In advance


class Gate:
    """A nexus, with methods that close its gates."""

    def __init__(self, system: System, disk: VdiskDevice) -> None:
        self.system = system
        self.disk = disk
        self.one, self.other = system.initiator("one"), system.initiator("other")
        self.tgt_dev = self.one.session.tgt_devs[0]
        self.ports = access_states(system, disk)

    def gone(self) -> None:
        self.tgt_dev.is_gone = True

    def faulted(self) -> None:
        self.tgt_dev.aca.faulted = self.other.session.tgt_devs[0]

    def reinstating(self) -> None:
        self.one.session.reinstating = True

    def no_room(self) -> None:
        self.disk.max_tgt_dev_commands = 0

    def latency(self) -> None:
        self.system.scst.env.measure_latency = True

    def traced(self) -> None:
        trace = self.system.scst.env.trace
        trace.flags |= trace.bit("scsi")

    def black_hole(self) -> None:
        self.one.session.acg.black_hole = BlackHole.DATA_COMMANDS

    def standby(self) -> None:
        self.ports.set_state(AccessState.STANDBY)
        self.one.clear_unit_attentions()

    def reserved(self) -> None:
        self.disk.reserved_by = self.other.session

    def attention(self) -> None:
        self.tgt_dev.queue_unit_attention(sense.CAPACITY_CHANGED)

    def protected(self) -> None:
        set_control(self.disk, swp=1)

    def elsewhere(self) -> None:
        """The unit attentions of others do not matter."""
        self.other.session.tgt_devs[0].queue_unit_attention(sense.CAPACITY_CHANGED)

    def own_reservation(self) -> None:
        self.disk.reserved_by = self.one.session


@pytest.mark.parametrize(
    ("close", "left"),
    [
        (Gate.gone, NEITHER),
        (Gate.faulted, NEITHER),
        (Gate.reinstating, NEITHER),
        (Gate.no_room, NEITHER),
        (Gate.latency, NEITHER),
        (Gate.traced, NEITHER),
        (Gate.black_hole, NEITHER),
        (Gate.standby, NEITHER),
        (Gate.reserved, NEITHER),
        (Gate.attention, NEITHER),
        (Gate.protected, READS),
        (Gate.elsewhere, BOTH),
        (Gate.own_reservation, BOTH),
    ],
)
async def test_what_is_known_in_advance_is_what_the_gates_say(
    system: System, disk: VdiskDevice, close: Callable[[Gate], None], left: tuple[bool, bool]
) -> None:
    gate = Gate(system, disk)
    # Sent while all gates were open.
    reading, writing = asked(gate.one, READ), asked(gate.one, WRITE)
    assert gates.clear_paths(gate.tgt_dev) == BOTH
    close(gate)
    assert gates.clear_paths(gate.tgt_dev) == left
    for cmd, is_clear in zip((reading, writing), left, strict=True):
        passes = (
            not gates.is_swallowed(gate.tgt_dev, cmd.parsed.direction)
            and outcome(gates.check_access_state, cmd) is None
            and not gates.conflicts(gate.tgt_dev, cmd.flags)
            and not gates.has_attention(gate.tgt_dev, cmd.flags)
            and gates.write_refusal(gate.tgt_dev, cmd.flags) is None
        )
        # A path that seems closed in advance may be open in the end, but never the other way round.
        assert passes or not is_clear


async def test_a_read_only_lun_has_a_clear_path_for_reads(system: System) -> None:
    await system.add_disk("disk", read_only=1)
    assert gates.clear_paths(system.initiator().session.tgt_devs[0]) == READS
