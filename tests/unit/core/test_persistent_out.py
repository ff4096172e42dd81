from __future__ import annotations

import pytest

from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.control import ControlValues
from scstfs.scsi.status import Status
from tests.support.fake_store import FakeStore
from tests.support.nexuses import (
    BAD_CDB,
    BAD_LENGTH,
    BAD_LIST,
    CLEARED,
    CONFLICT,
    PREEMPTED,
    REGISTRATION_PREEMPTED,
    RELEASED,
    THROWN_OUT,
    A,
    B,
    C,
    D,
    Nexuses,
    outcome,
)
from tests.support.reservations import (
    ALL_TG_PT,
    APTPL,
    CLEAR,
    EA,
    EA_AR,
    EA_RO,
    IGNORE,
    MOVE,
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
    pr_out,
)
from tests.support.target import GOOD, Result
from tests.support.threads import ManualPool

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


@pytest.mark.parametrize("action", range(8))
async def test_a_parameter_list_has_one_length(nexuses: Nexuses, action: int) -> None:
    (one,) = await nexuses.add(A)
    before = nexuses.disk.pr.save_state()
    for length in (0, 1, 8, 23, 25, 28, 48):
        cdb, data = pr_out(action, WE, key=A, new=B, length=length)
        refused = await one.execute(cdb, data.ljust(length, b"\0")[:length])
        # Of REGISTER AND MOVE that is the length of the TransportID.
        wrong = BAD_LIST if action == MOVE and length >= 24 else BAD_LENGTH
        assert outcome(refused) == wrong
    # As it is announced, but the initiator has no more than this to send.
    cdb, data = pr_out(action, WE, key=A, new=B)
    assert outcome(await one.execute(cdb, data[:16])) == BAD_LENGTH
    assert nexuses.disk.pr.save_state() == before


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
    # The last registration ends the reservation.
    assert await other.execute(*pr_out(REGISTER, key=B)) == GOOD
    assert nexuses.held is None


async def test_unregistering_another(nexuses: Nexuses) -> None:
    _, other = await nexuses.add(A, B)
    await nexuses.all[0].execute(*pr_out(RESERVE, WE_RO, key=A))
    assert await other.execute(*pr_out(REGISTER, key=B)) == GOOD
    assert nexuses.held == (A, WE_RO)
    assert nexuses.attentions == [[], []]


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
    # Without a reservation nothing is checked.
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
        # The unit attention about cleared commands comes first.
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
    disk.medium.install(store)
    return store


READ = bytes.fromhex("28000000000000000100")


@pytest.mark.parametrize("tas", [False, True])
async def test_preempt_and_abort_waits(
    nexuses: Nexuses, store: FakeStore, monkeypatch: pytest.MonkeyPatch, tas: bool
) -> None:
    monkeypatch.setattr(VdiskDevice, "control", ControlValues(tas=tas))
    one, other, third = await nexuses.add(A, B, C)
    pool = ManualPool()
    for initiator in nexuses.all:
        pool.serve(initiator.session.tgt_devs[0])
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
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
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
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
    incomplete = other.prepare(bytes.fromhex("2a000000000000000100"), 512)
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=B))
    waiting = other.start(READ, data_in=512)
    assert not waiting.is_over
    pool.drain()
    assert cmd.result == GOOD
    assert waiting.result.status is None
    assert incomplete.result.status is None
    assert not other.session.tgt_devs[0].commands
