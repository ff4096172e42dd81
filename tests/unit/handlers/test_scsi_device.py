from __future__ import annotations

import errno
import logging
from functools import partial
from pathlib import Path

import pytest
import trio

from scstfs.core import device_registration
from scstfs.handlers.device_node import DeviceNode, NoNodeError
from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.local import open_session
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import RESET, Sense, SenseKey
from scstfs.scsi.status import Status
from scstfs.sgutils.sg_pt import TransportError
from tests.support.passed_through import (
    ADDRESS,
    DIRECTORY,
    READ_2_AT_1,
    TEST_UNIT_READY,
    WRITE_2_AT_1,
    add,
    export,
    exported,
    opened,
    triple,
)
from tests.support.scsi_unit import BLOCK, MEDIUM_CHANGED, FakeUnit, failed
from tests.support.whole import Whole

RESERVE = bytes.fromhex("160000000000")
BROKEN = Sense(SenseKey.MEDIUM_ERROR, 0x11, 0x04)


# Assignment


async def test_who_is_given_a_handler_is_opened_and_asked(everything: Whole) -> None:
    unit = FakeUnit(block=4096, unit_attentions=[RESET, MEDIUM_CHANGED])
    device = add(everything, unit)
    await everything.write("handlers/dev_disk/mgmt", f"add_device {ADDRESS}\n")
    assert device.block_shift == 12
    assert not unit.unit_attentions
    await everything.write("handlers/dev_disk_perf/mgmt", f"add_device {ADDRESS}\n")
    assert unit.open == 1
    await everything.write("handlers/dev_disk_perf/mgmt", f"del_device {ADDRESS}\n")
    await everything.write("handlers/dev_disk/mgmt", f"add_device {ADDRESS}\n")
    assert unit.open == 2


async def test_who_is_given_what_is_traced_with_mgmt(
    everything: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace.dev_disk")
    add(everything, FakeUnit())
    for name, verb in (("dev_disk", "add"), ("dev_disk_perf", "add"), ("dev_disk_perf", "del")):
        await everything.write(f"handlers/{name}/mgmt", f"{verb}_device {ADDRESS}\n")
    assert [message for message in caplog.messages if "device" in message] == [
        f"device {ADDRESS} is given to dev_disk",
        f"device {ADDRESS} is given to dev_disk_perf",
        f"device {ADDRESS} is taken from dev_disk_perf",
    ]


@pytest.mark.logs("has none of the nodes sg1; no command will reach it")
async def test_a_device_without_a_node_says_who_it_is_and_is_not_ready(
    everything: Whole,
) -> None:
    def refuse(_address: str) -> DeviceNode:
        raise NoNodeError(errno.ENODEV, "1:0:0:0 has none of the nodes sg1")

    found = FoundDevice(DeviceType.DISK, "../../devices/somewhere", b"Maker", b"Model", b"1.0")
    device = ScsiDevice(everything.scst, ADDRESS, found, refuse)
    device_registration.appear(everything.scst, device)
    await everything.write("handlers/dev_disk/mgmt", f"add_device {ADDRESS}\n")
    await export(everything)
    session = await opened(everything)
    inquiry = (await session.execute(0, bytes.fromhex("120000002400"), data_in=36)).data
    assert inquiry[:1] + inquiry[8:16] == b"\0Maker   "
    for cdb, length in ((TEST_UNIT_READY, 0), (READ_2_AT_1, 1024), (RESERVE, 0)):
        assert triple(await session.execute(0, cdb, data_in=length)) == (2, 0x04, 0x03)
    # It can be searched again.
    device._opener = FakeUnit().opener
    await everything.write("handlers/dev_disk_perf/mgmt", f"add_device {ADDRESS}\n")
    assert (await session.execute(0, READ_2_AT_1, data_in=1024)).status is Status.GOOD


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EBUSY, errno.EACCES, errno.ELIBACC])
async def test_what_can_not_be_opened_gets_no_handler(everything: Whole, number: int) -> None:
    device = add(everything, FakeUnit())

    def refuse(_address: str) -> None:
        raise OSError(number, "no")

    device._opener = refuse  # type: ignore[assignment]
    command = f"add_device {ADDRESS}\n"
    assert await everything.refusal("handlers/dev_disk/mgmt", command) == errno.errorcode[number]
    assert "handler" not in everything.names(DIRECTORY)


async def test_a_device_without_end_of_unit_attentions_gets_no_handler(everything: Whole) -> None:
    add(everything, FakeUnit(unit_attentions=[RESET] * 5))
    command = f"add_device {ADDRESS}\n"
    assert await everything.refusal("handlers/dev_disk/mgmt", command) == "ENODEV"


async def test_who_goes_away_while_he_is_asked(everything: Whole) -> None:
    unit = FakeUnit(held={0x25})
    device = add(everything, unit)

    async def assign() -> None:
        command = f"add_device {ADDRESS}\n"
        assert await everything.refusal("handlers/dev_disk/mgmt", command) == "ENODEV"

    async with everything.background(assign):
        await trio.to_thread.run_sync(unit.waiting.acquire)
        device_registration.unregister(everything.scst, device)
        unit.released.set()


async def test_who_is_given_to_two_at_a_time_is_opened_once(everything: Whole) -> None:
    unit = FakeUnit(held={0x25})
    device = add(everything, unit)
    assign = partial(everything.write, "handlers/dev_disk/mgmt", f"add_device {ADDRESS}\n")
    async with everything.background(assign), everything.background(assign):
        for _ in range(2):
            await trio.to_thread.run_sync(unit.waiting.acquire)
        unit.released.set()
    await assign()
    assert unit.open == 2
    assert device.handler is everything.scst.handlers["dev_disk"]
    fds = [Path(f"/proc/self/fd/{node._fd}") for node in unit.nodes]
    assert [fd.exists() for fd in fds].count(True) == 1


async def test_a_device_that_is_exported_before_it_has_a_handler(everything: Whole) -> None:
    """Its LUNs have the task sets that it turns out to have."""
    device = add(everything, FakeUnit())
    await export(everything)
    session = open_session(everything.local.targets["t"], "me")
    tgt_dev = session.session.tgt_devs[0]
    assert tgt_dev.aca is not device.aca
    await everything.write("handlers/dev_disk/mgmt", f"add_device {ADDRESS}\n")
    assert tgt_dev.aca is device.aca
    assert not device.control.tmf_only


async def test_the_node_stays_open_for_commands_under_way(everything: Whole) -> None:
    unit = FakeUnit(held={0x28})
    session = await exported(everything, unit)
    # Its consequences would be checked, but there is no node for that.
    unit.script(0x28, failed(RESET))
    results: list[object] = []

    async def read() -> None:
        results.append(triple(await session.execute(0, READ_2_AT_1)))

    async def take_away() -> None:
        await everything.write("handlers/dev_disk/mgmt", f"del_device {ADDRESS}\n")
        # Now it can be used by others.
        assert not Path(f"/proc/self/fd/{unit.nodes[0]._fd}").exists()
        results.append("taken")

    async with everything.background(read):
        await trio.to_thread.run_sync(unit.waiting.acquire)
        async with everything.background(take_away):
            assert triple(await session.execute(0, TEST_UNIT_READY)) == (5, 0x25, 0)
            assert not results
            unit.released.set()
    # The fake fails if its descriptor is closed.
    assert results == [RESET.triple, "taken"]


async def test_what_waited_when_its_device_lost_its_handler(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    await everything.write(f"{DIRECTORY}/block", "1\n")
    results = []

    async def read(cdb: bytes) -> None:
        results.append(triple(await session.execute(0, cdb)))

    async with (
        everything.background(partial(read, READ_2_AT_1)),
        everything.background(partial(read, RESERVE)),
    ):
        await everything.write("handlers/dev_disk/mgmt", f"del_device {ADDRESS}\n")
        await everything.write(f"{DIRECTORY}/block", "0\n")
    assert results == [(5, 0x25, 0)] * 2
    assert not unit.seen


# Commands as they are


async def test_data_goes_both_ways(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    data = bytes(range(256)) * 4
    assert (await session.execute(0, WRITE_2_AT_1, data)).status is Status.GOOD
    assert unit.data[BLOCK : 3 * BLOCK] == data
    result = await session.execute(0, READ_2_AT_1)
    assert (result.status, result.data) == (Status.GOOD, data)
    assert [seen.cdb for seen in unit.seen] == [WRITE_2_AT_1, READ_2_AT_1]


async def test_what_the_device_is_comes_from_itself(everything: Whole) -> None:
    session = await exported(everything, FakeUnit())
    inquiry = await session.execute(0, bytes.fromhex("120000002400"))
    assert inquiry.data[8:36] == b"Linux   scsi_debug      0191"
    capacity = await session.execute(0, bytes.fromhex("25000000000000000000"))
    assert capacity.data == bytes.fromhex("000007ff00000200")


@pytest.mark.parametrize("encoded", [BROKEN.encode(), BROKEN.encode(descriptor=True) + b"\1"])
async def test_sense_data_comes_as_it_is(everything: Whole, encoded: bytes) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x28, (2, encoded, b"half"))
    result = await session.execute(0, READ_2_AT_1)
    assert (result.status, result.sense, result.data) == (Status.CHECK_CONDITION, encoded, b"half")


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CHECK_CONDITION])
async def test_every_status_comes_as_it_is(everything: Whole, status: Status) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x34, (status, b"", b""))
    assert (await session.execute(0, bytes.fromhex("34000000000000000100"))).status is status


@pytest.mark.logs("0x22 is no status")
async def test_what_is_no_status_is_a_fault(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x00, (0x22, b"", b""))
    assert triple(await session.execute(0, TEST_UNIT_READY)) == (4, 0x44, 0)


@pytest.mark.parametrize(
    ("key", "came"), [(SenseKey.RECOVERED_ERROR, 1024), (SenseKey.ILLEGAL_REQUEST, 0)]
)
async def test_a_command_that_was_refused_has_no_data(
    everything: Whole, key: SenseKey, came: int
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x28, (2, Sense(key, 0x24).encode(), bytes(2 * BLOCK)))
    assert len((await session.execute(0, READ_2_AT_1)).data) == came


async def test_sense_data_that_did_not_come_is_asked_for(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x00, (2, b"", b""), (2, b"", b""))
    unit.script(0x03, (0, b"", BROKEN.encode()), (0, b"", b""))
    assert triple(await session.execute(0, TEST_UNIT_READY)) == BROKEN.triple
    assert triple(await session.execute(0, TEST_UNIT_READY)) == (4, 0x44, 0)


async def test_less_data_than_asked_for(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x28, (0, b"", b"short"))
    assert (await session.execute(0, READ_2_AT_1)).data == b"short"


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (OSError(errno.ETIMEDOUT, "late"), (0xB, 0x2E, 2)),
        (OSError(errno.ENODEV, "gone"), (4, 0x05, 0)),
        (OSError(errno.EIO, "broken"), (4, 0x44, 0)),
        (TransportError(0x03), (0xB, 0x2E, 2)),
        (TransportError(0x01), (4, 0x05, 0)),
        (TransportError(0x07), (0x0B, 0x44, 0)),
        (TransportError(0x13), (3, 0x11, 0)),
    ],
)
async def test_what_does_not_come_back(
    everything: Whole, error: OSError, answer: tuple[int, int, int]
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x28, error)
    assert triple(await session.execute(0, READ_2_AT_1)) == answer


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOMEM, "full"), Status.BUSY),
        (TransportError(0x02), Status.BUSY),
        (TransportError(0x11), Status.RESERVATION_CONFLICT),
    ],
)
async def test_what_may_be_tried_again(everything: Whole, error: OSError, status: Status) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x00, error)
    assert (await session.execute(0, TEST_UNIT_READY)).status is status


@pytest.mark.logs("Unable to complete command READ.10. due to SG IO count limitation: 1024 bytes")
async def test_more_than_the_host_takes(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0x28, OSError(errno.EINVAL, "too much"))
    assert triple(await session.execute(0, READ_2_AT_1)) == (4, 0x44, 0)


@pytest.mark.parametrize(
    ("kind", "cdb", "timeout"),
    [
        (0, TEST_UNIT_READY, 10),
        (0, READ_2_AT_1, 60),
        (0, bytes.fromhex("040000000000"), 3600),
        (1, bytes.fromhex("010000000000"), 14000),
        (1, bytes.fromhex("100000000100"), 900),
        (5, READ_2_AT_1, 900),
        (8, bytes.fromhex("a50000000000000000000000"), 14000),
        (8, TEST_UNIT_READY, 3),
    ],
)
async def test_every_type_has_its_time(
    everything: Whole, kind: int, cdb: bytes, timeout: int
) -> None:
    unit = FakeUnit(kind, block=2048 if kind == 5 else BLOCK)
    session = await exported(everything, unit)
    await session.execute(0, cdb)
    assert [(seen.cdb, seen.timeout) for seen in unit.seen] == [(cdb, timeout)]


async def test_the_perf_handlers_do_what_they_are_told(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    await everything.write("handlers/dev_disk_perf/mgmt", f"add_device {ADDRESS}\n")
    await session.execute(0, WRITE_2_AT_1, b"x" * 2 * BLOCK)
    assert unit.data[BLOCK] == ord("x")


# Lengths


async def test_blocks_of_a_size_that_is_no_power_of_two(everything: Whole) -> None:
    unit = FakeUnit(block=520)
    session = await exported(everything, unit)
    data = b"y" * 1040
    assert (await session.execute(0, WRITE_2_AT_1, data)).status is Status.GOOD
    assert (await session.execute(0, READ_2_AT_1)).status is Status.GOOD
    assert (await session.execute(0, READ_2_AT_1, data_in=1040)).data == data


async def test_blocks_change_their_size(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.block = 4096
    await session.execute(0, bytes.fromhex("9e100000000000000000000000200000"))
    assert len((await session.execute(0, READ_2_AT_1)).data) == 8192
    unit.block = 0
    await session.execute(0, bytes.fromhex("25000000000000000000"))
    assert everything.scst.devices[ADDRESS].block_shift == 12


@pytest.mark.parametrize(
    ("cdb", "sent"),
    [
        ("c1 02 03 04 05 06 07 08 09 0a 00 00 00 00 00 00", 10),
        ("c1 02 03 04 05 06 07 08 09 0a 0b 00 00 00 00 00", 12),
        ("c1 02 03 04 05 06 07 08 09 0a 0b 0c 0d 00 00 00", 16),
        ("61 02 03 04 05 06 07 08 09 0a 00 00 00 00 00 00", 10),
        ("b0 02 03 04 05 06 07 08 09 0a 0b 0c 00 00 00 00", 12),
    ],
)
async def test_commands_that_nobody_knows_go_as_the_initiator_expects(
    everything: Whole, cdb: str, sent: int
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    code = bytes.fromhex(cdb)[0]
    unit.script(code, (0, b"", b"answer"), (0, b"", b""), (0, b"", b""))
    assert (await session.execute(0, bytes.fromhex(cdb), data_in=16)).data == b"answer"
    await session.execute(0, bytes.fromhex(cdb), b"question")
    await session.execute(0, bytes.fromhex(cdb))
    assert [seen.data for seen in unit.seen] == [b"", b"question", b""]
    assert {seen.cdb for seen in unit.seen} == {bytes.fromhex(cdb)[:sent]}


async def test_data_both_ways_is_refused(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unknown = bytes.fromhex("c1000000000000000000")
    assert triple(await session.execute(0, unknown, b"x", data_in=1)) == (5, 0x49, 0)
    xdwriteread = bytes.fromhex("53000000000000000100")
    assert triple(await session.execute(0, xdwriteread, bytes(BLOCK), data_in=BLOCK)) == (
        5,
        0x20,
        0,
    )
    assert not unit.seen


async def test_more_data_than_there_should_be_memory_for_is_refused(everything: Whole) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    assert triple(await session.execute(0, bytes.fromhex("a80000000000001000000000"))) == (
        5,
        0x24,
        0,
    )
    assert not unit.seen


async def test_an_allocation_length_is_no_more_than_the_initiator_has_room_for(
    everything: Whole,
) -> None:
    unit = FakeUnit()
    session = await exported(everything, unit)
    unit.script(0xB7, (0, b"", bytes(8)))
    read_defect_data = bytes.fromhex("b70000000000ffffffff0000")
    assert (await session.execute(0, read_defect_data, data_in=1024)).data == bytes(8)
    assert unit.seen[0].cdb == bytes.fromhex("b70000000000000004000000")


async def test_what_scsi_2_had_in_its_commands_is_left_out_for_cds(everything: Whole) -> None:
    unit = FakeUnit(5, block=2048)
    session = await exported(everything, unit)
    await session.execute(0, bytes.fromhex("28200000000100000200"), data_in=4096)
    assert unit.seen[0].cdb == READ_2_AT_1


# Tapes


async def test_tape_blocks(everything: Whole) -> None:
    unit = FakeUnit(1, mode_block=1000)
    session = await exported(everything, unit)
    unit.script(0x08, (0, b"", b"t" * 3000), (0, b"", b"t" * 80))
    assert len((await session.execute(0, bytes.fromhex("080100000300"), data_in=3000)).data) == 3000
    assert len((await session.execute(0, bytes.fromhex("080000005000"))).data) == 80


async def test_a_tape_changes_its_block_size(everything: Whole) -> None:
    unit = FakeUnit(1)
    session = await exported(everything, unit)
    device = everything.scst.devices[ADDRESS]
    assert isinstance(device, ScsiDevice)
    assert device.block_size == 512
    parameters = bytes.fromhex("00000008 00000000 00000400")
    unit.script(0x15, (0, b"", b""))
    await session.execute(0, bytes.fromhex("150000000c00"), parameters)
    assert device.block_size == 1024
    unit.script(0x1A, (0, b"", bytes.fromhex("0b000008 00000000 00000800")))
    await session.execute(0, bytes.fromhex("1a000000ff00"))
    assert device.block_size == 2048


async def test_a_tape_that_meets_a_mark_gives_data_and_sense_data(everything: Whole) -> None:
    unit = FakeUnit(1)
    session = await exported(everything, unit)
    mark = bytearray(Sense(SenseKey.NO_SENSE, 0, 1, information=2).encode())
    mark[2] |= 0x80
    # What the host says of residuals is not to be relied on here.
    unit.script(0x08, (2, bytes(mark), b"t" * 2560))
    result = await session.execute(0, bytes.fromhex("080100000500"))
    assert (result.status, result.sense) == (Status.CHECK_CONDITION, bytes(mark))
    assert result.data == b"t" * 3 * 512
