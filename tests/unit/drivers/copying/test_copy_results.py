"""Results of copies, and the long list identifiers that name them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from scstfs.drivers.copying import copies
from scstfs.scsi import sense
from scstfs.scsi.status import Status
from tests.support.copies import (
    BLOCK,
    COPY_ABORTED,
    DATA,
    INVALID_FIELD,
    Disks,
    Segment,
    be,
    content,
    copy,
    extended_copy,
    held_copy,
    lid4,
    receive,
    results,
    target_descriptor,
)
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, Initiator, Result, System, TestCommand

IN_PROGRESS = (0x5, 0x00, 0x16)


# Results


async def test_results_are_kept_for_five_seconds(
    system: System, disks: Disks, mock_clock: MockClock
) -> None:
    initiator = system.initiator()
    for list_id in (1, 2):
        assert await copy(initiator, disks, Segment(0, 1, 64), list_id=list_id) == GOOD
    status = await results(initiator, 1)
    assert status.data.hex() == "00000008" + "01" + "0001" + "01" + "00000020"
    assert (await results(initiator, 1)).triple == INVALID_FIELD, "fetched"
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(4.9)
    await trio.testing.wait_all_tasks_blocked()
    assert (await results(initiator, 2, 4)).status is Status.GOOD
    assert await copy(initiator, disks, Segment(0, 1, 1), list_id=2) == GOOD
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(5.1)
    await trio.testing.wait_all_tasks_blocked()
    assert (await results(initiator, 2)).triple == INVALID_FIELD


async def test_results_are_those_of_ones_own_session(system: System, disks: Disks) -> None:
    assert await copy(system.initiator("one"), disks, Segment(0, 1, 1), list_id=1) == GOOD
    assert (await results(system.initiator("two"), 1)).triple == INVALID_FIELD


async def test_a_list_identifier_in_use(system: System, disks: Disks) -> None:
    initiator, store, _ = await held_copy(system, disks, list_id=5)
    assert (await results(initiator, 5)).data.hex() == (
        "00000008" + "00" + "0001" + "01" + "00000000"
    )
    assert (await copy(initiator, disks, Segment(0, 1, 1), list_id=5)).triple == IN_PROGRESS
    assert (await results(initiator, 5, 4)).triple == INVALID_FIELD, "no details yet"
    store.resume("write")
    other = system.initiator("other")
    assert await copy(other, disks, Segment(0, 1, 1, 20, 20), list_id=5) == GOOD


async def test_an_identifier_can_be_used_again_when_its_copy_is_over(
    system: System, disks: Disks
) -> None:
    initiator = system.initiator()
    assert await copy(initiator, disks, Segment(0, 1, 1), list_id=5) == GOOD
    assert (await copy(initiator, disks, Segment(0, 1, 1, 2047), list_id=5)).triple is None
    assert (await copy(initiator, disks, Segment(0, 1, 2, 2047), list_id=5)).triple == COPY_ABORTED
    assert (await results(initiator, 5)).data[4] == 2


async def test_details_of_a_segment_that_was_refused(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    refused = await copy(initiator, disks, Segment(0, 7, 1), list_id=5)
    details = await results(initiator, 5, 4)
    assert details.data[56] == Status.CHECK_CONDITION
    assert details.data[60:] == refused.sense


@pytest.mark.parametrize(("length", "is_kept"), [(0, False), (59, True), (60, False)])
async def test_details_that_fit_are_told_once(
    system: System, disks: Disks, length: int, is_kept: bool
) -> None:
    initiator = system.initiator()
    assert await copy(initiator, disks, Segment(0, 1, 1), list_id=5) == GOOD
    details = receive(4, b"\5", length)
    assert len((await initiator.execute(details, data_in=length)).data) == length
    again = await results(initiator, 5, 4)
    assert (again.status == Status.GOOD) == is_kept


async def test_a_command_that_never_ran_leaves_no_result(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    initiator.session.tgt_devs[0].queue_unit_attention(sense.RESET)
    assert (await copy(initiator, disks, Segment(0, 1, 1), list_id=5)).triple == (0x6, 0x29, 0)
    assert (await results(initiator, 5)).triple == INVALID_FIELD
    assert await copy(initiator, disks, Segment(0, 1, 1), list_id=5) == GOOD


async def test_operating_parameters(system: System, disks: Disks) -> None:
    result = await results(system.initiator(), 0, 3)
    assert len(result.data) == 46
    assert (await results(system.initiator(), 0, 1)).triple == INVALID_FIELD


# The LID4 form


async def lid4_status(initiator: Initiator, list_id: int) -> Result:
    return await initiator.execute(receive(0x05, be(list_id, 4), 512), data_in=512)


async def test_lid4(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    # The first target of the list is number 1; 0 is the pseudo-target.
    data = lid4(
        [target_descriptor(disk) for disk in disks],
        [Segment(1, 2, 8, 0, 3).encode()],
        list_id=0x12345678,
    )
    assert await initiator.execute(extended_copy(data, 1), data) == GOOD
    assert content(system)[3 * BLOCK : 11 * BLOCK] == DATA[: 8 * BLOCK]
    status = await lid4_status(initiator, 0x12345678)
    assert status.data.hex() == (
        "0000001c"
        + "01"
        + "01"
        + "0000"
        + "fffffffe"
        + "00"
        + "00"
        + "00"
        + "00"
        + "0000000000001000"
        + "0001"
        + "000000000000"
    )
    assert (await lid4_status(initiator, 1)).triple == INVALID_FIELD


async def test_lid4_in_the_background(system: System, disks: Disks) -> None:
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    store.pause("write")
    initiator = system.initiator()
    data = lid4(
        [target_descriptor(disk) for disk in disks],
        [Segment(1, 2, 8).encode()],
        list_id=7,
        immed=True,
    )
    assert await initiator.execute(extended_copy(data, 1), data) == GOOD
    assert (await lid4_status(initiator, 7)).data[5] == 0x12
    assert disks[1].tasks.gated
    store.resume("write")
    idle = trio.Event()
    disks[1].tasks.when_idle(idle.set)
    await idle.wait()
    assert (await lid4_status(initiator, 7)).data[5] == 0x01
    assert store.content[: 8 * BLOCK] == DATA[: 8 * BLOCK]


async def test_so_many_copies_in_the_background(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "CONCURRENT_COPIES", 2)
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    store.pause("write")
    initiator = system.initiator()

    def begin(lba: int, *, immed: bool = True) -> TestCommand:
        targets = [target_descriptor(disk) for disk in disks]
        data = lid4(targets, [Segment(1, 2, 1, 0, lba).encode()], immed=immed)
        return initiator.start(extended_copy(data, 1), data)

    for lba in range(2):
        assert await begin(lba).wait() == GOOD
    assert (await begin(2).wait()).status is Status.BUSY
    waits = begin(3, immed=False)
    store.resume("write")
    assert await waits.wait() == GOOD
    idle = trio.Event()
    disks[1].tasks.when_idle(idle.set)
    await idle.wait()
    assert await begin(4).wait() == GOOD


async def test_lid4_that_fails(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    data = lid4(
        [target_descriptor(disk) for disk in disks],
        [Segment(1, 2, 8, 2047).encode()],
        list_id=7,
    )
    failed = await initiator.execute(extended_copy(data, 1), data)
    assert failed.triple == COPY_ABORTED
    status = (await lid4_status(initiator, 7)).data
    assert (status[5], status[12]) == (0x02, Status.CHECK_CONDITION)
    assert status[32 : 32 + status[14]] == failed.sense
