from __future__ import annotations

import errno
import os
import threading

import pytest
import trio
from trio.testing import MockClock

from scstfs.drivers.copying import block_copy, token_store
from scstfs.handlers import medium_change
from scstfs.scsi.status import Status
from tests.support.copies import (
    BLOCK,
    COPY_ABORTED,
    DATA,
    INVALID_FIELD,
    ZERO_TOKEN,
    Disks,
    be,
    content,
    fetch_token,
    populate,
    populate_token,
    token_cdb,
    token_information,
    write_using,
    write_using_token,
)
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, Initiator, System

WRITE = b"\x2a" + bytes(7) + b"\x01\0"

UNKNOWN = (0x5, 0x23, 0x04)
CORRUPT = (0x5, 0x23, 0x05)
REVOKED = (0x5, 0x23, 0x06)
EXPIRED = (0x5, 0x23, 0x07)
OUT_OF_RANGE = (0x5, 0x21, 0x00)
INVALID_PARAMETER = (0x5, 0x26, 0x00)


@pytest.fixture
async def disks(system: System) -> Disks:
    """A source with 64 blocks of random data, and an empty destination."""
    source = await system.add_disk("source")
    destination = await system.add_disk("destination", thin_provisioned=1)
    with (system.directory / "source").open("r+b") as file:
        file.write(DATA)
    return source, destination


async def token_of(initiator: Initiator, *extents: tuple[int, int], timeout: int = 0) -> bytes:
    result = await populate_token(initiator, extents or ((0, 8),), timeout=timeout)
    assert result == GOOD
    return await fetch_token(initiator)


# Copies


async def test_what_a_token_stands_for_arrives(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator, (0, 4), (16, 4))
    assert await write_using_token(initiator, token, [(100, 6), (200, 2)], lun=1) == GOOD
    expected = bytearray(1 << 20)
    source = DATA[: 4 * BLOCK] + DATA[16 * BLOCK : 20 * BLOCK]
    expected[100 * BLOCK : 106 * BLOCK] = source[: 6 * BLOCK]
    expected[200 * BLOCK : 202 * BLOCK] = source[6 * BLOCK :]
    assert content(system) == expected


async def test_anybody_may_use_a_token(system: System, disks: Disks) -> None:
    token = await token_of(system.initiator("one"))
    two = system.initiator("two")
    assert await write_using_token(two, token, [(0, 8)], lun=1) == GOOD
    assert (await token_information(two, 1)).triple == INVALID_FIELD


async def test_a_part_of_a_token(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator, (0, 8), (16, 8))
    assert await write_using_token(initiator, token, [(0, 4)], lun=1, offset=6) == GOOD
    expected = DATA[6 * BLOCK : 8 * BLOCK] + DATA[16 * BLOCK : 18 * BLOCK]
    assert content(system)[: 4 * BLOCK] == expected
    information = (await token_information(initiator, 2, lun=1)).data
    assert (information[5], information[16:24]) == (0x01, be(4, 8))


async def test_a_token_that_has_less_than_there_is_room_for(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator, (0, 8))
    assert await write_using_token(initiator, token, [(0, 20)], lun=1) == GOOD
    assert content(system) == DATA[: 8 * BLOCK] + bytes((1 << 20) - 8 * BLOCK)
    information = (await token_information(initiator, 2, lun=1)).data
    # Completed with residual data; eight blocks were transferred.
    assert (information[5], information[15], information[16:24]) == (0x04, 0xF1, be(8, 8))


async def test_the_token_of_all_zeros(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    with (system.directory / "destination").open("r+b") as file:
        file.write(b"x" * (1 << 20))
    assert await write_using_token(initiator, ZERO_TOKEN, [(8, 2040)], lun=1) == GOOD
    assert content(system) == b"x" * 4096 + bytes((1 << 20) - 4096)
    assert (system.directory / "destination").stat().st_blocks == 8


async def test_a_copy_within_one_device(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator, (0, 8))
    assert await write_using_token(initiator, token, [(8, 8)]) == GOOD
    assert content(system, "source")[4096:8192] == DATA[:4096]
    overlapping = await write_using_token(initiator, token, [(7, 8)])
    assert overlapping.triple == INVALID_PARAMETER


async def test_in_the_background(system: System, disks: Disks) -> None:
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    store.pause("write")
    initiator = system.initiator()
    token = await token_of(initiator)
    assert await write_using_token(initiator, token, [(0, 8)], lun=1, immed=True) == GOOD
    assert (await token_information(initiator, 2, lun=1)).data[5] == 0x12
    # A write to blocks that are being read waits, and ends the token only then.
    writer = initiator.start(WRITE, bytes(BLOCK))
    assert not writer.answered.is_set()
    store.resume("write")
    assert await writer.wait() == GOOD
    assert (await token_information(initiator, 2, lun=1)).data[5] == 0x01
    assert store.content[:4096] == DATA[:4096]
    again = await write_using_token(initiator, token, [(0, 8)], lun=1)
    assert again.triple == REVOKED


async def test_what_is_done_so_far_is_told_in_blocks(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_copy, "STEP", 2 * BLOCK)
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    initiator = system.initiator()
    token = await token_of(initiator)
    second = threading.Event()

    def arrived(name: str) -> None:
        if len(store.calls) == 2:
            store.pause("write")
            second.set()

    store.arrived = arrived
    assert await write_using_token(initiator, token, [(0, 8)], lun=1, immed=True) == GOOD
    while not second.is_set():
        await trio.lowlevel.checkpoint()
    information = (await token_information(initiator, 2, lun=1)).data
    assert (information[5], information[15], information[16:24]) == (0x12, 0xF1, be(2, 8))
    store.resume("write")


async def test_nothing_to_do(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    for action in (0x10, 0x11):
        assert await initiator.execute(token_cdb(action, 1, 0)) == GOOD


# Results


async def test_information_about_a_token(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator, (0, 8), (16, 4))
    information = (await token_information(initiator)).data
    assert information[:32].hex() == (
        f"{len(information) - 4:08x}10010000fffffffe000000f1000000000000000c0002000000000000"
    )
    assert information[32:36] == be(514, 4)
    assert information[38:] == token
    assert int.from_bytes(token[48:64], "big") == 12 * BLOCK
    assert (
        await initiator.execute(b"\x84\x05" + be(1, 4) + bytes(4) + be(64, 4) + b"\0\0", data_in=64)
    ).data[4] == 0x10


async def test_results_are_kept_for_a_minute(
    system: System, disks: Disks, mock_clock: MockClock
) -> None:
    initiator = system.initiator()
    await token_of(initiator, timeout=600)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(59)
    await trio.testing.wait_all_tasks_blocked()
    assert (await token_information(initiator)).status is Status.GOOD
    mock_clock.jump(2)
    await trio.testing.wait_all_tasks_blocked()
    assert (await token_information(initiator)).triple == INVALID_FIELD


async def test_a_source_that_breaks(system: System, disks: Disks) -> None:
    store = FakeStore(1 << 20)
    disks[0].medium.install(store)
    initiator = system.initiator()
    token = await token_of(initiator)
    store.errors["read"] = OSError(errno.EIO, "broken")
    result = await write_using_token(initiator, token, [(0, 8)], lun=1)
    assert result.triple == COPY_ABORTED
    information = (await token_information(initiator, 2, lun=1)).data
    assert (information[5], information[12]) == (0x02, Status.CHECK_CONDITION)
    del store.errors["read"]
    assert await write_using_token(initiator, token, [(0, 8)], lun=1, list_id=3) == GOOD


# Tokens end


@pytest.mark.parametrize(
    ("command", "data", "revokes"),
    [
        pytest.param(WRITE, bytes(BLOCK), True, id="write"),
        pytest.param(b"\x2a\0\0\0\0\x08\0\0\x01\0", bytes(BLOCK), False, id="write elsewhere"),
        pytest.param(b"\x28" + bytes(7) + b"\x01\0", b"", False, id="read"),
        pytest.param(b"\x41\0\0\0\0\x07\0\0\x02\0", bytes(BLOCK), True, id="write same"),
        pytest.param(b"\x48\x02" + bytes(8), b"", True, id="sanitize"),
        pytest.param(b"\x35" + bytes(9), b"", False, id="synchronize cache"),
    ],
)
async def test_what_changes_blocks_revokes_their_token(
    system: System, disks: Disks, command: bytes, data: bytes, revokes: bool
) -> None:
    initiator = system.initiator()
    token = await token_of(initiator)
    result = await initiator.execute(command, data, None if data else BLOCK)
    if result.status is not Status.GOOD:
        result = await initiator.execute(command, data)
    assert result.status is Status.GOOD
    copied = await write_using_token(initiator, token, [(0, 8)], lun=1)
    assert copied.triple == (REVOKED if revokes else None)


async def test_the_fast_path_is_closed_only_while_there_are_tokens(
    system: System, disks: Disks
) -> None:
    initiator = system.initiator()
    tgt_dev = initiator.session.tgt_devs[0]
    assert tgt_dev.quick.write is not None
    await token_of(initiator)
    assert tgt_dev.quick.write is None
    assert initiator.session.tgt_devs[1].quick.write is not None
    assert await initiator.execute(WRITE, bytes(BLOCK)) == GOOD
    assert tgt_dev.quick.write is not None


async def test_tokens_nobody_uses_expire(
    system: System, disks: Disks, mock_clock: MockClock
) -> None:
    initiator = system.initiator()
    token = await token_of(initiator, timeout=100)
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(90)
        await trio.testing.wait_all_tasks_blocked()
        result = await write_using_token(initiator, token, [(0, 8)], lun=1)
        assert result == GOOD, "using it keeps it"
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(101)
    await trio.testing.wait_all_tasks_blocked()
    result = await write_using_token(initiator, token, [(0, 8)], lun=1)
    assert result.triple == EXPIRED
    assert initiator.session.tgt_devs[0].quick.write is not None


@pytest.mark.parametrize("how", ["close", "resize", "delete"])
async def test_tokens_end_with_what_they_stand_for(system: System, disks: Disks, how: str) -> None:
    initiator = system.initiator()
    token = await token_of(initiator)
    if how == "close":
        disks[0].medium.close()
    elif how == "resize":
        os.truncate(system.directory / "source", 1 << 19)
        await medium_change.resync_size(disks[0])
    else:
        system.delete("source")
    initiator.clear_unit_attentions()
    result = await write_using_token(initiator, token, [(0, 8)], lun=1)
    assert result.triple == REVOKED


async def test_a_token_can_be_deleted_by_its_last_use(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator)
    assert await write_using_token(initiator, token, [(0, 8)], lun=1, delete=True) == GOOD
    result = await write_using_token(initiator, token, [(0, 8)], lun=1)
    assert result.triple == UNKNOWN


async def test_tokens_can_not_be_made_up(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator)
    forged = token[:-1] + bytes((token[-1] ^ 1,))
    assert (await write_using_token(initiator, forged, [(0, 8)], lun=1)).triple == CORRUPT
    foreign = token[:8] + bytes(8) + token[16:]
    assert (await write_using_token(initiator, foreign, [(0, 8)], lun=1)).triple == UNKNOWN
    assert not any(content(system))


async def test_the_oldest_of_too_many_tokens_is_revoked(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_store, "MOST_TOKENS", 2)
    initiator = system.initiator()
    first = await token_of(initiator)
    others = [await token_of(initiator), await token_of(initiator)]
    answers = [
        (await write_using_token(initiator, token, [(0, 8)], lun=1)).triple
        for token in (first, *others)
    ]
    assert answers == [REVOKED, None, None]


# What is refused


@pytest.mark.parametrize(
    ("extents", "answer"),
    [
        ([(2040, 9)], OUT_OF_RANGE),
        ([(0, 4), (3, 4)], INVALID_PARAMETER),
        ([(n, 1) for n in range(65)], (0x5, 0x26, 0x08)),
    ],
    ids=["beyond the end", "overlapping", "too many"],
)
async def test_ranges_that_are_refused(
    system: System, disks: Disks, extents: list[tuple[int, int]], answer: tuple[int, int, int]
) -> None:
    initiator = system.initiator()
    assert (await populate_token(initiator, extents)).triple == answer
    assert (await token_information(initiator)).triple == INVALID_FIELD
    result = await write_using_token(initiator, ZERO_TOKEN, extents)
    assert result.triple == answer


async def test_an_offset_behind_the_token(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    token = await token_of(initiator)
    result = await write_using_token(initiator, token, [(0, 1)], lun=1, offset=8)
    assert result.triple == INVALID_PARAMETER


async def test_blocks_of_another_size(system: System, disks: Disks) -> None:
    await system.add_disk("big", blocksize=4096)
    initiator = system.initiator()
    token = await token_of(initiator)
    result = await write_using_token(initiator, token, [(0, 1)], lun=2)
    assert result.triple == (0x5, 0x23, 0x00)


async def test_a_timeout_that_is_too_long(system: System, disks: Disks) -> None:
    result = await populate_token(system.initiator(), [(0, 8)], timeout=3601)
    assert result.triple == INVALID_PARAMETER


async def test_a_device_without_medium_has_no_tokens(system: System, disks: Disks) -> None:
    disks[0].medium.close()
    result = await populate_token(system.initiator(), [(0, 8)])
    assert result.triple == (0x2, 0x3A, 0x00)


async def test_a_read_only_device_is_not_written(system: System, disks: Disks) -> None:
    await system.add_disk("locked", read_only=1)
    result = await write_using_token(system.initiator(), ZERO_TOKEN, [(0, 1)], lun=2)
    assert result.triple == (0x7, 0x00, 0x00)


async def test_a_list_identifier_in_use(system: System, disks: Disks) -> None:
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    store.pause("write")
    initiator = system.initiator()
    token = await token_of(initiator)
    assert await write_using_token(initiator, token, [(0, 8)], lun=1, immed=True) == GOOD
    for command, data in (
        (token_cdb(0x11, 2, 552), write_using(token, [(20, 8)])),
        (token_cdb(0x10, 2, 32), populate([(0, 8)])),
    ):
        assert (await initiator.execute(command, data)).triple == (0x5, 0x00, 0x16)
    store.resume("write")
