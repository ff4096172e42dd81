"""The end of a command: its response, its counters, and the end of aborted commands."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from scstfs.core import access, completion
from scstfs.core.command import Abort, Command, Phase
from scstfs.core.counters import DIRECTIONS
from scstfs.core.session import Session
from scstfs.core.taskset import TaskAttribute
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi import sense
from scstfs.scsi.control import ControlValues, QErr
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status
from tests.support.fake_store import FakeStore
from tests.support.target import Initiator, System, TestCommand
from tests.support.threads import ManualPool

READY, INQUIRY, FLUSH = bytes(6), bytes.fromhex("120000002400"), bytes.fromhex("35" + "00" * 9)
READ, WRITE = bytes.fromhex("28000000000000000100"), bytes.fromhex("2a000000000000000100")
#: Beyond the end, without and with the NACA bit.
FAILS, FAILS_WITH_NACA = (bytes.fromhex(f"28007fffffff000001{c}") for c in ("00", "04"))
BLOCK = 512
CLEARED = (6, 0x2F, 0)


@pytest.fixture
def pool() -> ManualPool:
    return ManualPool()


@pytest.fixture
def one(system: System, disk: VdiskDevice, pool: ManualPool) -> Initiator:
    """An initiator whose blocking work waits for the test."""
    disk.medium.install(FakeStore())
    one = system.initiator("one")
    pool.serve(one.session.tgt_devs[0])
    return one


def set_control(disk: VdiskDevice, **values: int) -> None:
    disk.modes.current = ControlValues(**values)


def pending(initiator: Initiator) -> list[tuple[int, int, int]]:
    return [ua.sense.triple for ua in initiator.session.tgt_devs[0].unit_attentions]


# The answer


async def test_only_the_first_answer_counts(one: Initiator) -> None:
    cmd = one.prepare(READ, data_in=BLOCK)
    completion.finish(cmd, Status.GOOD, data=b"first")
    completion.finish(cmd, Status.BUSY, data=b"second")
    assert (cmd.replies, cmd.result.status, cmd.result.data) == (1, Status.GOOD, b"first")


async def test_a_command_that_is_over_wants_no_data(one: Initiator) -> None:
    cmd = one.prepare(WRITE, data_out=BLOCK)
    assert cmd.data_out_length == BLOCK
    completion.finish(cmd, Status.BUSY)
    assert cmd.data_out_length == 0


async def test_no_more_data_than_the_command_asks_for(one: Initiator) -> None:
    cmd = one.prepare(READ, data_in=BLOCK)
    completion.finish(cmd, Status.GOOD, data=b"x" * (BLOCK + 1))
    assert len(cmd.data_in) == BLOCK


@pytest.mark.parametrize(("d_sense", "code"), [(0, 0x70), (1, 0x72)])
async def test_sense_data_has_the_format_of_the_mode_page(
    one: Initiator, disk: VdiskDevice, d_sense: int, code: int
) -> None:
    set_control(disk, d_sense=d_sense)
    for lun, expected in ((0, code), (1, 0x70)):
        cmd = one.prepare(READY, lun=lun)
        completion.finish(cmd, Status.CHECK_CONDITION, CheckCondition(sense.LUN_NOT_SUPPORTED))
        assert cmd.sense[0] == expected


async def test_data_and_sense_data_go_together(one: Initiator) -> None:
    """As from a tape drive at a filemark."""
    cmd = one.prepare(READ, data_in=BLOCK)
    condition = CheckCondition(sense.LUN_NOT_SUPPORTED)
    completion.finish(cmd, Status.CHECK_CONDITION, condition, b"data")
    assert (cmd.result.triple, cmd.result.data) == ((5, 0x25, 0), b"data")


async def test_who_waits_for_the_end_is_told_behind_the_answer(one: Initiator) -> None:
    told: list[object] = []
    cmd = one.prepare(READ, data_in=BLOCK)
    for name in ("first", "second"):
        cmd.call_when_ended(lambda name=name: told.append((name, cmd.replies, cmd.is_over)))  # type: ignore[misc]
    completion.finish(cmd, Status.GOOD)
    assert told == [("first", 1, True), ("second", 1, True)]


# Counting


def counted(session: Session) -> dict[str, tuple[int, int, int]]:
    """Counts of commands, bytes and unaligned commands, for the directions that have any."""
    found = {}
    for name in DIRECTIONS:
        counter = session.counters.of(name)
        if counter.cmds:
            found[name] = (counter.cmds, counter.io_bytes, counter.unaligned)
    return found


@pytest.mark.parametrize(
    ("cdb", "data", "status", "expected"),
    [
        (READY, 0, Status.GOOD, {"none": (1, 0, 0)}),
        (READ, 0, Status.GOOD, {"read": (1, BLOCK, 1)}),
        (WRITE, BLOCK, Status.GOOD, {"write": (1, BLOCK, 1)}),
        (bytes.fromhex("28000000000800000800"), 0, Status.GOOD, {"read": (1, 4096, 0)}),
        (bytes.fromhex("28000000000100000800"), 0, Status.GOOD, {"read": (1, 4096, 1)}),
        (INQUIRY, 0, Status.GOOD, {"read": (1, 0x24, 1)}),
        # A command that transferred no data counts as one without data.
        (READ, 0, Status.BUSY, {"none": (1, 0, 0)}),
        (WRITE, BLOCK, Status.RESERVATION_CONFLICT, {"none": (1, 0, 0)}),
    ],
)
async def test_commands_are_counted_by_what_they_moved(
    one: Initiator, cdb: bytes, data: int, status: Status, expected: object
) -> None:
    completion.finish(one.prepare(cdb, data, 4096), status)
    assert counted(one.session) == expected
    assert one.session.command_count == 0


async def test_what_was_not_understood_is_counted_too(one: Initiator) -> None:
    one.prepare(b"\xff" * 6)
    one.prepare(READY, lun=9)
    assert counted(one.session) == {"none": (2, 0, 0)}


@pytest.mark.parametrize(
    ("cdb", "data_out", "data_in", "kind"),
    [(READY, 0, None, "n"), (READ, 0, BLOCK, "r"), (WRITE, BLOCK, None, "w")],
)
async def test_latencies_are_kept_by_direction_and_size(
    system: System, one: Initiator, cdb: bytes, data_out: int, data_in: int | None, kind: str
) -> None:
    completion.finish(one.prepare(cdb, data_out, data_in), Status.GOOD)
    system.scst.env.measure_latency = True
    completion.finish(one.prepare(cdb, data_out, data_in), Status.GOOD)
    latency = one.session.latency
    assert "total 1 " in latency.text(kind, 512)
    assert all("total" not in latency.text(other, 512) for other in "nrwb" if other != kind)


# Giving up


def at_work(one: Initiator) -> TestCommand:
    """A command that a worker thread executes."""
    cmd = one.start(WRITE, bytes(BLOCK))
    assert cmd.phase is Phase.EXECUTING
    return cmd


def without_data(one: Initiator) -> TestCommand:
    return one.prepare(WRITE, data_out=BLOCK)


def behind(one: Initiator) -> TestCommand:
    """A command that waits for another one in the task set."""
    cmd = one.start(READY, attribute=TaskAttribute.ORDERED)
    assert cmd.phase is Phase.BLOCKED
    return cmd


@pytest.mark.parametrize("how", list(Abort))
async def test_what_waits_for_data_ends_at_once(
    one: Initiator, monkeypatch: pytest.MonkeyPatch, how: Abort
) -> None:
    cancelled: list[Command] = []
    monkeypatch.setattr(TestCommand, "cancel_transfer", lambda self: cancelled.append(self))
    cmd = without_data(one)
    completion.abort(cmd, how)
    assert cancelled == [cmd]
    assert cmd.is_over
    assert cmd.result.status is (None if how is Abort.SILENT else Status.TASK_ABORTED)
    assert not one.session.tgt_devs[0].commands


async def test_what_waits_for_its_turn_ends_at_once(
    one: Initiator, disk: VdiskDevice, pool: ManualPool
) -> None:
    at_work(one)
    waiting, last = behind(one), behind(one)
    completion.abort(waiting, Abort.SILENT)
    assert waiting.is_over
    assert disk.tasks.waiting == (last,)
    pool.drain()
    assert last.result.status is Status.GOOD
    assert (waiting.replies, waiting.result.status) == (1, None)


async def test_what_a_thread_is_at_ends_with_it(one: Initiator, pool: ManualPool) -> None:
    cmd = at_work(one)
    completion.abort(cmd, Abort.SILENT)
    assert not cmd.is_over
    assert cmd in one.session.tgt_devs[0].commands
    pool.drain()
    assert (cmd.replies, cmd.result.status, cmd.result.data) == (1, None, b"")


async def test_what_is_over_is_not_given_up(one: Initiator) -> None:
    cmd = one.start(READY)
    completion.abort(cmd, Abort.TASK_ABORTED)
    assert (cmd.replies, cmd.result.status) == (1, Status.GOOD)


@pytest.mark.parametrize(
    ("hows", "status"),
    [
        ((Abort.TASK_ABORTED,), Status.TASK_ABORTED),
        ((Abort.SILENT, Abort.TASK_ABORTED), None),
        ((Abort.TASK_ABORTED, Abort.SILENT), None),
    ],
)
async def test_an_initiator_hears_nothing_of_a_command_that_it_gave_up(
    one: Initiator, pool: ManualPool, hows: tuple[Abort, ...], status: Status | None
) -> None:
    cmd = at_work(one)
    for how in hows:
        completion.abort(cmd, how)
    pool.drain()
    assert cmd.result.status is status


async def test_an_answer_that_an_aca_condition_keeps_can_be_given_up(
    one: Initiator, pool: ManualPool
) -> None:
    kept, waiting = at_work(one), behind(one)
    assert one.start(FAILS_WITH_NACA, data_in=BLOCK).result.status is Status.CHECK_CONDITION
    pool.drain()
    assert kept.phase is Phase.ANSWERED
    assert waiting.phase is Phase.DEFERRED
    for cmd in (kept, waiting):
        completion.abort(cmd, Abort.SILENT)
        assert (cmd.replies, cmd.is_over, cmd.result.status) == (1, True, None)
    one.session.tgt_devs[0].aca.clear()
    assert (kept.replies, waiting.replies) == (1, 1)


async def test_what_has_not_started_is_sent_back(
    one: Initiator, disk: VdiskDevice, pool: ManualPool
) -> None:
    at_work(one)
    waiting = behind(one)
    completion.send_back(waiting)
    assert waiting.result.status is Status.BUSY
    assert not disk.tasks.waiting
    pool.drain()
    assert waiting.replies == 1


# Many at once


@pytest.mark.parametrize(
    ("by_other", "tas", "status"),
    [
        (False, 0, None),
        (False, 1, None),
        (True, 0, None),
        (True, 1, Status.TASK_ABORTED),
    ],
)
async def test_tas_decides_what_others_hear(
    one: Initiator, disk: VdiskDevice, by_other: bool, tas: int, status: Status | None
) -> None:
    set_control(disk, tas=tas)
    tgt_dev = one.session.tgt_devs[0]
    first, spared, last = without_data(one), without_data(one), without_data(one)
    victims = completion.abort_commands(tgt_dev, by_other=by_other, spare=spared)
    assert victims == [first, last]
    assert (first.result.status, last.result.status) == (status, status)
    assert first.is_over
    assert last.is_over
    assert list(tgt_dev.commands) == [spared]
    completion.tell_of_loss(tgt_dev)
    assert pending(one) == ([] if tas else [CLEARED])


async def test_the_end_of_one_does_not_let_the_next_start(
    one: Initiator, disk: VdiskDevice, pool: ManualPool
) -> None:
    disk.tasks.block()
    blocked = [one.start(WRITE, bytes(BLOCK), attribute=TaskAttribute.ORDERED) for _ in range(3)]
    disk.tasks.external_blocks = 0
    completion.abort_commands(one.session.tgt_devs[0], by_other=False)
    assert [cmd.result.status for cmd in blocked] == [None] * 3
    assert not pool.queued


@pytest.mark.parametrize(
    ("qerr", "tst", "own", "others"),
    [
        (QErr.RESUME, 0, False, False),
        (QErr.ABORT_ALL, 0, True, True),
        (QErr.ABORT_ALL, 1, True, False),
        (QErr.RESERVED, 0, False, False),
        (QErr.ABORT_NEXUS, 0, True, False),
    ],
)
async def test_a_failure_may_end_other_commands(
    system: System, qerr: QErr, tst: int, own: bool, others: bool
) -> None:
    disk = await system.add_disk(tst=tst)
    set_control(disk, qerr=qerr)
    one, busy, idle = (system.initiator(name) for name in ("one", "busy", "idle"))
    mine, theirs = without_data(one), without_data(busy)
    # A command refused at once is no task of the set; one refused by the device is.
    failing = one.prepare(READ, data_in=BLOCK)
    completion.finish(
        failing, Status.CHECK_CONDITION, CheckCondition(sense.INTERNAL_TARGET_FAILURE)
    )
    assert failing.result.triple == (4, 0x44, 0)
    assert (mine.is_over, theirs.is_over) == (own, others)
    assert pending(one) == []
    assert pending(busy) == ([CLEARED] if others else [])
    # SCST reports it also to initiators that lost no command.
    assert pending(idle) == []


async def test_what_is_no_failure_ends_nothing_else(one: Initiator, disk: VdiskDevice) -> None:
    set_control(disk, qerr=QErr.ABORT_ALL)
    waiting = without_data(one)
    for status in (Status.GOOD, Status.BUSY, Status.RESERVATION_CONFLICT):
        completion.finish(one.prepare(READ, data_in=BLOCK), status)
    assert not waiting.is_over


# What the log says


@pytest.mark.parametrize(
    ("category", "send", "line"),
    [
        ("scsi", lambda one: one.start(FAILS), "one: Read(10) on disk: "),
        ("scsi", lambda one: one.start(READY, lun=5), "one: Test Unit Ready on LUN 0005"),
        ("minor", lambda one: one.start(b"\xff" * 6), "Unknown opcode 0xff for vdisk_fileio"),
    ],
)
async def test_what_an_initiator_is_told_is_traced(
    system: System,
    one: Initiator,
    caplog: pytest.LogCaptureFixture,
    category: str,
    send: Callable[[Initiator], object],
    line: str,
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    trace = system.scst.env.trace
    for flags in (0, trace.bit(category)):
        caplog.clear()
        trace.flags = flags
        send(one)
        assert [message[: len(line)] for message in caplog.messages] == ([line] if flags else [])


async def test_what_nobody_is_told_is_not_traced(
    system: System, one: Initiator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    system.scst.env.trace.flags = system.scst.env.trace.bit("scsi")
    cmd = without_data(one)
    cmd.abort = Abort.SILENT
    completion.finish(cmd, Status.CHECK_CONDITION, CheckCondition(sense.LUN_NOT_SUPPORTED))
    assert (cmd.result.status, caplog.messages) == (None, [])


async def test_a_lun_that_went_does_not_keep_what_is_sent_back(
    system: System, one: Initiator, pool: ManualPool
) -> None:
    """An ACA condition holds only the responses of its own task set."""
    at_work(one)
    waiting = behind(one)
    assert one.start(FAILS_WITH_NACA, data_in=BLOCK).result.status is Status.CHECK_CONDITION
    access.remove_lun(system.target.default_acg.luns[0])
    assert waiting.result.status is Status.BUSY
    pool.drain()
