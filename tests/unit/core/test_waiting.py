from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from scstfs.core.errors import StillBusy
from scstfs.core.waiting import SECONDS, quiet, retired, settled
from scstfs.local import LocalSession, open_session
from tests.support.threads import ManualPool
from tests.support.whole import Whole

SYNCHRONIZE_CACHE = bytes.fromhex("35000000000000000000")


class Exported:
    """A disk whose blocking work is done when the test says so, and a session with it."""

    def __init__(self, everything: Whole, session: LocalSession) -> None:
        self.device = everything.scst.devices["disk"]
        self.session = session
        self.pool = ManualPool()
        self.tgt_dev = session.session.tgt_devs[0]
        self.pool.serve(self.tgt_dev)

    async def flush(self) -> None:
        await self.session.execute(0, SYNCHRONIZE_CACHE)


@pytest.fixture
async def exported(everything: Whole, tmp_path: Path) -> Exported:
    await everything.add_file(tmp_path / "disk")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", "add disk 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(0, bytes(6))
    return Exported(everything, session)


async def test_settled_at_once() -> None:
    assert await settled(lambda call: call())


async def test_settled_in_time(autojump_clock: trio.testing.MockClock) -> None:
    calls: list[Callable[[], None]] = []

    async def later() -> None:
        await trio.sleep(5)
        calls[0]()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        assert await settled(calls.append, 10)
    assert trio.current_time() == pytest.approx(5)


async def test_settled_never(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    assert not await settled(lambda call: None)
    assert trio.current_time() - began == SECONDS


async def test_nexuses_are_waited_for(everything: Whole, exported: Exported) -> None:
    ended: list[str] = []

    async def flush() -> None:
        await exported.flush()
        ended.append("flush")

    async def wait() -> None:
        await retired([exported.tgt_dev])
        ended.append("wait")

    async with everything.background(flush), everything.background(wait):
        assert not ended
        exported.pool.drain()
    assert sorted(ended) == ["flush", "wait"]


@pytest.mark.parametrize(
    ("path", "on", "off"),
    [("suspend", "1\n", "-1\n"), ("devices/disk/block", "1\n", "0\n")],
    ids=["suspended", "blocked"],
)
async def test_nobody_waits_for_what_is_held_back(
    everything: Whole, exported: Exported, path: str, on: str, off: str
) -> None:
    await everything.write(path, on)
    async with everything.background(exported.flush):
        with trio.move_on_after(1) as limit:
            await retired([exported.tgt_dev])
        assert not limit.cancelled_caught
        assert len(exported.tgt_dev.commands) == 1
        await everything.write(path, off)
        exported.pool.drain()


async def test_a_device_is_quiet_inside(everything: Whole, exported: Exported) -> None:
    steps = []

    async def change() -> None:
        async with quiet(exported.device):
            steps.append("changing")
            await trio.testing.wait_all_tasks_blocked()
            steps.append("changed")

    async def command() -> None:
        await exported.session.execute(0, bytes(6))
        steps.append("executed")

    async with everything.background(exported.flush), trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(command)
        await trio.testing.wait_all_tasks_blocked()
        assert not steps
        exported.pool.drain()
    assert steps == ["changing", "changed", "executed"]


async def test_a_device_that_does_not_become_quiet(
    everything: Whole, exported: Exported, autojump_clock: trio.testing.MockClock
) -> None:
    async with everything.background(exported.flush):
        with pytest.raises(StillBusy):
            async with quiet(exported.device):
                pytest.fail("never gets here")
        exported.pool.drain()
    await exported.session.execute(0, bytes(6))
