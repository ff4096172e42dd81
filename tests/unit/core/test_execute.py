"""The pipeline from a received command to its response: its steps and their order."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
import trio

from scstfs.core import access, execute
from scstfs.core.command import Command, Phase
from scstfs.core.device import LATER, Answer, Completion, Job, Until
from scstfs.core.target import BlackHole
from scstfs.core.taskset import Claim, TaskAttribute
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi import sense
from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, Initiator, System, TestCommand
from tests.support.threads import ManualPool

READY, INQUIRY, FLUSH = bytes(6), bytes.fromhex("120000002400"), bytes.fromhex("35" + "00" * 9)
READ, WRITE = bytes.fromhex("28000000000000000100"), bytes.fromhex("2a000000000000000100")
UNMAP = bytes.fromhex("42000000000000001800")
BLOCK = 512
DATA = bytes(range(256)) * 2

NO_LUN, BAD_OPCODE, OUT_OF_RANGE = (5, 0x25, 0), (5, 0x20, 0), (5, 0x21, 0)
BUG, NO_MEDIUM = (4, 0x44, 0), (2, 0x3A, 0)


@pytest.fixture
def pool() -> ManualPool:
    return ManualPool()


@pytest.fixture
def store(disk: VdiskDevice) -> FakeStore:
    """A store that always needs a worker thread."""
    store = FakeStore()
    disk.medium.install(store)
    return store


def serve(system: System, cdb: bytes, action: Callable[[Command], Answer]) -> None:
    """Have commands with this operation code executed by ``action``."""
    name = opcode_table(DeviceType.DISK).decode(cdb, 9).op.execute
    system.scst.env.commands[name] = action


def with_pool(system: System, pool: ManualPool) -> Initiator:
    """An initiator whose blocking work waits for the test."""
    one = system.initiator()
    one.session.tgt_devs[0].pool = pool
    return one


def raising(error: BaseException) -> Callable[..., bytes]:
    def action(*_: object) -> bytes:
        raise error

    return action


# What is refused before any data is transferred


@pytest.mark.parametrize(
    ("lun", "cdb", "triple"),
    [
        (1, READY, NO_LUN),
        (1, WRITE, NO_LUN),
        (0, bytes.fromhex("ff00000000000000"), BAD_OPCODE),
        (0, bytes.fromhex("2a000000080000000100"), OUT_OF_RANGE),
        (0, bytes.fromhex("2a000000070000000200"), None),
        (0, bytes.fromhex("2a000000070000f90100"), OUT_OF_RANGE),
    ],
)
async def test_what_can_not_be_executed_brings_no_data(
    system: System, disk: VdiskDevice, lun: int, cdb: bytes, triple: object
) -> None:
    one = system.initiator()
    cmd = one.prepare(cdb, data_out=BLOCK, lun=lun)
    assert cmd.is_over is (triple is not None)
    assert cmd.result.triple == triple
    assert bool(cmd.data_out_length) is (triple is None)
    assert one.session.command_count == len(one.session.tgt_devs[0].commands) == (triple is None)


async def test_data_is_fetched_for_what_writes(system: System, disk: VdiskDevice) -> None:
    one = system.initiator()
    cmd = one.prepare(WRITE, data_out=BLOCK)
    assert (cmd.data_out_length, cmd.phase) == (BLOCK, Phase.DATA_WAIT)
    assert one.prepare(READ, data_in=BLOCK).data_out_length == 0
    assert next(iter(one.session.tgt_devs[0].commands)) is cmd
    assert one.session.command_count == 2


async def test_a_lun_that_is_not_there_is_told_by_inquiry(
    system: System, disk: VdiskDevice
) -> None:
    result = await system.initiator().execute(INQUIRY, data_in=36, lun=5)
    assert (result.status, result.data[0]) == (Status.GOOD, 0x7F)


async def test_a_device_without_a_handler_is_as_good_as_none(
    system: System, disk: VdiskDevice
) -> None:
    one = system.initiator()
    disk.handler = None
    assert (await one.execute(READY)).triple == NO_LUN


async def test_one_too_many_is_no_task_of_the_nexus(system: System, disk: VdiskDevice) -> None:
    disk.max_tgt_dev_commands = 1
    one = system.initiator()
    first = one.prepare(WRITE, data_out=BLOCK)
    assert one.prepare(READY).result.status is Status.TASK_SET_FULL
    assert list(one.session.tgt_devs[0].commands) == [first]
    assert one.session.command_count == 1


# What is not executed now


async def test_commands_wait_for_the_session_that_is_reinstated(
    system: System, disk: VdiskDevice
) -> None:
    one = system.initiator()
    one.session.reinstating = True
    first, second = one.start(READY), one.start(WRITE, DATA)
    assert one.session.postponed == [first, second]
    assert (first.is_over, second.is_over) == (False, False)
    one.session.reinstating = False
    for cmd in (first, second):
        execute.run(cmd)
    assert first.result == second.result == GOOD
    assert (await one.execute(READ, data_in=BLOCK)).data == DATA


async def test_a_write_whose_lun_went_meanwhile_is_sent_back(
    system: System, disk: VdiskDevice
) -> None:
    one = system.initiator()
    cmd = one.prepare(WRITE, data_out=BLOCK)
    access.remove_lun(system.target.default_acg.luns[0])
    assert not cmd.is_over
    cmd.data = DATA
    execute.run(cmd)
    assert cmd.result.status is Status.BUSY
    assert one.session.command_count == 0


async def test_a_command_that_is_over_is_not_run_again(system: System, disk: VdiskDevice) -> None:
    cmd = system.initiator().start(READY)
    execute.run(cmd)
    execute.start(cmd)
    assert cmd.replies == 1


@pytest.mark.parametrize("hole", [BlackHole.COMMANDS, BlackHole.DATA_COMMANDS])
async def test_what_falls_into_the_black_hole_has_no_answer_and_no_effect(
    system: System, disk: VdiskDevice, hole: BlackHole
) -> None:
    one = system.initiator()
    one.session.acg.black_hole = hole
    assert one.start(WRITE, DATA).result.status is None
    ready = one.start(READY).result.status
    assert ready is (None if hole is BlackHole.COMMANDS else Status.GOOD)
    assert one.session.command_count == 0
    one.session.acg.black_hole = BlackHole.NONE
    assert (await one.execute(READ, data_in=BLOCK)).data == bytes(BLOCK)


async def test_a_faulty_parameter_list_is_found_before_the_command_waits(
    system: System,
) -> None:
    disk = await system.add_disk(thin_provisioned=1)
    one = system.initiator()
    disk.tasks.block()
    faulty = one.start(UNMAP, b"\xff" * 24)
    assert faulty.result.triple == (5, 0x26, 0)
    sound = one.start(UNMAP, bytes.fromhex("0016001000000000") + bytes(16))
    assert not sound.is_over
    disk.tasks.unblock()
    assert (await sound.wait()) == GOOD


# WRITEs that need not wait


@pytest.mark.parametrize(
    "attribute", [TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE]
)
async def test_a_write_is_done_at_once_if_nothing_is_in_its_way(
    system: System, disk: VdiskDevice, attribute: TaskAttribute
) -> None:
    store = FakeStore(quick=True)
    disk.medium.install(store)
    one = system.initiator()
    assert one.start(WRITE, DATA, attribute=attribute).result == GOOD
    assert store.content[:BLOCK] == DATA
    # Incomplete data is not written at all, whichever path the command takes.
    half = one.start(WRITE.replace(b"\1\0", b"\2\0"), DATA, attribute=attribute)
    await half.wait()
    assert store.content[BLOCK : 3 * BLOCK] == bytes(2 * BLOCK)


async def test_a_write_keeps_its_place_behind_what_waits(system: System, disk: VdiskDevice) -> None:
    disk.medium.install(FakeStore(quick=True))
    one = system.initiator()
    disk.tasks.block()
    first, second = one.start(WRITE, DATA), one.start(WRITE, bytes(BLOCK))
    assert (first.phase, second.phase) == (Phase.BLOCKED, Phase.BLOCKED)
    disk.tasks.unblock()
    assert await first.wait() == await second.wait() == GOOD
    assert (await one.execute(READ, data_in=BLOCK)).data == bytes(BLOCK)


async def test_watchers_hear_of_writes_before_they_take_effect(
    system: System, disk: VdiskDevice, store: FakeStore
) -> None:
    heard: list[tuple[Claim, bytes]] = []
    disk.tasks.watchers.add(lambda claim: heard.append((claim, bytes(store.content[:BLOCK]))))
    one = system.initiator()
    assert await one.execute(READ, data_in=BLOCK) == (await one.start(READ, data_in=BLOCK).wait())
    assert heard == []
    assert await one.execute(WRITE, DATA) == GOOD
    ((claim, before),) = heard
    assert (claim.start, claim.end, claim.writes, before) == (0, 1, True, bytes(BLOCK))


# What executing a command may give


async def test_data_is_cut_to_what_the_command_asks_for(system: System, disk: VdiskDevice) -> None:
    serve(system, INQUIRY, lambda cmd: b"i" * 1000)
    result = await system.initiator().start(INQUIRY, data_in=255).wait()
    assert result.data == b"i" * 0x24


async def test_a_job_s_value_is_the_data(
    system: System, disk: VdiskDevice, pool: ManualPool
) -> None:
    serve(system, INQUIRY, lambda cmd: Job(lambda: b"worked"))
    cmd = with_pool(system, pool).start(INQUIRY, data_in=36)
    assert cmd.phase is Phase.EXECUTING
    assert disk.tasks.running == {cmd}
    pool.step()
    assert cmd.result.data == b"worked"
    assert not disk.tasks.running


async def test_a_job_may_have_a_pool_of_its_own(
    system: System, disk: VdiskDevice, pool: ManualPool
) -> None:
    own = ManualPool()
    serve(system, INQUIRY, lambda cmd: Job(lambda: b"", pool=own))
    with_pool(system, pool).start(INQUIRY, data_in=36)
    assert (len(own.queued), len(pool.queued)) == (1, 0)
    own.drain()


async def test_a_job_may_be_followed_by_something_else(
    system: System, disk: VdiskDevice, pool: ManualPool
) -> None:
    steps: list[object] = []

    def then(value: object) -> Answer:
        steps.append(value)
        return Job(lambda: b"second") if value == 1 else b""

    serve(system, INQUIRY, lambda cmd: Job(lambda: 1, then))
    cmd = with_pool(system, pool).start(INQUIRY, data_in=36)
    pool.step()
    assert steps == [1]
    assert not cmd.is_over
    assert disk.tasks.running == {cmd}
    pool.step()
    assert cmd.result.data == b"second"
    assert not disk.tasks.running


@pytest.mark.parametrize("undo", [False, True])
async def test_a_job_that_fails_ends_the_command_unless_it_can_be_undone(
    system: System, disk: VdiskDevice, pool: ManualPool, undo: bool
) -> None:
    seen: list[BaseException] = []

    def failed(error: BaseException) -> Answer:
        seen.append(error)
        return b"undone"

    error = CheckCondition(sense.LUN_NOT_SUPPORTED)
    never = raising(AssertionError())
    serve(system, INQUIRY, lambda cmd: Job(raising(error), never, failed if undo else None))
    cmd = with_pool(system, pool).start(INQUIRY, data_in=36)
    pool.step()
    assert seen == ([error] if undo else [])
    assert cmd.result.data == (b"undone" if undo else b"")
    assert cmd.result.triple == (None if undo else NO_LUN)
    assert not disk.tasks.running


async def test_a_command_may_wait_for_something(system: System, disk: VdiskDevice) -> None:
    calls: list[Callable[[], None]] = []
    serve(system, INQUIRY, lambda cmd: Until(calls.append))
    cmd = system.initiator().start(INQUIRY, data_in=36)
    assert cmd.phase is Phase.EXECUTING
    assert disk.tasks.running == {cmd}
    calls[0]()
    assert cmd.result == GOOD
    assert not disk.tasks.running


@pytest.mark.parametrize("condition", [None, sense.LUN_NOT_SUPPORTED])
async def test_what_ended_elsewhere_is_told_as_it_came(
    system: System, disk: VdiskDevice, condition: sense.Sense | None
) -> None:
    status = Status.GOOD if condition is None else Status.CHECK_CONDITION
    serve(system, INQUIRY, lambda cmd: Completion(status, condition, b"data"))
    result = system.initiator().start(INQUIRY, data_in=36).result
    assert (result.status, result.condition, result.data) == (status, condition, b"data")


async def test_a_command_that_goes_on_by_itself_is_resumed(
    system: System, disk: VdiskDevice
) -> None:
    serve(system, INQUIRY, lambda cmd: LATER)
    cmd = system.initiator().start(INQUIRY, data_in=36)
    assert not cmd.is_over
    disk.tasks.started(cmd)
    execute.resume(cmd, lambda: b"resumed")
    assert cmd.result.data == b"resumed"
    assert not disk.tasks.running


async def test_who_waited_finds_the_effects_of_what_it_waited_for(
    system: System, disk: VdiskDevice
) -> None:
    """An ORDERED command starts after the one before it has ended, including its response."""
    order: list[str] = []

    def note(name: str) -> bytes:
        order.append(name)
        return b""

    one = system.initiator()
    serve(system, INQUIRY, lambda cmd: LATER)
    serve(system, FLUSH, lambda cmd: note("flush"))
    running = one.start(INQUIRY, data_in=36)
    disk.tasks.started(running)
    waiting = one.start(FLUSH, attribute=TaskAttribute.ORDERED)
    assert waiting.phase is Phase.BLOCKED
    execute.resume(running, lambda: note("inquiry"))
    assert order == ["inquiry", "flush"]
    assert waiting.is_over


# What goes wrong


@pytest.mark.parametrize("in_a_thread", [False, True])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CheckCondition(sense.LUN_NOT_SUPPORTED), NO_LUN),
        (TaskStatus(Status.TASK_SET_FULL), Status.TASK_SET_FULL),
        (OSError(errno.ENOMEDIUM, ""), NO_MEDIUM),
        pytest.param(
            ZeroDivisionError(), BUG, marks=pytest.mark.logs("command 120000002400[0]* failed")
        ),
    ],
)
async def test_a_failure_costs_that_command_only(
    system: System,
    disk: VdiskDevice,
    pool: ManualPool,
    in_a_thread: bool,
    error: Exception,
    expected: object,
) -> None:
    action = raising(error)
    serve(system, INQUIRY, (lambda cmd: Job(action)) if in_a_thread else action)
    one = with_pool(system, pool)
    cmd = one.start(INQUIRY, data_in=36)
    pool.drain()
    assert expected in (cmd.result.status, cmd.result.triple)
    assert one.session.command_count == 0
    assert not disk.tasks.running
    assert await one.execute(READY) == GOOD


@pytest.mark.parametrize(
    ("cdb", "method", "triple"), [(READ, "read", (3, 0x11, 0)), (WRITE, "write", (3, 0x03, 0))]
)
async def test_an_error_of_the_store_depends_on_what_was_done(
    system: System, disk: VdiskDevice, store: FakeStore, cdb: bytes, method: str, triple: object
) -> None:
    store.errors[method] = OSError(errno.EIO, "")
    data = DATA if cdb == WRITE else b""
    cmd: TestCommand = system.initiator().start(cdb, data, BLOCK)
    with trio.fail_after(5):
        assert (await cmd.wait()).triple == triple
