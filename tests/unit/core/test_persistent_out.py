from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio.testing

from scstfs.core import persistent_out
from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.core.target import Target
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.persist.reservations import decode
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import TransportId
from tests.support.fake_store import FakeStore
from tests.support.reservations import (
    ALL_TG_PT,
    APTPL,
    CLEAR,
    EA,
    EA_AR,
    EA_RO,
    IGNORE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    SPEC_I_PT,
    TYPES,
    WE,
    WE_AR,
    WE_RO,
    move,
    pr_out,
)
from tests.support.target import GOOD, Initiator, Result, System
from tests.support.threads import ManualPool

RELEASED, PREEMPTED, REGISTRATION_PREEMPTED = (6, 0x2A, 4), (6, 0x2A, 3), (6, 0x2A, 5)
CLEARED = (6, 0x2F, 0)
THROWN_OUT = [REGISTRATION_PREEMPTED]
BAD_LENGTH, BAD_CDB, BAD_LIST = (5, 0x1A, 0), (5, 0x24, 0), (5, 0x26, 0)
CONFLICT = "conflict"

A, B, C, D = 0xA, 0xB, 0xC, 0xD


class Nexuses:
    """Initiators that are registered with keys."""

    def __init__(self, system: System, disk: VdiskDevice) -> None:
        self.system = system
        self.disk = disk
        self.all: list[Initiator] = []

    async def add(self, *keys: int) -> Sequence[Initiator]:
        """More of them; key 0 for one that is not registered."""
        for key in keys:
            one = self.system.initiator(f"i{len(self.all)}")
            self.all.append(one)
            if key:
                assert await one.execute(*pr_out(IGNORE, new=key)) == GOOD
        return self.all

    @property
    def keys(self) -> list[int]:
        return [registrant.key for registrant in self.disk.pr.registrants]

    @property
    def held(self) -> tuple[int, int] | None:
        """Holder's key (0 for all) and type."""
        reservations = self.disk.pr
        if reservations.reservation is None:
            return None
        holder = reservations.holder
        return 0 if holder is None else holder.key, reservations.reservation.type

    @property
    def attentions(self) -> list[list[tuple[int, int, int]]]:
        """What each of them will be told."""
        return [pending(initiator) for initiator in self.all]


def pending(initiator: Initiator) -> list[tuple[int, int, int]]:
    return [ua.sense.triple for ua in initiator.session.tgt_devs[0].unit_attentions]


@pytest.fixture
def nexuses(system: System, disk: VdiskDevice) -> Nexuses:
    return Nexuses(system, disk)


def outcome(result: Result) -> object:
    """CONFLICT, the sense triple, or None for GOOD."""
    if result.status is Status.RESERVATION_CONFLICT:
        return CONFLICT
    assert result.status is (Status.GOOD if result.triple is None else Status.CHECK_CONDITION)
    return result.triple


# What is checked first


@pytest.mark.parametrize("action", [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, 7, 8, 31])
async def test_who_is_not_registered(nexuses: Nexuses, action: int) -> None:
    (stranger, _) = await nexuses.add(0, B)
    assert outcome(await stranger.execute(*pr_out(action, WE))) == CONFLICT


@pytest.mark.parametrize(
    ("command", "expected", "specific"),
    [
        (pr_out(RESERVE, WE, key=A, scope=1), BAD_CDB, "cc0002"),
        (pr_out(CLEAR, WE, key=A, scope=1, flags=SPEC_I_PT), BAD_LIST, "8b0014"),
        (pr_out(IGNORE, new=A, flags=SPEC_I_PT), BAD_LIST, "8b0014"),
        (pr_out(RESERVE, WE, key=A, flags=ALL_TG_PT), BAD_LIST, "8a0014"),
        (pr_out(8, WE, key=A), BAD_CDB, "c80001"),
        (pr_out(REGISTER, key=A, new=B, flags=SPEC_I_PT, ports=b""), BAD_LIST, "8b0014"),
        (pr_out(RESERVE, 2, key=A), BAD_CDB, "c80002"),
        (pr_out(RESERVE, WE, key=A, length=23), BAD_LENGTH, "000000"),
        (pr_out(PREEMPT, 4, key=A), BAD_CDB, "c80001"),
    ],
)
async def test_faulty_commands(
    nexuses: Nexuses, command: tuple[bytes, bytes], expected: object, specific: str
) -> None:
    (one,) = await nexuses.add(A)
    before = nexuses.disk.pr.save_state()
    refused = await one.execute(*command)
    assert outcome(refused) == expected
    assert refused.sense[15:18].hex() == specific
    assert nexuses.disk.pr.save_state() == before
    assert nexuses.disk.pr.generation == 1


async def test_no_parameter_list_is_nothing_to_do(nexuses: Nexuses) -> None:
    (one,) = await nexuses.add(0)
    assert await one.execute(pr_out(RESERVE, WE, length=0)[0]) == GOOD


@pytest.mark.parametrize("of_own", [True, False])
async def test_while_reserved(nexuses: Nexuses, of_own: bool) -> None:
    one, other = await nexuses.add(0, 0)
    assert await (one if of_own else other).execute(bytes.fromhex("160000000000")) == GOOD
    assert outcome(await one.execute(*pr_out(REGISTER, new=A))) == CONFLICT


# REGISTER, REGISTER AND IGNORE EXISTING KEY


@pytest.mark.parametrize(
    ("action", "registered", "key", "new", "expected", "keys"),
    [
        (REGISTER, 0, 0, A, None, [A]),
        (REGISTER, 0, B, A, CONFLICT, []),
        (REGISTER, 0, 0, 0, None, []),
        (REGISTER, A, A, B, None, [B]),
        (REGISTER, A, B, C, CONFLICT, [A]),
        (REGISTER, A, 0, C, CONFLICT, [A]),
        (REGISTER, A, A, 0, None, []),
        (IGNORE, 0, B, A, None, [A]),
        (IGNORE, 0, 0, 0, None, []),
        (IGNORE, A, 0, B, None, [B]),
        (IGNORE, A, B, 0, None, []),
    ],
)
async def test_register(
    nexuses: Nexuses,
    action: int,
    registered: int,
    key: int,
    new: int,
    expected: object,
    keys: list[int],
) -> None:
    (one,) = await nexuses.add(registered)
    generation = nexuses.disk.pr.generation
    result = await one.execute(*pr_out(action, key=key, new=new, flags=APTPL))
    assert outcome(result) == expected
    assert nexuses.keys == keys
    # Even where nothing is registered these two change.
    done = expected is None
    assert nexuses.disk.pr.generation == generation + done
    assert nexuses.disk.pr.aptpl is done


@pytest.mark.parametrize("kind", TYPES)
async def test_unregistering_the_holder(nexuses: Nexuses, kind: int) -> None:
    one, other, _ = await nexuses.add(A, B, 0)
    await one.execute(*pr_out(RESERVE, kind, key=A))
    assert await one.execute(*pr_out(REGISTER, key=A)) == GOOD
    assert nexuses.keys == [B]
    assert nexuses.held == ((0, kind) if kind in (WE_AR, EA_AR) else None)
    assert nexuses.attentions == [[], [RELEASED] if kind in (WE_RO, EA_RO) else [], []]
    other.clear_unit_attentions()
    # With the last registration goes whatever there is.
    assert await other.execute(*pr_out(REGISTER, key=B)) == GOOD
    assert nexuses.held is None


async def test_unregistering_another(nexuses: Nexuses) -> None:
    _, other = await nexuses.add(A, B)
    await nexuses.all[0].execute(*pr_out(RESERVE, WE_RO, key=A))
    assert await other.execute(*pr_out(REGISTER, key=B)) == GOOD
    assert nexuses.held == (A, WE_RO)
    assert nexuses.attentions == [[], []]


# ALL_TG_PT


@pytest.fixture
def more_targets(system: System) -> list[Target]:
    """The target has relative identifier 1; there are others with 2 and 0."""
    system.target.rel_tgt_id = 1
    others = [Target(system.driver, name, cpus=1) for name in ("t2", "t0", "forwarding")]
    others[0].rel_tgt_id, others[2].rel_tgt_id, others[2].forward_dst = 2, 3, True
    system.driver.targets.update({target.name: target for target in others})
    return others


def ports(disk: VdiskDevice) -> list[int]:
    return [registrant.rel_tgt_id for registrant in disk.pr.registrants]


async def test_all_target_ports(
    nexuses: Nexuses, disk: VdiskDevice, more_targets: list[Target]
) -> None:
    (one,) = await nexuses.add(0)
    assert await one.execute(*pr_out(REGISTER, new=A, flags=ALL_TG_PT)) == GOOD
    assert ports(disk) == [1, 2]
    # A new key is for the own port alone, but all of them go together.
    assert await one.execute(*pr_out(REGISTER, key=A, new=B, flags=ALL_TG_PT)) == GOOD
    assert nexuses.keys == [B, A]
    assert await one.execute(*pr_out(REGISTER, key=B, flags=ALL_TG_PT)) == GOOD
    assert nexuses.keys == []


async def test_ports_of_the_other_node(
    nexuses: Nexuses, disk: VdiskDevice, more_targets: list[Target]
) -> None:
    scst = disk.scst
    group = scst.device_groups["dg"] = DeviceGroup(scst, "dg")
    group.devices[disk] = None
    there = group.target_groups["tg"] = TargetGroup(group, "tg")
    for name, rel_tgt_id in (("remote1", 11), ("remote2", 12), ("unnumbered", 0)):
        there.targets[name] = GroupTarget(name, None)
        there.targets[name].rel_tgt_id = rel_tgt_id
    there.targets["t2"] = GroupTarget("t2", more_targets[0])
    (one,) = await nexuses.add(0)
    assert await one.execute(*pr_out(IGNORE, new=A, flags=ALL_TG_PT)) == GOOD
    assert ports(disk) == [1, 2, 11, 12]


async def test_a_port_without_number_registers_nothing(nexuses: Nexuses, disk: VdiskDevice) -> None:
    (one,) = await nexuses.add(0)
    command = pr_out(REGISTER, new=A, flags=ALL_TG_PT | SPEC_I_PT, ports=b"nonsense")
    assert await one.execute(*command) == GOOD
    assert ports(disk) == []


# SPEC_I_PT


def iscsi(name: str, isid: int | None = None) -> bytes:
    return TransportId.iscsi(name, None if isid is None else isid.to_bytes(6, "big")).data


async def test_other_ports_are_registered(nexuses: Nexuses, disk: VdiskDevice) -> None:
    one, other = await nexuses.add(0, B)
    present = other.session.transport_id
    assert present is not None
    listed = TransportId.sas(9).data + present.data + iscsi("iqn.x", 1) + TransportId.sas(9).data
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed)
    assert await one.execute(*command) == GOOD
    # Who is registered already gets the new key.
    assert nexuses.keys == [A, A, A, A]
    assert disk.pr.registrants[0].tgt_dev is other.session.tgt_devs[0]
    assert disk.pr.registrants[3].tgt_dev is one.session.tgt_devs[0]


async def test_an_iscsi_name_stands_for_its_sessions(nexuses: Nexuses, disk: VdiskDevice) -> None:
    one, *others = await nexuses.add(0, 0, 0, 0)
    for number, other in enumerate(others):
        name = "iqn.other" if number == 1 else "IQN.x"
        other.session.transport_id = TransportId(iscsi(name, number))
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=iscsi("iqn.X"))
    assert await one.execute(*command) == GOOD
    assert [r.tgt_dev for r in disk.pr.registrants] == [
        others[0].session.tgt_devs[0],
        others[2].session.tgt_devs[0],
        one.session.tgt_devs[0],
    ]


@pytest.mark.parametrize(
    ("listed", "length", "expected"),
    [
        (TransportId.sas(9).data, 28 + 23, BAD_LENGTH),
        (TransportId.sas(9).data[:20], None, BAD_LIST),
        (iscsi("iqn.x", 1)[:-4], None, BAD_LIST),
    ],
)
async def test_lists_that_are_cut(
    nexuses: Nexuses, listed: bytes, length: int | None, expected: object
) -> None:
    (one,) = await nexuses.add(0)
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed, length=length)
    assert outcome(await one.execute(*command)) == expected
    assert nexuses.keys == []


async def test_there_is_an_end_of_registrations(
    nexuses: Nexuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistent_out, "MOST_REGISTRANTS", 3)
    (one,) = await nexuses.add(0)
    listed = b"".join(TransportId.sas(number).data for number in range(3))
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed)
    assert outcome(await one.execute(*command)) == (5, 0x55, 4)
    assert nexuses.keys == []
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed[:48])
    assert await one.execute(*command) == GOOD
    assert nexuses.keys == [A, A, A]


# RESERVE and RELEASE


@pytest.mark.parametrize("kind", TYPES)
async def test_reserve(nexuses: Nexuses, kind: int) -> None:
    one, other = await nexuses.add(A, B)
    shared = kind in (WE_AR, EA_AR)
    assert outcome(await one.execute(*pr_out(RESERVE, kind, key=B))) == CONFLICT
    assert await one.execute(*pr_out(RESERVE, kind, key=A)) == GOOD
    assert nexuses.held == (0 if shared else A, kind)
    assert await one.execute(*pr_out(RESERVE, kind, key=A)) == GOOD
    assert outcome(await one.execute(*pr_out(RESERVE, EA if kind == WE else WE, key=A))) == CONFLICT
    expected = None if shared else CONFLICT
    assert outcome(await other.execute(*pr_out(RESERVE, kind, key=B))) == expected
    assert nexuses.held == (0 if shared else A, kind)
    assert nexuses.disk.pr.generation == 2
    assert nexuses.attentions == [[], []]


@pytest.mark.parametrize("kind", TYPES)
async def test_release(nexuses: Nexuses, kind: int) -> None:
    one, other, _ = await nexuses.add(A, B, 0)
    # Without a reservation nothing is looked at.
    assert await one.execute(*pr_out(RELEASE, kind, key=D)) == GOOD
    await one.execute(*pr_out(RESERVE, kind, key=A))
    assert outcome(await one.execute(*pr_out(RELEASE, kind, key=B))) == CONFLICT
    wrong = EA if kind == WE else WE
    assert outcome(await one.execute(*pr_out(RELEASE, wrong, key=A))) == (5, 0x26, 4)
    if kind not in (WE_AR, EA_AR):
        assert await other.execute(*pr_out(RELEASE, kind, key=B)) == GOOD
    assert nexuses.held is not None
    assert await one.execute(*pr_out(RELEASE, kind, key=A)) == GOOD
    assert nexuses.held is None
    assert nexuses.attentions == [[], [] if kind in (WE, EA) else [RELEASED], []]
    assert nexuses.disk.pr.generation == 2


async def test_clear(nexuses: Nexuses) -> None:
    one, *_ = await nexuses.add(A, B, 0)
    await one.execute(*pr_out(RESERVE, WE_RO, key=A))
    assert outcome(await one.execute(*pr_out(CLEAR, key=B))) == CONFLICT
    assert await one.execute(*pr_out(CLEAR, key=A)) == GOOD
    assert nexuses.keys == []
    assert nexuses.held is None
    assert nexuses.attentions == [[], [PREEMPTED], []]
    assert nexuses.disk.pr.generation == 3
    assert all(initiator.session.tgt_devs[0].registrant is None for initiator in nexuses.all)


# PREEMPT


@pytest.mark.parametrize("action", [PREEMPT, PREEMPT_AND_ABORT])
@pytest.mark.parametrize(
    ("reserved", "key", "kind", "expected", "keys", "held", "attentions"),
    [
        # Nobody holds a reservation: registrations alone, the own one stays.
        (None, C, WE, None, [A, B], None, [[], [], THROWN_OUT]),
        (None, A, WE, None, [A, B, C], None, [[], [], []]),
        (None, D, WE, CONFLICT, [A, B, C], None, [[], [], []]),
        (None, 0, WE, CONFLICT, [A, B, C], None, [[], [], []]),
        # The holder (B) is preempted.
        (WE, B, EA, None, [A, C], (A, EA), [[], THROWN_OUT, [RELEASED]]),
        (WE, B, WE, None, [A, C], (A, WE), [[], THROWN_OUT, []]),
        (EA_RO, B, WE_AR, None, [A, C], (0, WE_AR), [[], THROWN_OUT, [RELEASED]]),
        # Others than the holder.
        (WE, C, EA, None, [A, B], (B, WE), [[], [], THROWN_OUT]),
        (WE, A, EA, None, [B, C], (B, WE), [[], [], []]),
        (WE, D, EA, CONFLICT, [A, B, C], (B, WE), [[], [], []]),
        (WE, 0, EA, BAD_LIST, [A, B, C], (B, WE), [[], [], []]),
        # All registrants hold it.
        (WE_AR, 0, EA, None, [A], (A, EA), [[], THROWN_OUT, THROWN_OUT]),
        (EA_AR, 0, EA_AR, None, [A], (0, EA_AR), [[], THROWN_OUT, THROWN_OUT]),
        (WE_AR, B, EA, None, [A, C], (0, WE_AR), [[], THROWN_OUT, []]),
        (WE_AR, A, EA, None, [A, B, C], (0, WE_AR), [[], [], []]),
        (WE_AR, D, EA, CONFLICT, [A, B, C], (0, WE_AR), [[], [], []]),
    ],
)  # fmt: skip
async def test_preempt(
    nexuses: Nexuses,
    action: int,
    reserved: int | None,
    key: int,
    kind: int,
    expected: object,
    keys: list[int],
    held: tuple[int, int] | None,
    attentions: list[list[tuple[int, int, int]]],
) -> None:
    one, other, _ = await nexuses.add(A, B, C)
    if reserved is not None:
        assert await other.execute(*pr_out(RESERVE, reserved, key=B)) == GOOD
    assert outcome(await one.execute(*pr_out(action, kind, key=A, new=key))) == expected
    assert nexuses.keys == keys
    assert nexuses.held == held
    if action == PREEMPT_AND_ABORT:
        # Whose commands are cleared is told so first.
        attentions = [
            [CLEARED, *told] if REGISTRATION_PREEMPTED in told else told for told in attentions
        ]
    assert nexuses.attentions == attentions
    assert nexuses.disk.pr.generation == 3 + (expected is None)


async def test_preempt_with_the_wrong_key(nexuses: Nexuses) -> None:
    one, _ = await nexuses.add(A, B)
    assert outcome(await one.execute(*pr_out(PREEMPT, WE, key=B, new=B))) == CONFLICT
    assert nexuses.keys == [A, B]


async def test_preempting_oneself_changes_the_type(nexuses: Nexuses) -> None:
    one, *_ = await nexuses.add(A, A, B)
    await one.execute(*pr_out(RESERVE, WE, key=A))
    assert await one.execute(*pr_out(PREEMPT, EA, key=A, new=A)) == GOOD
    assert nexuses.keys == [A, B]
    assert nexuses.held == (A, EA)
    assert nexuses.attentions == [[], [REGISTRATION_PREEMPTED], [RELEASED]]


# PREEMPT AND ABORT


@pytest.fixture
def store(disk: VdiskDevice) -> FakeStore:
    """A store that is never quick."""
    store = FakeStore()
    disk.install(store)
    return store


READ = bytes.fromhex("28000000000000000100")


@pytest.mark.parametrize("tas", [False, True])
async def test_preempt_and_abort_waits(
    nexuses: Nexuses, store: FakeStore, monkeypatch: pytest.MonkeyPatch, tas: bool
) -> None:
    monkeypatch.setattr(VdiskDevice, "task_aborted_status", tas)
    one, other, third = await nexuses.add(A, B, C)
    pool = ManualPool()
    for initiator in nexuses.all:
        initiator.session.tgt_devs[0].pool = pool
    own = one.start(READ, data_in=512)
    victim = other.start(READ, data_in=512)
    spared = third.start(READ, data_in=512)
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=B))
    late = third.start(READ, data_in=512)
    assert not cmd.is_over
    assert nexuses.keys == [A, C]
    pool.step()
    assert own.result.status is Status.GOOD
    assert not cmd.is_over
    pool.step()
    assert victim.result == Result(Status.TASK_ABORTED if tas else None)
    assert cmd.result == GOOD
    pool.drain()
    assert spared.result.status is Status.GOOD
    assert late.result.status is Status.GOOD
    told = [REGISTRATION_PREEMPTED] if tas else [CLEARED, REGISTRATION_PREEMPTED]
    assert nexuses.attentions == [[], told, []]


async def test_own_commands_are_aborted_silently(nexuses: Nexuses, store: FakeStore) -> None:
    one, _ = await nexuses.add(A, B)
    pool = one.session.tgt_devs[0].pool = ManualPool()
    running = one.start(READ, data_in=512)
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=A))
    assert not cmd.is_over
    pool.drain()
    assert running.result.status is None
    assert cmd.result == GOOD
    assert nexuses.attentions == [[], []]


async def test_commands_that_wait_for_data_or_their_turn(
    nexuses: Nexuses, disk: VdiskDevice
) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    pool = one.session.tgt_devs[0].pool = ManualPool()
    incomplete = other.prepare(bytes.fromhex("2a000000000000000100"), 512)
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=B))
    waiting = other.start(READ, data_in=512)
    assert not waiting.is_over
    pool.drain()
    assert cmd.result == GOOD
    assert waiting.result.status is None
    assert incomplete.result.status is None
    assert not other.session.tgt_devs[0].commands


# REGISTER AND MOVE


def other_port(one: Initiator) -> bytes:
    transport_id = one.session.transport_id
    assert transport_id is not None
    return transport_id.data


@pytest.mark.parametrize("unreg", [False, True])
async def test_move(nexuses: Nexuses, unreg: bool) -> None:
    one, other = await nexuses.add(A, 0)
    await one.execute(*pr_out(RESERVE, EA, key=A))
    command = move(other_port(other), 0, key=A, new=B, unreg=unreg, aptpl=True)
    assert await one.execute(*command) == GOOD
    assert nexuses.keys == ([B] if unreg else [A, B])
    assert nexuses.held == (B, EA)
    assert nexuses.disk.pr.aptpl
    assert nexuses.disk.pr.generation == 2
    assert nexuses.attentions == [[], []]
    assert await other.execute(READ, data_in=512) == Result(Status.GOOD, data=bytes(512))
    assert outcome(await one.execute(READ, data_in=512)) == CONFLICT


async def test_move_to_who_is_registered(nexuses: Nexuses) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(RESERVE, WE_RO, key=A))
    command = move(other_port(other), 0, key=A, new=C, aptpl=False)
    assert await one.execute(*command) == GOOD
    assert nexuses.keys == [A, C]
    assert nexuses.held == (C, WE_RO)


async def test_move_to_who_is_not_there(nexuses: Nexuses) -> None:
    (one,) = await nexuses.add(A)
    await one.execute(*pr_out(RESERVE, WE, key=A))
    command = move(iscsi("iqn.x", 1), 77, key=A, new=B, unreg=True, aptpl=False)
    assert await one.execute(*command) == GOOD
    (moved,) = nexuses.disk.pr.registrants
    assert (moved.transport_id.data, moved.rel_tgt_id, moved.key) == (iscsi("iqn.x", 1), 77, B)
    assert nexuses.held == (B, WE)


MoveOf = Callable[[Initiator, Initiator], tuple[bytes, bytes]]


def moving(
    *, key: int = A, new: int = B, to: bytes | None = None, cut: int | None = None
) -> MoveOf:
    def make(one: Initiator, other: Initiator) -> tuple[bytes, bytes]:
        cdb, data = move(other_port(other) if to is None else to, 0, key=key, new=new, aptpl=True)
        if cut is None:
            return cdb, data
        return cdb[:5] + cut.to_bytes(4, "big") + cdb[9:], data[:cut]

    return make


@pytest.mark.parametrize(
    ("reserved", "by_holder", "command", "expected"),
    [
        (WE, True, moving(key=B), CONFLICT),
        (None, True, moving(), BAD_CDB),
        (WE, False, moving(key=B), CONFLICT),
        (WE, True, moving(new=0), BAD_CDB),
        (WE_AR, True, moving(), CONFLICT),
        (WE, True, moving(cut=47), BAD_LIST),
        (WE, True, moving(to=bytes(8)), BAD_LIST),
        (WE, True, lambda one, other: moving(to=other_port(one))(one, other), BAD_LIST),
        (WE, True, moving(to=iscsi("iqn.x" * 9, 1)[:24]), BAD_LIST),
    ],
    ids=[
        "wrong key", "not reserved", "not holder", "no new key", "all registrants", "cut",
        "short id", "same port", "cut id",
    ],
)  # fmt: skip
async def test_moves_that_are_refused(
    nexuses: Nexuses, reserved: int | None, by_holder: bool, command: MoveOf, expected: object
) -> None:
    one, other = await nexuses.add(A, B)
    if reserved is not None:
        await one.execute(*pr_out(RESERVE, reserved, key=A))
    before = nexuses.disk.pr.save_state()
    sender = one if by_holder else other
    assert outcome(await sender.execute(*command(one, other))) == expected
    assert nexuses.disk.pr.save_state() == before


# Persistence


def saved_keys(path: Path) -> list[int]:
    return [int.from_bytes(r.key, "big") for r in decode(path.read_bytes()).registrants]


async def test_good_comes_after_the_file(
    system: System, nexuses: Nexuses, disk: VdiskDevice
) -> None:
    (one,) = await nexuses.add(0)
    path = system.scst.state.reservations_path("disk")
    pool = one.session.tgt_devs[0].pool = ManualPool()
    cmd = one.start(*pr_out(REGISTER, new=A, flags=APTPL))
    assert not cmd.is_over
    assert not path.exists()
    pool.drain()
    assert cmd.result == GOOD
    assert saved_keys(path) == [A]


async def test_without_aptpl_there_is_no_file(
    system: System, nexuses: Nexuses, disk: VdiskDevice
) -> None:
    one, other = await nexuses.add(0, 0)
    path = system.scst.state.reservations_path("disk")
    pool = one.session.tgt_devs[0].pool = ManualPool()
    assert one.start(*pr_out(REGISTER, new=A)).result == GOOD
    assert not pool.queued
    one.start(*pr_out(REGISTER, key=A, new=B, flags=APTPL))
    pool.drain()
    assert path.exists()
    # Whoever registers decides for all.
    assert await other.execute(*pr_out(REGISTER, new=C)) == GOOD
    assert not path.exists()


async def test_nothing_else_starts_meanwhile(
    system: System, nexuses: Nexuses, disk: VdiskDevice
) -> None:
    one, other = await nexuses.add(0, 0)
    pool = one.session.tgt_devs[0].pool = ManualPool()
    one.start(*pr_out(REGISTER, new=A, flags=APTPL))
    waiting = other.start(bytes(6))
    assert not waiting.is_over
    pool.drain()
    assert waiting.result == GOOD


@pytest.mark.parametrize(
    "command",
    [
        pr_out(REGISTER, key=A, new=D, flags=APTPL),
        pr_out(REGISTER, key=A, flags=APTPL),
        pr_out(PREEMPT_AND_ABORT, EA, key=A, new=B),
        pr_out(CLEAR, key=A),
        pr_out(RELEASE, WE_RO, key=A),
    ],
    ids=["register", "unregister", "preempt", "clear", "release"],
)
@pytest.mark.logs("disk: can not save persistent reservations")
async def test_what_can_not_be_saved_is_not_done(
    system: System,
    nexuses: Nexuses,
    disk: VdiskDevice,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: tuple[bytes, bytes],
) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(RESERVE, WE_RO, key=A))
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    before, generation = disk.pr.save_state(), disk.pr.generation
    file = disk.pr.file
    assert file is not None

    def fail(_state: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file, "save", fail)
    assert outcome(await one.execute(*command)) == (4, 0x44, 0)
    assert disk.pr.save_state() == before
    assert disk.pr.generation == generation
    assert nexuses.attentions == [[], []]
    assert [i.session.tgt_devs[0].registrant for i in (one, other)] == disk.pr.registrants
    assert "disk: can not save persistent reservations" in caplog.text
    monkeypatch.undo()
    assert await one.execute(*command) == GOOD


@pytest.mark.logs("disk: can not save persistent reservations")
async def test_a_session_that_comes_while_saving_fails(
    system: System, nexuses: Nexuses, disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    pool = one.session.tgt_devs[0].pool = ManualPool()
    cmd = one.start(*pr_out(CLEAR, key=A))
    await other.end()
    transport_id = other.session.transport_id
    assert transport_id is not None
    again = system.initiator("again", port=transport_id.data[4])
    assert again.session.tgt_devs[0].registrant is None
    work, done = pool.queued.pop()
    done(OSError(errno.EIO, "I/O error"), None)
    assert outcome(cmd.result) == (4, 0x44, 0)
    assert again.session.tgt_devs[0].registrant is disk.pr.registrants[1]
    assert work is not None


async def test_a_session_that_goes_while_saving(nexuses: Nexuses, disk: VdiskDevice) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    pool = one.session.tgt_devs[0].pool = ManualPool()
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=B))
    await other.end()
    pool.drain()
    await trio.testing.wait_all_tasks_blocked()
    assert cmd.result == GOOD
    assert nexuses.keys == [A]
