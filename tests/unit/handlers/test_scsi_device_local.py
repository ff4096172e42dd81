from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from scstfs.local import LocalSession, NotAnsweredError
from scstfs.scsi.sense import MODE_PARAMETERS_CHANGED, RESET, Sense, SenseKey, decode
from scstfs.scsi.status import Status
from scstfs.sgutils.sg_pt import TransportError
from tests.support.passed_through import (
    ADDRESS,
    READ_2_AT_1,
    TEST_UNIT_READY,
    WRITE_2_AT_1,
    exported,
    opened,
    triple,
)
from tests.support.scsi_unit import BLOCK, IDENTIFICATION, MEDIUM_CHANGED, FakeUnit, failed
from tests.support.whole import Whole

RESERVE, RELEASE = bytes.fromhex("160000000000"), bytes.fromhex("170000000000")
IDENTIFY = bytes.fromhex("120183010000")
BROKEN = Sense(SenseKey.MEDIUM_ERROR, 0x11, 0x04)


# What is executed here


async def test_what_the_core_answers_does_not_reach_the_device(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    luns = await session.execute(0, bytes.fromhex("a00000000000000000100000"))
    assert luns.data[:4] == (8).to_bytes(4, "big")
    functions = await session.execute(0, bytes.fromhex("a30d00000000000000100000"))
    assert functions.data[0] == 0xF8
    keys = await session.execute(0, bytes.fromhex("5e000000000000001000"))
    assert (keys.status, keys.data) == (Status.GOOD, bytes(8))
    assert not unit.seen


async def test_target_port_groups_are_the_devices_own_unless_there_is_a_group(
    everything: Whole,
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    report = bytes.fromhex("a30a00000000000000100000")
    unit.script(0xA3, (0, b"", b"its own"))
    assert (await session.execute(0, report)).data == b"its own"
    await everything.write("device_groups/mgmt", "create g\n")
    await everything.write("device_groups/g/devices/mgmt", f"add {ADDRESS}\n")
    assert (await session.execute(0, report)).data == bytes(4)


async def test_identification_names_the_ports_of_here(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    everything.local.targets["t"].rel_tgt_id = 0x123
    page = (await session.execute(0, IDENTIFY)).data
    assert page == IDENTIFICATION.replace(bytes.fromhex("0009"), bytes.fromhex("0123"), 1).replace(
        bytes.fromhex("0007"), bytes(2), 1
    )
    await everything.write("device_groups/mgmt", "create g\n")
    await everything.write("device_groups/g/devices/mgmt", f"add {ADDRESS}\n")
    await everything.write("device_groups/g/target_groups/mgmt", "create tg\n")
    await everything.write("device_groups/g/target_groups/tg/group_id", "259\n")
    await everything.write("device_groups/g/target_groups/tg/mgmt", "add t\n")
    assert (await session.execute(0, IDENTIFY)).data[-2:] == bytes.fromhex("0103")


async def test_compare_and_write(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    cdb = bytes.fromhex("89080000000000000001000000010000")
    old, new = bytes(BLOCK), b"n" * BLOCK
    assert (await session.execute(0, cdb, old + new)).status is Status.GOOD
    assert unit.data[BLOCK : 2 * BLOCK] == new
    result = await session.execute(0, cdb, b"nn" + old[2:] + new)
    assert triple(result) == (0x0E, 0x1D, 0)
    condition = decode(result.sense)
    assert condition is not None
    assert condition.information == 2
    assert {seen.cdb[:2] for seen in unit.seen} == {b"\x88\x08", b"\x8a\x08"}
    unit.script(0x88, failed(BROKEN), (0, b"", b"short"))
    assert triple(await session.execute(0, cdb, new + new)) == BROKEN.triple
    assert triple(await session.execute(0, cdb, new + new)) == (4, 0x44, 0)
    assert triple(await session.execute(0, cdb, new)) == (5, 0x24, 0)
    nothing = bytes.fromhex("89000000000000000001000000000000")
    assert (await session.execute(0, nothing)).status is Status.GOOD


async def test_forwarding_targets_leave_more_to_the_device(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    everything.local.targets["t"].forward_src = True
    unit.script(0x89, (0, b"", b""))
    cdb = bytes.fromhex("89080000000000000001000000010000")
    await session.execute(0, cdb, bytes(2 * BLOCK))
    copy = bytes.fromhex("83000000000000000000000000100000")
    unit.script(0x83, (0, b"", b""))
    assert (await session.execute(0, copy, bytes(16))).status is Status.GOOD
    assert (await session.execute(0, RESERVE)).status is Status.GOOD
    assert everything.scst.devices[ADDRESS].reserved_by is session.session
    assert [seen.cdb for seen in unit.seen] == [cdb, copy]


# Write protection


async def test_read_only_luns(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit, "add 1:0:0:0 0 read_only=1")
    assert triple(await session.execute(0, WRITE_2_AT_1, bytes(2 * BLOCK))) == (7, 0, 0)
    assert triple(await session.execute(0, bytes.fromhex("c1000000000000000000"))) == (7, 0, 0)
    assert not unit.seen
    assert (await session.execute(0, bytes.fromhex("1a000a00ff00"))).data[2] == 0x80
    assert (await session.execute(0, bytes.fromhex("5a000a0000000000ff00"))).data[3] == 0x80


async def test_what_has_no_write_protection_does_not_show_any(everything: Whole) -> None:
    session = await exported(everything, FakeUnit(12), "add 1:0:0:0 0 read_only=1")
    assert (await session.execute(0, bytes.fromhex("1a000a00ff00"))).data[2] == 0


async def test_write_protection_of_the_device(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    assert (await session.execute(0, bytes.fromhex("1a000a00ff00"))).data[2] == 0
    page = bytes.fromhex("0a0a 0010 0800 0000 0000 0000")
    parameters = bytes(4) + page
    await session.execute(0, bytes.fromhex("151000001000"), parameters)
    # The control mode page was read again.
    assert triple(await session.execute(0, WRITE_2_AT_1, bytes(2 * BLOCK))) == (7, 0x27, 0)
    assert (await session.execute(0, bytes.fromhex("1a000a00ff00"))).data[2] == 0x80


# One initiator to the device, many to us


@pytest.mark.parametrize(
    "change",
    [("15100000100", 0x2A, 1), ("4c000000000000000400", 0x2A, 2)],
    ids=["MODE SELECT", "LOG SELECT"],
)
async def test_others_are_told_of_what_one_changes(
    everything: Whole, change: tuple[str, int, int]
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    other = await opened(everything, "other")
    cdb = bytes.fromhex(change[0].ljust(12, "0"))
    length = cdb[4] if cdb[0] == 0x15 else 4
    await session.execute(0, cdb, bytes(4) + unit.control_page if length > 4 else bytes(4))
    assert triple(await other.execute(0, TEST_UNIT_READY)) == (6, *change[1:])
    assert triple(await session.execute(0, TEST_UNIT_READY)) is None


async def test_nobody_is_told_of_his_own_changes(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)

    def select(_cdb: bytes, _data: bytes) -> None:
        unit.unit_attentions.append(MODE_PARAMETERS_CHANGED)

    unit.after[0x15] = select
    await session.execute(0, bytes.fromhex("151000001000"), bytes(4) + unit.control_page)
    assert not unit.unit_attentions
    assert (await session.execute(0, TEST_UNIT_READY)).status is Status.GOOD


@pytest.mark.parametrize("condition", [RESET, MEDIUM_CHANGED, Sense(SenseKey.UNIT_ATTENTION, 0x3F)])
async def test_what_the_device_tells_once_everybody_is_told(
    everything: Whole, condition: Sense
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    others = [await opened(everything, name) for name in ("a", "b")]
    unit.unit_attentions.append(condition)
    for one in (session, *others):
        assert triple(await one.execute(0, TEST_UNIT_READY)) == condition.triple
        assert (await one.execute(0, TEST_UNIT_READY)).status is Status.GOOD


async def test_what_one_fetches_with_request_sense_others_are_told(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    other = await opened(everything, "other")
    unit.unit_attentions.append(RESET)
    result = await session.execute(0, bytes.fromhex("030000001200"))
    assert (result.status, result.data) == (Status.GOOD, RESET.encode())
    assert triple(await other.execute(0, TEST_UNIT_READY)) == RESET.triple
    assert (await session.execute(0, TEST_UNIT_READY)).status is Status.GOOD


async def test_a_reset_that_the_host_tells_of(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    other = await opened(everything, "other")
    unit.script(0x28, TransportError(0x08))
    assert triple(await session.execute(0, READ_2_AT_1)) == RESET.triple
    assert triple(await other.execute(0, TEST_UNIT_READY)) == RESET.triple


async def test_who_gets_no_answer_is_told_with_the_next(everything: Whole) -> None:
    unit = FakeUnit(held={0x28})
    session = await exported(everything, unit)
    unit.script(0x28, failed(RESET))

    async def read() -> None:
        with pytest.raises(NotAnsweredError):
            await session.execute(0, READ_2_AT_1, tag=7)

    async def abort() -> None:
        assert await session.abort_task(0, 7)

    async with everything.background(read):
        await trio.to_thread.run_sync(unit.waiting.acquire)
        async with everything.background(abort):
            unit.released.set()
    assert triple(await session.execute(0, TEST_UNIT_READY)) == RESET.triple


async def test_what_is_aborted_before_its_turn_does_not_reach_the_device(
    everything: Whole,
) -> None:
    unit = FakeUnit(1, held={0x01})
    session = await exported(everything, unit)

    async def ignored(cdb: bytes, data: bytes = b"") -> None:
        with pytest.raises(NotAnsweredError):
            await session.execute(0, cdb, data)

    async with everything.background(partial(ignored, bytes.fromhex("010000000000"))):
        await trio.to_thread.run_sync(unit.waiting.acquire)
        erase = partial(ignored, bytes.fromhex("190000000000"))
        async with (
            everything.background(erase),
            everything.background(partial(session.abort_task_set, 0)),
        ):
            unit.released.set()
    assert not unit.commands(0x19)


async def test_what_overtakes_does_not_wait_for_a_tape_to_rewind(everything: Whole) -> None:
    unit = FakeUnit(1, held={0x01})
    session = await exported(everything, unit)
    async with everything.background(partial(session.execute, 0, bytes.fromhex("010000000000"))):
        await trio.to_thread.run_sync(unit.waiting.acquire)
        assert (await session.execute(0, bytes.fromhex("120000002400"))).status is Status.GOOD
        unit.released.set()


# RESERVE and RELEASE


async def reserve(everything: Whole, unit: FakeUnit) -> tuple[LocalSession, LocalSession]:
    session = await exported(everything, unit)
    other = await opened(everything, "other")
    assert (await session.execute(0, RESERVE)).status is Status.GOOD
    assert unit.reserved
    return session, other


@asynccontextmanager
async def reserving(
    everything: Whole, unit: FakeUnit
) -> AsyncIterator[tuple[LocalSession, LocalSession]]:
    """The device holds the RESERVE of the first session, which will get no answer."""
    session = await exported(everything, unit)
    other = await opened(everything, "other")

    async def ask() -> None:
        with pytest.raises(NotAnsweredError):
            await session.execute(0, RESERVE)

    async with everything.background(ask):
        await trio.to_thread.run_sync(unit.waiting.acquire)
        yield session, other


async def released(unit: FakeUnit, *, times: int = 1) -> bool:
    with trio.move_on_after(5):
        while len(unit.commands(0x17)) < times:
            await trio.to_thread.run_sync(partial(unit.arrived.acquire, timeout=1))
        return not unit.reserved
    return False


async def test_reservations_are_kept_here_and_there(everything: Whole) -> None:
    unit = FakeUnit()
    session, other = await reserve(everything, unit)
    assert (await other.execute(0, READ_2_AT_1)).status is Status.RESERVATION_CONFLICT
    assert (await other.execute(0, RELEASE)).status is Status.GOOD
    assert unit.reserved
    assert (await session.execute(0, RELEASE)).status is Status.GOOD
    assert not unit.reserved
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD


async def test_a_reservation_that_the_device_refuses(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    other = await opened(everything, "other")
    unit.script(0x16, (0x18, b"", b""))
    assert (await session.execute(0, RESERVE)).status is Status.RESERVATION_CONFLICT
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD


async def test_a_reservation_ends_with_its_session(everything: Whole) -> None:
    unit = FakeUnit()
    session, other = await reserve(everything, unit)
    session.close()
    assert await released(unit)
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD


async def test_who_reserves_twice_has_it_once(everything: Whole) -> None:
    unit = FakeUnit()
    session, other = await reserve(everything, unit)
    assert (await session.execute(0, RESERVE)).status is Status.GOOD
    assert (await other.execute(0, READ_2_AT_1)).status is Status.RESERVATION_CONFLICT
    session.close()
    assert await released(unit)


async def test_a_reservation_that_was_aborted_is_given_up(everything: Whole) -> None:
    unit = FakeUnit(held={0x16})
    async with (
        reserving(everything, unit) as (session, other),
        everything.background(partial(session.abort_task_set, 0)),
    ):
        unit.released.set()
    assert await released(unit)
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD


async def test_a_reservation_ends_with_a_lun_reset(everything: Whole) -> None:
    unit = FakeUnit()
    _session, other = await reserve(everything, unit)
    await other.lun_reset(0)
    assert await released(unit)
    assert triple(await other.execute(0, READ_2_AT_1)) == RESET.triple
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD


async def test_a_reservation_ends_with_the_handler(everything: Whole) -> None:
    unit = FakeUnit()
    await reserve(everything, unit)
    await everything.write("handlers/dev_disk/mgmt", f"del_device {ADDRESS}\n")
    assert await released(unit)


async def test_a_reservation_ends_with_a_reset_of_the_device(everything: Whole) -> None:
    unit = FakeUnit()
    session, other = await reserve(everything, unit)
    unit.unit_attentions.append(RESET)
    await session.execute(0, TEST_UNIT_READY)
    await other.execute(0, TEST_UNIT_READY)
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD
    session.close()
    assert not unit.commands(0x17)


async def test_a_reservation_of_who_is_gone_is_given_up(everything: Whole) -> None:
    unit = FakeUnit(held={0x16})
    async with reserving(everything, unit) as (session, other):
        session.close()
        unit.released.set()
    assert await released(unit)
    assert (await other.execute(0, READ_2_AT_1)).status is Status.GOOD


@pytest.mark.logs("a reservation could not be given up: .*status 0x2")
async def test_a_reservation_that_can_not_be_given_up(everything: Whole) -> None:
    unit = FakeUnit()
    session, _other = await reserve(everything, unit)
    unit.script(0x17, failed(BROKEN))
    session.close()
    await released(unit)
    pool = everything.scst.devices[ADDRESS]._link.overtaking  # type: ignore[attr-defined]
    done = trio.Event()
    pool.submit(lambda: None, lambda value, error: done.set())
    await done.wait()
