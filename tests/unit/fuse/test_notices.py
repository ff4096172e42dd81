from __future__ import annotations

import errno
import threading
import time

import pytest
import trio
import trio.testing

from scstfs.fuse import notices
from scstfs.fuse.notices import Notices


async def test_they_arrive_in_order_and_can_be_waited_for() -> None:
    arrived: list[object] = []
    kernel = Notices(lambda directory, name: arrived.append((directory, name)), arrived.append)
    with kernel.delivering():
        for number in range(100):
            kernel.name_changed(number, b"x")
            kernel.attributes_changed(number)
        await kernel.arrived()
        assert arrived == [note for n in range(100) for note in ((n, b"x"), n)]
        await kernel.arrived()
    kernel.attributes_changed(7)
    await kernel.arrived()
    assert len(arrived) == 200


async def test_each_waits_for_its_own() -> None:
    gates = [threading.Event() for _ in range(2)]

    def wait(inode: int) -> None:
        gates[inode].wait(5)

    kernel = Notices(drop_attributes=wait)
    done: list[int] = []

    async def change(inode: int) -> None:
        kernel.attributes_changed(inode)
        await kernel.arrived()
        done.append(inode)

    with kernel.delivering():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, 0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(change, 1)
            await trio.testing.wait_all_tasks_blocked()
            gates[0].set()
            while not done:
                await trio.sleep(0.001)
            assert done == [0]
            gates[1].set()
    assert done == [0, 1]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTCONN, errno.ENOTDIR])
async def test_what_the_kernel_does_not_know_needs_no_notice(code: int) -> None:
    def refuse(inode: int) -> None:
        raise OSError(code, "refused")

    kernel = Notices(drop_attributes=refuse)
    with kernel.delivering():
        kernel.attributes_changed(1)
        await kernel.arrived()


@pytest.mark.logs("the kernel refused the notice of a change: .*refused")
async def test_a_refusal_is_logged_and_the_next_one_arrives() -> None:
    seen: list[int] = []

    def refuse(inode: int) -> None:
        seen.append(inode)
        raise OSError(errno.EPERM, "refused")

    kernel = Notices(drop_attributes=refuse)
    with kernel.delivering():
        kernel.attributes_changed(1)
        kernel.attributes_changed(2)
        await kernel.arrived()
    assert seen == [1, 2]


@pytest.mark.logs("the kernel keeps a directory locked.*")
async def test_a_kernel_that_does_not_take_it_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices, "PATIENCE", 0.05)
    monkeypatch.setattr(notices, "_LEAVE_SECONDS", 0.05)
    gate = threading.Event()

    def wait(_inode: int) -> None:
        gate.wait(5)

    kernel = Notices(drop_attributes=wait)
    began = time.perf_counter()
    with kernel.delivering():
        kernel.attributes_changed(1)
        await kernel.arrived()
    assert time.perf_counter() - began < 2
    gate.set()
