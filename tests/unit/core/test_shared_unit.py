"""A device that other nodes serve, too: when it is closed, and what its fence stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from scstfs.core.fence import Fence, boot_clock
from scstfs.core.shared_unit import HOLD_SECONDS, SharedUnit
from scstfs.core.sharing import Agreed, NoAgreement, Unresolved
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.persist.unit_state import ReservedBy, UnitState
from scstfs.scsi.status import Status, TaskStatus
from tests.support.nexuses import REGISTRATION_PREEMPTED, RELEASED, pending
from tests.support.reservations import (
    IGNORE,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    WE,
    WE_RO,
    pr_out,
)
from tests.support.target import GOOD, Initiator, System

A, B = 0xA, 0xB
READ, WRITE = bytes.fromhex("28000000000000000100"), bytes.fromhex("2a000000000000000100")
CAW = bytes.fromhex("89000000000000000000000000010000")
FUA_WRITE = bytes.fromhex("2a080000000000000100")
INQUIRY, TUR = bytes.fromhex("120000002400"), bytes(6)
RESERVE_6, RELEASE_6 = bytes.fromhex("160000000000"), bytes.fromhex("170000000000")
OLD, NEW = b"o" * 512, b"n" * 512


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Alone:
    """All that there is to agree with is this node; ``fails`` is what happens instead."""

    def __init__(self) -> None:
        self.unit: SharedUnit
        self.fails: Exception | None = None
        self.waits: list[Callable[[], None]] = []
        self.is_slow = False

    def change(self, compute: Callable[[], UnitState], done: Agreed) -> None:
        if self.is_slow:
            self.waits.append(lambda: self._change(compute, done))
        else:
            self._change(compute, done)

    def _change(self, compute: Callable[[], UnitState], done: Agreed) -> None:
        if self.fails is not None:
            done(self.fails)
            return
        try:
            state = compute()
        except Exception as error:
            done(error)
        else:
            self.unit.adopt(state, is_next=True, is_mine=True)
            done(None)
        self.unit.open(self.unit.fence)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agreement() -> Alone:
    return Alone()


@pytest.fixture
def unit(disk: VdiskDevice, agreement: Alone, clock: Clock) -> SharedUnit:
    """Open until 10."""
    unit = agreement.unit = SharedUnit(disk, "here", agreement)
    disk.shared = unit
    unit.open(Fence(clock, 10.0))
    return unit


async def content(initiator: Initiator) -> bytes:
    return (await initiator.execute(READ, data_in=512)).data


@pytest.mark.parametrize("cdb", [WRITE, FUA_WRITE], ids=["quick", "general"])
async def test_nothing_is_written_after_the_deadline(
    system: System, unit: SharedUnit, clock: Clock, cdb: bytes
) -> None:
    one = system.initiator()
    assert await one.execute(cdb, OLD) == GOOD
    clock.now = 10.0
    late = one.start(cdb, NEW)
    read = one.start(READ, data_in=512)
    assert not late.is_over
    assert not read.is_over
    assert system.directory.joinpath("disk").read_bytes()[:512] == OLD
    assert unit.is_closed
    assert (await one.execute(INQUIRY, data_in=36)).status is Status.GOOD
    # The node has joined again; nobody has reserved the unit meanwhile.
    unit.open(Fence(clock, 20.0))
    assert await late.wait() == GOOD
    assert (await read.wait()).status is Status.GOOD
    assert await content(one) == NEW


async def test_a_decision_made_in_time_ends_at_the_deadline(
    system: System, unit: SharedUnit, clock: Clock
) -> None:
    one = system.initiator()
    assert await one.execute(WRITE, OLD) == GOOD
    quick = one.session.tgt_devs[0].quick
    assert quick.read is not None
    assert quick.write is not None
    memory = bytearray(512)
    assert quick.read(0, memoryview(memory))
    clock.now = 10.0
    assert not quick.write(0, memoryview(bytearray(NEW)))
    assert not quick.read(0, memoryview(memory))
    assert quick.lend(0, 512) is None


@pytest.mark.parametrize("cdb", [WRITE, CAW], ids=["quick", "general"])
async def test_whatever_writes_instead_of_the_loop_has_the_deadline(
    system: System,
    unit: SharedUnit,
    disk: VdiskDevice,
    monkeypatch: pytest.MonkeyPatch,
    cdb: bytes,
) -> None:
    store, deadlines = disk.medium.need_store(), []
    try_write = store.try_write

    def watched(offset: int, data: memoryview, *, stays: bool = False, deadline: int = 0) -> bool:
        deadlines.append(deadline)
        return try_write(offset, data, stays=stays, deadline=deadline)

    monkeypatch.setattr(store, "try_write", watched)
    one = system.initiator()
    assert await one.execute(cdb, bytes(512) + NEW if cdb is CAW else NEW) == GOOD
    assert deadlines == [unit.fence.address]


def test_a_worker_thread_does_nothing_after_the_deadline(clock: Clock) -> None:
    fence, done = Fence(clock, 10.0), []
    fence.run(lambda: done.append(1))
    clock.now = 10.0
    with pytest.raises(TaskStatus):
        fence.run(lambda: done.append(2))
    assert done == [1]


async def test_a_disk_does_nothing_after_the_deadline(
    system: System, disk: VdiskDevice, agreement: Alone
) -> None:
    """The command has started in time, and its request has waited too long."""
    unit = agreement.unit = SharedUnit(disk, "here", agreement)
    disk.shared = unit
    fence = Fence(deadline=boot_clock() + 60)
    unit.open(fence)
    one = system.initiator()
    assert await one.execute(FUA_WRITE, OLD) == GOOD
    disk.env.disks.hold()
    late = one.start(FUA_WRITE, NEW)
    # As if the process had been stopped here.
    fence._native.set(0)
    disk.env.disks.release()
    assert (await late.wait()).status is Status.BUSY
    assert system.directory.joinpath("disk").read_bytes()[:512] == OLD


async def test_commands_do_not_wait_for_ever(
    system: System, unit: SharedUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = system.initiator()
    unit.close()
    waiting = one.start(TUR)
    unit.expire()
    assert not waiting.is_over
    monkeypatch.setattr("scstfs.core.shared_unit.HOLD_SECONDS", 0.0)
    await trio.sleep(0.001)
    unit.expire()
    assert waiting.result.status is Status.BUSY
    assert HOLD_SECONDS < 10


async def test_a_change_is_made_when_all_have_made_it(
    system: System, disk: VdiskDevice, unit: SharedUnit, agreement: Alone
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    agreement.is_slow = True
    cmd = one.start(*pr_out(REGISTER, new=A))
    held = other.start(TUR)
    assert not cmd.is_over
    assert not held.is_over
    assert disk.pr.registrants == []
    agreement.waits.pop()()
    assert cmd.result == GOOD
    assert held.result == GOOD
    assert [registrant.key for registrant in disk.pr.registrants] == [A]


@pytest.mark.parametrize(
    ("failure", "status", "triple"),
    [
        (NoAgreement(), Status.BUSY, None),
        (Unresolved(), Status.CHECK_CONDITION, (0xB, 0x2E, 2)),
    ],
)
async def test_a_change_that_was_not_agreed_on(
    system: System,
    disk: VdiskDevice,
    unit: SharedUnit,
    agreement: Alone,
    failure: Exception,
    status: Status,
    triple: object,
) -> None:
    one = system.initiator()
    agreement.fails = failure
    result = await one.execute(*pr_out(REGISTER, new=A))
    assert (result.status, result.triple) == (status, triple)
    assert disk.pr.registrants == []
    agreement.fails = None
    unit.open(unit.fence)
    assert await one.execute(*pr_out(REGISTER, new=A)) == GOOD


async def test_what_another_node_has_changed(
    system: System, disk: VdiskDevice, unit: SharedUnit
) -> None:
    one = system.initiator("one")
    assert await one.execute(*pr_out(IGNORE, new=A)) == GOOD
    assert await one.execute(*pr_out(RESERVE, WE_RO, key=A)) == GOOD
    held = unit.state()
    (registration,) = held.reservations.registrants
    effect = registration.transport_id, registration.rel_tgt_id, (6, 0x2A, 5)
    unit.adopt(UnitState(generation=9, effects=(effect,)), is_next=True, is_mine=False)  # type: ignore[arg-type]
    assert pending(one) == [REGISTRATION_PREEMPTED]
    assert disk.pr.registrants == []
    assert one.session.tgt_devs[0].registrant is None
    assert disk.pr.generation == 9


async def test_what_was_missed_is_told_as_far_as_it_shows(
    system: System, disk: VdiskDevice, unit: SharedUnit
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    assert await one.execute(*pr_out(IGNORE, new=A)) == GOOD
    assert await other.execute(*pr_out(IGNORE, new=B)) == GOOD
    registered = unit.state()
    assert await one.execute(*pr_out(RESERVE, WE_RO, key=A)) == GOOD
    unit.adopt(registered, is_next=False, is_mine=False)
    assert pending(one) == pending(other) == [RELEASED]
    unit.adopt(UnitState(), is_next=False, is_mine=False)
    assert pending(one) == [RELEASED, REGISTRATION_PREEMPTED]


async def test_reserve_is_shared(
    system: System, disk: VdiskDevice, unit: SharedUnit, agreement: Alone
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    assert await one.execute(RESERVE_6) == GOOD
    holder = unit.state().reserved_by
    assert holder is not None
    assert holder.node == "here"
    assert (await other.execute(WRITE, NEW)).status is Status.RESERVATION_CONFLICT
    assert await one.execute(RELEASE_6) == GOOD
    far = UnitState(reserved_by=ReservedBy("there", "somebody"))
    unit.adopt(far, is_next=True, is_mine=False)
    for initiator in (one, other):
        assert (await initiator.execute(WRITE, NEW)).status is Status.RESERVATION_CONFLICT
        assert (await initiator.execute(RESERVE_6)).status is Status.RESERVATION_CONFLICT
        assert await initiator.execute(RELEASE_6) == GOOD
    assert unit.state().reserved_by == far.reserved_by
    unit.adopt(UnitState(), is_next=True, is_mine=False)
    assert await one.execute(RESERVE_6) == GOOD
    await one.end()
    assert unit.state().reserved_by is None
    assert await other.execute(WRITE, NEW) == GOOD


async def test_a_preempted_command_that_waits_for_an_agreement_ends(
    system: System, unit: SharedUnit, agreement: Alone
) -> None:
    one = system.initiator("one")
    assert await one.execute(*pr_out(IGNORE, new=A)) == GOOD
    (registration,) = unit.state().reservations.registrants
    agreement.is_slow = True
    cmd = one.start(*pr_out(RESERVE, WE, key=A))
    abort = registration.transport_id, registration.rel_tgt_id, None
    unit.adopt(UnitState(effects=(abort,)), is_next=True, is_mine=False)  # type: ignore[arg-type]
    assert cmd.is_over
    assert cmd.result.status is None
    agreement.waits.pop()()
    assert cmd.replies == 1


async def test_preempt_and_abort_aborts_here(
    system: System, unit: SharedUnit, agreement: Alone
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    assert await one.execute(*pr_out(IGNORE, new=A)) == GOOD
    assert await other.execute(*pr_out(IGNORE, new=B)) == GOOD
    agreement.is_slow = True
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=B))
    victim = other.start(TUR)
    agreement.waits.pop()()
    assert cmd.result == GOOD
    assert victim.is_over
    assert victim.result.status is None
    assert REGISTRATION_PREEMPTED in pending(other)


async def test_nothing_is_agreed_on_where_nothing_changes(
    system: System, disk: VdiskDevice, unit: SharedUnit
) -> None:
    one = system.initiator("one")
    assert await one.execute(*pr_out(IGNORE, new=A)) == GOOD
    assert await one.execute(*pr_out(RELEASE, WE, key=A)) == GOOD
    unit.leave()
    assert disk.shared is None
    assert [registrant.key for registrant in disk.pr.registrants] == [A]
    assert await one.execute(*pr_out(RESERVE, WE, key=A)) == GOOD
