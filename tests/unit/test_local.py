from __future__ import annotations

from pathlib import Path

import pytest
import trio

from scstfs.local import LocalSession, NoSuchLunError, NotAnsweredError, open_session
from scstfs.scsi.lun import pack_lun
from scstfs.scsi.sense import decode
from scstfs.scsi.status import Status
from scstfs.sysfs.errors import SysfsError
from tests.support.threads import ManualPool
from tests.support.whole import Whole

TEST_UNIT_READY = bytes(6)
READ_ONE = bytes.fromhex("28000000000000000100")
WRITE_ONE = bytes.fromhex("2a000000000000000100")
SYNCHRONIZE_CACHE = bytes.fromhex("35000000000000000000")


@pytest.fixture
async def session(everything: Whole, tmp_path: Path) -> LocalSession:
    """A session that has a disk as LUN 0."""
    await everything.add_file(tmp_path / "disk")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", "add disk 0\n")
    session = open_session(everything.local.targets["t"], "me")
    first = await session.execute(0, TEST_UNIT_READY)
    assert first.status is Status.CHECK_CONDITION
    return session


async def test_what_is_written_is_read(session: LocalSession) -> None:
    data = bytes(range(256)) * 2
    result = await session.execute(0, WRITE_ONE, data)
    assert result == (Status.GOOD, b"", b"")
    result = await session.execute(pack_lun(0), READ_ONE)
    assert result == (Status.GOOD, b"", data)


async def test_less_data_than_the_command_has(session: LocalSession) -> None:
    result = await session.execute(0, READ_ONE, data_in=100)
    assert result.status is Status.GOOD
    assert result.data == bytes(100)


async def test_sense_data(session: LocalSession) -> None:
    result = await session.execute(0, b"\xff" + bytes(9))
    assert result.status is Status.CHECK_CONDITION
    condition = decode(result.sense)
    assert condition is not None
    assert condition.triple == (5, 0x20, 0)


async def test_a_lun_that_is_not_there(session: LocalSession) -> None:
    result = await session.execute(5, TEST_UNIT_READY)
    condition = decode(result.sense)
    assert condition is not None
    assert condition.triple == (5, 0x25, 0)
    inquiry = await session.execute(5, bytes.fromhex("120000002400"))
    assert inquiry.data[0] == 0x7F
    with pytest.raises(NoSuchLunError):
        await session.lun_reset(5)


async def test_there_is_one_session_of_a_name(everything: Whole, session: LocalSession) -> None:
    again = open_session(everything.local.targets["t"], "me")
    assert again.session is session.session
    session.close()
    assert open_session(everything.local.targets["t"], "me").session is not session.session


async def test_a_closed_session_answers_nothing(session: LocalSession) -> None:
    session.close()
    with pytest.raises(NotAnsweredError):
        await session.execute(0, TEST_UNIT_READY)


async def test_events(everything: Whole, session: LocalSession) -> None:
    await everything.write("devices/disk/prod_id", "other\n")
    [event] = session.take_events()
    assert event.lun == pack_lun(0)
    assert not session.take_events()


# Commands that take their time


class Blocked:
    """A session whose commands end when the test says so."""

    def __init__(self, everything: Whole, session: LocalSession) -> None:
        self.everything = everything
        self.session = session
        self.pool = ManualPool()
        self.pool.serve(session.session.tgt_devs[0])
        self.outcomes: list[object] = []

    async def command(self, tag: int = 0) -> None:
        try:
            result = await self.session.execute(0, SYNCHRONIZE_CACHE, tag=tag)
        except NotAnsweredError as error:
            self.outcomes.append(error)
        else:
            self.outcomes.append(result.status)


@pytest.fixture
def blocked(everything: Whole, session: LocalSession) -> Blocked:
    return Blocked(everything, session)


async def test_a_session_that_is_being_closed_is_not_found(blocked: Blocked) -> None:
    target = blocked.everything.local.targets["t"]
    async with blocked.everything.background(blocked.command):
        blocked.session.close()
        assert list(target.sessions) == ["me"]
        with pytest.raises(SysfsError, match="Session me not found"):
            blocked.everything.local.execute("del_session", "t", "me")
        new = open_session(target, "me")
        assert open_session(target, "me").session is new.session
        blocked.everything.local.execute("del_session", "t", "me")
        assert not new.session.is_open
        blocked.pool.drain()
    assert not target.sessions


async def test_a_command_ends_when_its_work_is_done(blocked: Blocked) -> None:
    async with blocked.everything.background(blocked.command):
        assert not blocked.outcomes
        blocked.pool.drain()
    assert blocked.outcomes == [Status.GOOD]


async def test_one_of_two_commands_is_aborted(blocked: Blocked) -> None:
    session = blocked.session
    await blocked.everything.write("devices/disk/block", "1\n")
    async with (
        blocked.everything.background(blocked.command, 1),
        blocked.everything.background(blocked.command, 2),
    ):
        assert await session.abort_task(0, 2)
        assert not await session.abort_task(0, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert len(blocked.outcomes) == 1
        await blocked.everything.write("devices/disk/block", "0\n")
        await trio.testing.wait_all_tasks_blocked()
        blocked.pool.drain()
    aborted, done = blocked.outcomes
    assert isinstance(aborted, NotAnsweredError)
    assert done is Status.GOOD


@pytest.mark.parametrize(
    "function", ["abort_task_set", "clear_task_set", "lun_reset", "target_reset"]
)
async def test_task_management_waits_for_what_it_aborts(blocked: Blocked, function: str) -> None:
    session, steps = blocked.session, []

    async def manage() -> None:
        arguments = () if function == "target_reset" else (0,)
        await getattr(session, function)(*arguments)
        steps.append(function)

    async with blocked.everything.background(blocked.command):
        async with blocked.everything.background(manage):
            [pending] = session.session.pending_functions
            assert pending.waits_for == 1
            assert not steps
            blocked.pool.drain()
        assert not session.session.pending_functions
    assert steps == [function]
    assert isinstance(blocked.outcomes[0], NotAnsweredError)


async def test_closing_the_session_ends_its_commands(blocked: Blocked) -> None:
    async with blocked.everything.background(blocked.command):
        blocked.session.close()
        assert not blocked.outcomes
        blocked.pool.drain()
    assert isinstance(blocked.outcomes[0], NotAnsweredError)


async def test_being_cancelled_aborts_the_command(blocked: Blocked) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocked.command)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    [cmd] = blocked.session.session.tgt_devs[0].commands
    assert cmd.abort is not None
    blocked.pool.drain()
    assert not blocked.session.session.tgt_devs[0].commands
