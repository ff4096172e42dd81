from __future__ import annotations

import errno
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from scstfs.core import task_management
from scstfs.core.quick import CLOSED
from scstfs.handlers.sbc import AT_ONCE
from scstfs.handlers.store import StoreExtent
from scstfs.handlers.store_steps import MOST as STEP
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.status import Status
from tests.support.copies import be
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, Result, System

BLOCK = 512
MISCOMPARE = (0xE, 0x1D, 0x00)
INVALID_FIELD = (0x5, 0x24, 0x00)
OUT_OF_RANGE = (0x5, 0x21, 0x00)
BAD_LENGTH = (0x5, 0x0E, 0x03)


async def with_store(system: System, **parameters: int) -> tuple[VdiskDevice, FakeStore]:
    """A disk over a store in memory."""
    device = await system.add_disk("disk", **parameters)
    store = FakeStore(thin=True)
    device.medium.install(store)
    return device, store


def write10(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes((0x2A, flags)) + be(lba, 4) + b"\0" + be(blocks, 2) + b"\0"


def caw(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes((0x89, flags)) + be(lba, 8) + bytes(3) + be(blocks, 1) + bytes(2)


def read16(lba: int, blocks: int) -> bytes:
    return b"\x88\0" + be(lba, 8) + be(blocks, 4) + bytes(2)


def unmap(*extents: tuple[int, int]) -> tuple[bytes, bytes]:
    body = b"".join(be(lba, 8) + be(blocks, 4) + bytes(4) for lba, blocks in extents)
    data = be(len(body) + 6, 2) + be(len(body), 2) + bytes(4) + body
    return b"\x42" + bytes(6) + be(len(data), 2) + b"\0", data


# What is durable when it is answered

DATA = b"d" * BLOCK
WRITES = {
    "write10": (write10(1, 1), DATA),
    "write10 fua": (write10(1, 1, 0x08), DATA),
    "write12 fua": (b"\xaa\x08" + be(1, 4) + be(1, 4) + bytes(2), DATA),
    "write16 fua": (b"\x8a\x08" + be(1, 8) + be(1, 4) + bytes(2), DATA),
    "write6": (b"\x0a\0\0\1\1\0", DATA),
    "write and verify": (b"\x2e\0" + be(1, 4) + b"\0" + be(1, 2) + b"\0", DATA),
    "caw": (caw(1, 1), bytes(BLOCK) + DATA),
    "caw fua": (caw(1, 1, 0x08), bytes(BLOCK) + DATA),
    "orwrite": (b"\x8b\0" + be(1, 8) + be(1, 4) + bytes(2), DATA),
    "orwrite fua": (b"\x8b\x08" + be(1, 8) + be(1, 4) + bytes(2), DATA),
    "write atomic fua": (b"\x9c\x08" + be(1, 8) + be(0, 2) + be(1, 2) + bytes(2), DATA),
}
ALWAYS = {name for name in WRITES if name.endswith("fua")} | {"write and verify"}


@pytest.mark.parametrize("name", sorted(WRITES))
@pytest.mark.parametrize("cache", ["back", "through", "nonvolatile"])
async def test_which_writes_are_durable(system: System, name: str, cache: str) -> None:
    parameters: dict[str, dict[str, int]] = {
        "back": {},
        "through": {"write_through": 1},
        "nonvolatile": {"nv_cache": 1},
    }
    _, store = await with_store(system, **parameters[cache])
    command, data = WRITES[name]
    assert await system.initiator().execute(command, data) == GOOD
    expected = cache == "through" or (cache == "back" and name in ALWAYS)
    assert [call for call in store.calls if call[0] == "write"] == [
        ("write", BLOCK, BLOCK, expected)
    ]
    assert store.content[BLOCK : 2 * BLOCK] == DATA


@pytest.mark.parametrize("on", [False, True])
async def test_requests_for_safety_are_traced_with_order(
    system: System, caplog: pytest.LogCaptureFixture, on: bool
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    device, _ = await with_store(system)
    log = device.kind.trace
    log.flags = log.bit("order") if on else 0
    caplog.clear()
    for command, data in (WRITES["write10 fua"], WRITES["write10"], (b"\x35" + bytes(9), b"")):
        assert await system.initiator().execute(command, data) == GOOD
    told = [record.getMessage().split(" from ")[0] for record in caplog.records]
    assert told == (["disk: FUA", "disk: SYNCHRONIZE CACHE"] if on else [])


@pytest.mark.parametrize("length", [AT_ONCE, AT_ONCE + BLOCK])
async def test_what_takes_long_is_not_done_in_the_event_loop(system: System, length: int) -> None:
    device = await system.add_disk("disk", size=2 * AT_ONCE)
    store = FakeStore(2 * AT_ONCE, quick=True)
    device.medium.install(store)
    initiator, data = system.initiator(), os.urandom(length)
    assert await initiator.execute(write10(0, length // BLOCK), data) == GOOD
    assert (await initiator.execute(read16(0, length // BLOCK), data_in=length)).data == data
    in_threads = [("write", 0, length, False), ("read", 0, length)]
    assert store.calls == (in_threads if length > AT_ONCE else [])


async def test_mode_select_switches_the_cache(system: System) -> None:
    _, store = await with_store(system)
    initiator = system.initiator()
    off = bytes(4) + b"\x08\x12" + bytes(18)
    assert await initiator.execute(b"\x15\x10\0\0\x18\0", off) == GOOD
    await initiator.execute(write10(1, 1), DATA)
    assert store.calls == [("write", BLOCK, BLOCK, True)]


@pytest.mark.parametrize(
    ("command", "flushes"),
    [
        pytest.param(b"\x35" + bytes(9), True, id="synchronize cache 10"),
        pytest.param(b"\x91" + bytes(15), True, id="synchronize cache 16"),
        pytest.param(b"\x1b\0\0\0\0\0", True, id="stop"),
        pytest.param(b"\x00" * 6, False, id="test unit ready"),
    ],
)
@pytest.mark.parametrize("nonvolatile", [False, True])
async def test_flushing(system: System, command: bytes, flushes: bool, nonvolatile: bool) -> None:
    _, store = await with_store(system, nv_cache=int(nonvolatile))
    assert await system.initiator().execute(command) == GOOD
    assert store.calls == ([("flush",)] if flushes and not nonvolatile else [])


async def test_a_flush_that_fails_is_reported(system: System) -> None:
    _, store = await with_store(system)
    store.errors["flush"] = OSError(errno.EIO, "broken")
    result = await system.initiator().execute(b"\x35" + bytes(9))
    assert result.triple == (0x3, 0x03, 0x00)


@pytest.mark.logs(r"disk: cannot write cached data: Input/output error")
async def test_synchronize_cache_immed_answers_first(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    device, store = await with_store(system)
    store.pause("flush")
    store.errors["flush"] = OSError(errno.EIO, "broken")
    assert await system.initiator().execute(b"\x35\x02" + bytes(8)) == GOOD
    idle = trio.Event()
    device.tasks.when_idle(idle.set, background_too=True)
    assert not idle.is_set()
    store.resume("flush")
    await idle.wait()
    assert "cannot write cached data" in caplog.text


@pytest.mark.logs(r"disk: cannot write cached data: Input/output error")
async def test_what_a_flush_that_nobody_waited_for_has_lost_is_reported_by_the_next(
    system: System,
) -> None:
    device, store = await with_store(system)
    initiator = system.initiator()
    store.errors["flush"] = OSError(errno.EIO, "broken")
    assert await initiator.execute(b"\x35\x02" + bytes(8)) == GOOD
    idle = trio.Event()
    device.tasks.when_idle(idle.set, background_too=True)
    await idle.wait()
    # The system reports an error once; later calls succeed.
    del store.errors["flush"]
    assert (await initiator.execute(b"\x35" + bytes(9))).triple == (0x3, 0x03, 0x00)
    assert await initiator.execute(b"\x35" + bytes(9)) == GOOD


# Errors of the store


@pytest.mark.parametrize(
    ("number", "writing", "answer"),
    [
        (errno.EIO, False, (0x3, 0x11, 0x00)),
        (errno.EIO, True, (0x3, 0x03, 0x00)),
        (errno.ENOSPC, True, (0x7, 0x27, 0x07)),
        (errno.EDQUOT, True, (0x7, 0x27, 0x07)),
        (errno.EROFS, True, (0x7, 0x00, 0x00)),
        (errno.ENODEV, False, (0x2, 0x3A, 0x00)),
    ],
)
async def test_errors_of_the_store(
    system: System, number: int, writing: bool, answer: tuple[int, int, int]
) -> None:
    _, store = await with_store(system)
    store.errors["write" if writing else "read"] = OSError(number, "broken")
    command = write10(0, 1) if writing else b"\x28" + write10(0, 1)[1:]
    result = await system.initiator().execute(
        command, DATA if writing else b"", None if writing else BLOCK
    )
    assert result.triple == answer


async def test_a_store_that_is_busy_makes_the_device_busy(system: System) -> None:
    _, store = await with_store(system)
    store.errors["write"] = OSError(errno.EAGAIN, "later")
    assert await system.initiator().execute(write10(0, 1), DATA) == Result(Status.BUSY)


@pytest.mark.parametrize("name", ["caw", "orwrite", "write and verify"])
async def test_reading_may_fail_in_a_command_that_writes(system: System, name: str) -> None:
    _, store = await with_store(system)
    store.errors["read"] = OSError(errno.EIO, "broken")
    command, data = WRITES[name]
    if name == "write and verify":
        command = command[:1] + b"\x02" + command[2:]
    result = await system.initiator().execute(command, data)
    assert result.triple == (0x3, 0x11, 0x00)


async def test_a_file_that_shrank(system: System) -> None:
    await system.add_disk("disk", size=64 * BLOCK)
    os.truncate(system.directory / "disk", 32 * BLOCK)
    initiator = system.initiator()
    assert (await initiator.execute(read16(31, 1), data_in=BLOCK)).data == bytes(BLOCK)
    result = await initiator.execute(read16(31, 2), data_in=2 * BLOCK)
    assert result.triple == (0x3, 0x11, 0x00)


# Ranges and lengths


@pytest.mark.parametrize(
    ("lba", "blocks", "good"), [(127, 1, True), (128, 0, True), (128, 1, False), (129, 0, False)]
)
async def test_the_end_of_the_medium(system: System, lba: int, blocks: int, good: bool) -> None:
    await system.add_disk("disk", size=64 << 10)
    result = await system.initiator().execute(
        read16(lba, blocks), data_in=blocks * BLOCK if blocks else None
    )
    assert result.triple == (None if good else OUT_OF_RANGE)


async def test_a_tail_that_fills_no_block_is_out_of_reach(system: System) -> None:
    await system.add_disk("disk", size=1000)
    initiator = system.initiator()
    assert (await initiator.execute(read16(0, 1), data_in=BLOCK)).status is Status.GOOD
    assert (await initiator.execute(read16(1, 1), data_in=BLOCK)).triple == OUT_OF_RANGE


async def test_too_much_at_once_is_refused_before_memory_is_taken(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    initiator, blocks = system.initiator(), (64 << 20) // BLOCK + 1
    most = initiator.prepare(read16(0, blocks - 1), data_in=(blocks - 1) * BLOCK)
    assert (most.is_over, most.parsed.length) == (False, 64 << 20)
    result = await initiator.execute(read16(0, blocks), data_in=blocks * BLOCK)
    assert result.triple == INVALID_FIELD
    assert result.condition is not None
    assert result.condition.specific is not None


@pytest.mark.parametrize("bytchk", [0, 6])
async def test_a_verify_that_is_aborted_leaves_the_rest(system: System, bytchk: int) -> None:
    device = await system.add_disk("disk")
    store = FakeStore(size=3 * STEP)
    device.medium.install(store)
    came, ended = trio.Event(), trio.Event()
    run_in_loop = trio.lowlevel.current_trio_token().run_sync_soon
    store.arrived = lambda name: run_in_loop(came.set)
    store.pause("read")
    cdb = bytes((0x8F, bytchk)) + be(0, 8) + be(3 * STEP // BLOCK, 4) + bytes(2)
    command = system.initiator().start(cdb, bytes(BLOCK) if bytchk else b"")
    await came.wait()
    task_management.abort_task(command, ended.set)
    store.resume("read")
    await ended.wait()
    assert store.calls == [("read", 0, STEP)]
    assert command.status is None


async def test_lba_status_at_the_last_block(system: System) -> None:
    await system.add_disk("disk", size=64 * BLOCK, thin_provisioned=1)
    initiator = system.initiator()
    command = b"\x9e\x12" + be(63, 8) + be(1024, 4) + bytes(2)
    result = await initiator.execute(command, data_in=1024)
    # The allocation length has nothing to do with the medium.
    assert result.data == be(20, 4) + bytes(4) + be(63, 8) + be(1, 4) + b"\x01\0\0\0"
    for lba in (64, 65, (1 << 64) - 1):
        beyond = b"\x9e\x12" + be(lba, 8) + be(1024, 4) + bytes(2)
        assert (await initiator.execute(beyond, data_in=1024)).triple == OUT_OF_RANGE


async def test_lba_status_with_any_allocation_length(system: System) -> None:
    await system.add_disk("disk", size=64 * BLOCK, thin_provisioned=1)
    command = b"\x9e\x12" + be(0, 8) + be(0xFFFFFFFF, 4) + bytes(2)
    result = await system.initiator().execute(command, data_in=1024)
    assert result.status is Status.GOOD
    assert result.data == be(20, 4) + bytes(4) + be(0, 8) + be(64, 4) + b"\x01\0\0\0"


async def test_lba_status_gives_as_many_runs_as_fit(system: System, tmp_path: Path) -> None:
    await system.add_disk("disk", size=1 << 20, thin_provisioned=1)
    initiator = system.initiator()
    for lba in (256, 768):
        await initiator.execute(write10(lba, 1), DATA)
    command = b"\x9e\x12" + be(0, 8) + be(40, 4) + bytes(2)
    result = await initiator.execute(command, data_in=40)
    assert result.data[8:] == (
        be(0, 8) + be(256, 4) + b"\x01\0\0\0" + be(256, 8) + be(8, 4) + b"\0\0\0\0"
    )


async def test_lba_status_of_blocks_that_are_allocated_in_part(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = await with_store(system, blocksize=4096, thin_provisioned=1)
    # The file system uses smaller units, and reports neighbours one by one.
    ends = (1024, 10240, 16384, 17408, 20480, 24576, 40960, 49152, 57344, len(store.content))
    starts = (0, *ends[:-1])

    def extents(offset: int, length: int) -> Iterator[StoreExtent]:
        assert (offset, length) == (0, len(store.content))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            yield StoreExtent(start, end, allocated=number in (0, 3, 5, 6, 9))

    monkeypatch.setattr(store, "extents", extents)
    command = b"\x9e\x12" + be(0, 8) + be(255, 4) + bytes(2)
    result = await system.initiator().execute(command, data_in=255)
    fields = struct.iter_unpack(">QIB3x", result.data[8:])
    assert list(fields) == [(0, 1, 0), (1, 3, 1), (4, 6, 0), (10, 4, 1), (14, 2, 0)]


# Comparing


@pytest.mark.parametrize("offset", [0, 1, 511, 512, 1023])
@pytest.mark.parametrize("quick", [True, False], ids=["in the loop", "in a thread"])
async def test_where_compare_and_write_differs(system: System, offset: int, quick: bool) -> None:
    _, store = await with_store(system)
    store.quick = quick
    expected = bytearray(2 * BLOCK)
    expected[offset] = 1
    result = await system.initiator().execute(caw(4, 2), bytes(expected) + DATA * 2)
    assert result.triple == MISCOMPARE
    assert result.condition is not None
    assert result.condition.information == offset
    assert not any(store.content)


async def test_compare_and_write_in_the_loop(system: System) -> None:
    _, store = await with_store(system)
    store.quick = True
    assert await system.initiator().execute(caw(0, 1), bytes(BLOCK) + DATA) == GOOD
    assert store.content[:BLOCK] == DATA
    assert store.calls == []


async def test_compare_and_write_that_was_begun_in_the_loop(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = await with_store(system)
    store.quick = True

    def write_half(offset: int, data: memoryview, *, stays: bool, deadline: int) -> bool:
        store.content[offset : offset + BLOCK] = data[:BLOCK]
        return False

    monkeypatch.setattr(store, "try_write", write_half)
    new = b"n" * 2 * BLOCK
    assert await system.initiator().execute(caw(1, 2), bytes(2 * BLOCK) + new) == GOOD
    assert store.content[BLOCK : 3 * BLOCK] == new


async def test_compare_and_write_of_nothing(system: System) -> None:
    await with_store(system)
    assert await system.initiator().execute(caw(0, 0)) == GOOD


@pytest.mark.parametrize("bytchk", [0x02, 0x06])
async def test_verify_compares(system: System, bytchk: int) -> None:
    _, store = await with_store(system)
    store.content[: 2 * BLOCK] = DATA * 2
    initiator = system.initiator()
    command = bytes((0x2F, bytchk)) + be(0, 4) + b"\0" + be(2, 2) + b"\0"
    sent = DATA * 2 if bytchk == 0x02 else DATA
    assert await initiator.execute(command, sent) == GOOD
    store.content[2 * BLOCK - 1] ^= 1
    result = await initiator.execute(command, sent)
    assert result.triple == MISCOMPARE
    assert result.sense[0] == 0x70, "without an INFORMATION field, as SCST"


async def test_verify_without_data_reads(system: System) -> None:
    _, store = await with_store(system)
    initiator = system.initiator()
    command = b"\x2f\0" + be(0, 4) + b"\0" + be(2, 2) + b"\0"
    assert await initiator.execute(command) == GOOD
    assert store.calls == [("read", 0, 2 * BLOCK)]


async def test_verify_of_less_than_a_block(system: System) -> None:
    await with_store(system)
    command = b"\x2f\x06" + be(0, 4) + b"\0" + be(2, 2) + b"\0"
    assert (await system.initiator().execute(command, b"short")).triple == BAD_LENGTH


async def test_nullio_verifies_anything(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    command = b"\x2f\x02" + be(0, 4) + b"\0" + be(1, 2) + b"\0"
    assert await system.initiator().execute(command, DATA) == GOOD


# WRITE SAME, UNMAP


def write_same(lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes((0x93, flags)) + be(lba, 8) + be(blocks, 4) + bytes(2)


async def test_write_same_of_more_than_a_step(system: System) -> None:
    device, store = await with_store(system)
    big = FakeStore(4 * STEP)
    device.medium.install(big)
    block = os.urandom(BLOCK)
    blocks = 2 * STEP // BLOCK + 3
    assert await system.initiator().execute(write_same(1, blocks), block) == GOOD
    assert big.content == bytes(BLOCK) + block * blocks + bytes(4 * STEP - (blocks + 1) * BLOCK)
    assert store.closed


@pytest.mark.parametrize(
    ("flags", "data", "method"),
    [
        pytest.param(0x00, bytes(BLOCK), "zero", id="zeros"),
        pytest.param(0x08, bytes(BLOCK), "zero_by_discard", id="unmap"),
        pytest.param(0x09, b"", "zero_by_discard", id="unmap without data"),
        pytest.param(0x08, DATA, "write", id="unmap of what is no zero"),
        pytest.param(0x00, DATA, "write", id="data"),
    ],
)
async def test_how_write_same_is_done(system: System, flags: int, data: bytes, method: str) -> None:
    _, store = await with_store(system, thin_provisioned=1)
    assert await system.initiator().execute(write_same(2, 4, flags), data) == GOOD
    assert [call[:3] for call in store.calls] == [(method, 2 * BLOCK, 4 * BLOCK)]
    assert store.content[2 * BLOCK : 6 * BLOCK] == (data or bytes(BLOCK)) * 4


async def test_write_same_is_durable_where_writes_are(system: System) -> None:
    _, store = await with_store(system, write_through=1)
    await system.initiator().execute(write_same(0, 1), DATA)
    assert store.calls[-1] == ("flush",)


async def test_write_same_of_less_than_a_block(system: System) -> None:
    await with_store(system)
    result = await system.initiator().execute(write_same(0, 4), b"short")
    assert result.triple == BAD_LENGTH


@pytest.mark.parametrize(
    ("parameters", "command", "answer"),
    [
        ({}, write_same(0, 0), INVALID_FIELD),
        ({}, write_same(0, 1, 0x08), (0x5, 0x20, 0x00)),
        ({"thin_provisioned": 1}, write_same(0, 1, 0x10), INVALID_FIELD),
    ],
    ids=["no blocks", "unmap of what is not thin", "anchor"],
)
async def test_write_same_refused(
    system: System,
    parameters: dict[str, int],
    command: bytes,
    answer: tuple[int, int, int],
) -> None:
    await with_store(system, **parameters)
    assert (await system.initiator().execute(command, DATA)).triple == answer


async def test_unmap_gives_extents_back(system: System) -> None:
    _, store = await with_store(system, thin_provisioned=1)
    store.content[:] = b"x" * len(store.content)
    command, data = unmap((0, 1), (5, 0), (8, 2))
    assert await system.initiator().execute(command, data) == GOOD
    assert store.calls == [("discard", 0, BLOCK), ("discard", 8 * BLOCK, 2 * BLOCK)]


async def test_unmap_beyond_the_end_gives_nothing_back(system: System) -> None:
    _, store = await with_store(system, thin_provisioned=1)
    command, data = unmap((0, 1), (127, 2))
    assert (await system.initiator().execute(command, data)).triple == OUT_OF_RANGE
    assert store.calls == []


async def test_what_was_unmapped_stays_so_where_writes_are_durable(system: System) -> None:
    _, store = await with_store(system, thin_provisioned=1, write_through=1)
    command, data = unmap((0, 1), (8, 2))
    assert await system.initiator().execute(command, data) == GOOD
    assert [call[0] for call in store.calls] == ["discard", "discard", "flush"]


async def test_unmap_of_no_blocks_may_be_anywhere(system: System) -> None:
    _, store = await with_store(system, thin_provisioned=1)
    command, data = unmap((1 << 40, 0))
    assert await system.initiator().execute(command, data) == GOOD
    assert store.calls == []


async def test_unmap_frees_space(system: System) -> None:
    await system.add_disk("disk", size=1 << 20, thin_provisioned=1)
    initiator = system.initiator()
    await initiator.execute(write10(0, 2048), b"x" * (1 << 20))
    file = system.directory / "disk"
    assert file.stat().st_blocks >= 2048
    command, data = unmap((0, 2048))
    assert await initiator.execute(command, data) == GOOD
    assert file.stat().st_blocks == 0
    assert file.stat().st_size == 1 << 20


async def test_pre_fetch_tells_the_store(system: System) -> None:
    _, store = await with_store(system)
    command = b"\x34\0" + be(4, 4) + b"\0" + be(8, 2) + b"\0"
    assert await system.initiator().execute(command) == GOOD
    assert store.calls == [("prefetch", 4 * BLOCK, 8 * BLOCK)]


# Atomic commands


@pytest.mark.slow
@pytest.mark.parametrize("quick", [True, False], ids=["page cache", "threads"])
async def test_locks_taken_by_compare_and_write_exclude_each_other(
    system: System, quick: bool
) -> None:
    """Many initiators count a block up, each addition by COMPARE AND WRITE."""
    await system.add_disk("disk", write_through=0 if quick else 1)
    additions, initiators = 12, 4

    async def count_up(number: int) -> None:
        initiator = system.initiator(f"i{number}")
        done = 0
        while done < additions:
            old = (await initiator.execute(read16(0, 1), data_in=BLOCK)).data
            new = be(int.from_bytes(old, "big") + 1, BLOCK)
            result = await initiator.execute(caw(0, 1), old + new)
            done += result.status is Status.GOOD
            assert result.triple in (None, MISCOMPARE)

    async with trio.open_nursery() as nursery:
        for number in range(initiators):
            nursery.start_soon(count_up, number)
    content = (system.directory / "disk").read_bytes()[:BLOCK]
    assert int.from_bytes(content, "big") == additions * initiators


@pytest.mark.parametrize("command", ["caw", "orwrite", "write atomic fua"])
async def test_who_wants_the_blocks_of_an_atomic_command_waits(
    system: System, command: str
) -> None:
    device, store = await with_store(system)
    one, two = system.initiator("one"), system.initiator("two")
    store.pause("write")
    cdb, data = WRITES[command]
    atomic = one.start(cdb, data)
    tgt_dev = two.session.tgt_devs[0]
    assert device.tasks.gated
    assert tgt_dev.quick.write is not None
    assert tgt_dev.available == CLOSED
    reader = two.start(read16(1, 1), data_in=BLOCK)
    elsewhere = await two.start(read16(2, 1), data_in=BLOCK).wait()
    assert elsewhere.status is Status.GOOD
    assert not reader.answered.is_set()
    store.resume("write")
    assert await atomic.wait() == GOOD
    assert (await reader.wait()).data == DATA
    assert not device.tasks.gated
