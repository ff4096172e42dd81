"""PERSISTENT RESERVE OUT with APTPL: GOOD comes after the file, or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio.testing

from scstfs.handlers.vdisk import VdiskDevice
from scstfs.persist.reservations import decode
from tests.support.nexuses import A, B, C, D, Nexuses, outcome
from tests.support.reservations import (
    APTPL,
    CLEAR,
    EA,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    WE,
    WE_RO,
    pr_out,
)
from tests.support.target import GOOD, System
from tests.support.threads import ManualPool

# Persistence


def saved_keys(path: Path) -> list[int]:
    return [int.from_bytes(r.key, "big") for r in decode(path.read_bytes()).registrants]


async def test_good_comes_after_the_file(
    system: System, nexuses: Nexuses, disk: VdiskDevice
) -> None:
    (one,) = await nexuses.add(0)
    path = system.scst.env.state.reservations_path("disk")
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
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
    path = system.scst.env.state.reservations_path("disk")
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
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
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
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
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("a bug")], ids=repr)
@pytest.mark.logs("disk: cannot save persistent reservations")
async def test_what_can_not_be_saved_is_not_done(
    system: System,
    nexuses: Nexuses,
    disk: VdiskDevice,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: tuple[bytes, bytes],
    error: Exception,
) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(RESERVE, WE_RO, key=A))
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    before, generation = disk.pr.save_state(), disk.pr.generation
    file = disk.pr.file
    assert file is not None

    def fail(_state: object) -> None:
        raise error

    monkeypatch.setattr(file, "save", fail)
    assert outcome(await one.execute(*command)) == (4, 0x44, 0)
    assert disk.pr.save_state() == before
    assert disk.pr.generation == generation
    assert nexuses.attentions == [[], []]
    assert [i.session.tgt_devs[0].registrant for i in (one, other)] == disk.pr.registrants
    assert "disk: cannot save persistent reservations" in caplog.text
    monkeypatch.undo()
    assert await one.execute(*command) == GOOD


@pytest.mark.logs("disk: cannot save persistent reservations")
async def test_a_session_that_comes_while_saving_fails(
    system: System, nexuses: Nexuses, disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
    cmd = one.start(*pr_out(CLEAR, key=A))
    await other.end()
    transport_id = other.session.transport_id
    assert transport_id is not None
    again = system.initiator("again", port=transport_id.data[4])
    assert again.session.tgt_devs[0].registrant is None
    work, done = pool.queued.pop()
    done(None, OSError(errno.EIO, "I/O error"))
    assert outcome(cmd.result) == (4, 0x44, 0)
    assert again.session.tgt_devs[0].registrant is disk.pr.registrants[1]
    assert work is not None


async def test_a_session_that_goes_while_saving(nexuses: Nexuses, disk: VdiskDevice) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(REGISTER, key=A, new=A, flags=APTPL))
    pool = ManualPool()
    pool.serve(one.session.tgt_devs[0])
    cmd = one.start(*pr_out(PREEMPT_AND_ABORT, WE, key=A, new=B))
    await other.end()
    pool.drain()
    await trio.testing.wait_all_tasks_blocked()
    assert cmd.result == GOOD
    assert nexuses.keys == [A]
