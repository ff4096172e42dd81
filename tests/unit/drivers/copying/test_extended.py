from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
import trio

from scstfs.core import access, task_management
from scstfs.drivers.copying import block_copy
from scstfs.scsi.sense import FieldPointer, Origin
from scstfs.scsi.status import Status
from tests.support.copies import (
    BLOCK,
    COPY_ABORTED,
    DATA,
    INVALID_FIELD,
    NULL_TARGET,
    Disks,
    Segment,
    be,
    content,
    copy,
    extended_copy,
    held_copy,
    lid1,
    results,
    target_descriptor,
)
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, System

WRITE = b"\x2a" + bytes(7) + b"\x01\0"
NOT_REACHABLE = (0xA, 0x0D, 0x02)
THIRD_PARTY = (0xA, 0x0D, 0x01)
INVALID_PARAMETER = (0x5, 0x26, 0x00)


# Copying


async def test_blocks_are_copied(system: System, disks: Disks) -> None:
    result = await copy(
        system.initiator(), disks, Segment(0, 1, 8, 4, 100), Segment(0, 1, 2, 0, 50)
    )
    assert result == GOOD
    expected = bytearray(len(content(system)))
    expected[100 * BLOCK : 108 * BLOCK] = DATA[4 * BLOCK : 12 * BLOCK]
    expected[50 * BLOCK : 52 * BLOCK] = DATA[: 2 * BLOCK]
    assert content(system) == expected


async def test_a_copy_in_many_steps(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_copy, "STEP", 3 * BLOCK)
    assert await copy(system.initiator(), disks, Segment(0, 1, 64)) == GOOD
    assert content(system)[: 64 * BLOCK] == DATA


@pytest.mark.parametrize("distance", [1, 5, -5])
async def test_a_copy_onto_itself(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch, distance: int
) -> None:
    monkeypatch.setattr(block_copy, "STEP", 4 * BLOCK)
    segment = Segment(0, 0, 32, 16, 16 + distance)
    assert await copy(system.initiator(), disks, segment) == GOOD
    moved = (16 + distance) * BLOCK
    assert content(system, "source")[moved : moved + 32 * BLOCK] == DATA[16 * BLOCK : 48 * BLOCK]


async def test_holes_stay_holes(system: System, disks: Disks) -> None:
    os.truncate(system.directory / "source", 0)
    os.truncate(system.directory / "source", 1 << 20)
    assert await copy(system.initiator(), disks, Segment(0, 1, 1024)) == GOOD
    assert (system.directory / "destination").stat().st_blocks == 0


async def test_blocks_of_different_sizes(system: System, disks: Disks) -> None:
    big = await system.add_disk("big", blocksize=4096)
    initiator = system.initiator()
    both = (disks[0], big)
    assert await copy(initiator, both, Segment(0, 1, 16, 0, 1)) == GOOD
    assert content(system, "big")[4096:12288] == DATA[:8192]
    assert await copy(initiator, both, Segment(0, 1, 2, 0, 3, True)) == GOOD
    assert content(system, "big")[12288:20480] == DATA[:8192]
    refused = await copy(initiator, both, Segment(0, 1, 3))
    assert refused.triple == COPY_ABORTED


async def test_a_durable_device_has_the_data_when_it_is_told(system: System, disks: Disks) -> None:
    through = await system.add_disk("through", write_through=1)
    store = FakeStore()
    through.medium.install(store)
    assert await copy(system.initiator(), (disks[0], through), Segment(0, 1, 4)) == GOOD
    assert store.calls[-1] == ("flush",)


async def test_nothing_to_copy(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    assert await initiator.execute(extended_copy(b"")) == GOOD
    assert await copy(initiator, disks) == GOOD
    assert await copy(initiator, disks, Segment(0, 1, 0)) == GOOD
    empty = lid1([], [])
    assert await initiator.execute(extended_copy(empty), empty) == GOOD


# What goes wrong


async def test_a_source_that_ends(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    result = await copy(initiator, disks, Segment(0, 1, 1), Segment(0, 1, 2, 2047), list_id=9)
    # The source's sense data is part of ours.
    assert result.sense.hex() == (
        "70000a000000001d120000010000000000" + "02" + "700005000000000a00000000210000000000" + "00"
    )
    status = await results(initiator, 9)
    assert status.data.hex() == "00000008" + "02" + "0002" + "01" + "00000000"


async def test_a_destination_that_ends(system: System, disks: Disks) -> None:
    result = await copy(system.initiator(), disks, Segment(0, 1, 2, 0, 2047))
    assert result.triple == COPY_ABORTED
    assert (result.sense[8], result.sense[9]) == (0, 18)
    assert not any(content(system))


@pytest.mark.parametrize(
    ("broken", "method", "number", "key", "byte"),
    [
        ("source", "read", errno.EIO, 0x3, 8),
        ("destination", "write", errno.EIO, 0x3, 9),
        ("destination", "write", errno.ENOSPC, 0x7, 9),
    ],
)
async def test_errors_of_the_stores(
    system: System, disks: Disks, broken: str, method: str, number: int, key: int, byte: int
) -> None:
    device = disks[broken == "destination"]
    store = FakeStore(1 << 20)
    store.errors[method] = OSError(number, "broken")
    device.medium.install(store)
    result = await copy(system.initiator(), disks, Segment(0, 1, 4))
    assert result.triple == COPY_ABORTED
    assert result.sense[byte] == 18
    assert result.sense[18 + 2] == key


async def test_descriptor_format_tells_the_segment(system: System, disks: Disks) -> None:
    initiator = system.initiator()
    page = bytes(4) + b"\x0a\x0a\x24" + bytes(9)
    assert await initiator.execute(b"\x15\x10\0\0\x10\0", page) == GOOD
    result = await copy(initiator, disks, Segment(0, 1, 1), Segment(0, 1, 2, 2047))
    assert result.sense.hex() == "720a00000000000c" + "010a00000000" + "0001" + "00000000"


async def test_a_device_without_medium(system: System, disks: Disks) -> None:
    disks[0].medium.close()
    result = await copy(system.initiator(), disks, Segment(0, 1, 1), lun=1)
    assert result.triple == COPY_ABORTED
    assert result.sense[18:].hex().startswith("700002")


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        pytest.param(lambda d: lid1([d[0]] * 6, []), (0x5, 0x26, 0x06), id="targets"),
        pytest.param(
            lambda d: lid1(d, [Segment(0, 1, 0).encode()] * 144), (0x5, 0x26, 0x08), id="segments"
        ),
        pytest.param(
            lambda d: lid1([b"\xe0" + d[0][1:]], []), (0x5, 0x26, 0x07), id="type of target"
        ),
        pytest.param(
            lambda d: lid1(d, [b"\x00" + bytes(27)]), (0x5, 0x26, 0x09), id="type of segment"
        ),
        pytest.param(lambda d: lid1(d, [])[:-1], (0x5, 0x1A, 0x00), id="too short"),
        pytest.param(lambda d: lid1(d, []) + b"x", (0x5, 0x26, 0x0B), id="inline data"),
        pytest.param(
            lambda d: lid1([d[0], NULL_TARGET], [Segment(0, 1, 1).encode()]),
            NOT_REACHABLE,
            id="null device",
        ),
        pytest.param(
            lambda d: lid1(d, [Segment(0, 2, 1).encode()]), COPY_ABORTED, id="index of target"
        ),
        pytest.param(
            lambda d: lid1([d[0][:8] + b"unknown!" + d[0][16:]], []),
            INVALID_PARAMETER,
            id="unknown device",
        ),
        pytest.param(
            lambda d: lid1([d[0][:29] + be(4096, 3)], []), INVALID_PARAMETER, id="block size"
        ),
    ],
)
async def test_lists_that_are_refused(
    system: System,
    disks: Disks,
    make: Callable[[list[bytes]], bytes],
    answer: tuple[int, int, int],
) -> None:
    data = make([target_descriptor(disk) for disk in disks])
    result = await system.initiator().execute(extended_copy(data), data)
    assert result.triple == answer
    assert not any(content(system))


# Who may copy what


async def test_an_initiator_copies_what_it_can_reach(system: System, disks: Disks) -> None:
    group = system.group("group", "in group")
    access.add_lun(group, disks[0], 0, read_only=False)
    hidden = await system.add_disk("hidden")
    system.target.default_acg.luns.pop(2)
    hidden.exports.clear()
    inside = system.initiator("in group")
    # Through its own group, and through the LUNs of all other initiators.
    assert await copy(inside, disks, Segment(0, 1, 1)) == GOOD
    data = lid1([target_descriptor(disks[0]), target_descriptor(hidden)], [])
    refused = await inside.execute(extended_copy(data), data)
    assert refused.triple == INVALID_PARAMETER
    assert refused.condition is not None
    assert refused.condition.specific == FieldPointer(48, None, Origin.PARAMETERS)


async def test_groups_of_others_do_not_count(system: System, disks: Disks) -> None:
    hidden = await system.add_disk("hidden")
    system.target.default_acg.luns.pop(2)
    hidden.exports.clear()
    access.add_lun(system.group("group", "somebody"), hidden, 0, read_only=False)
    data = lid1([target_descriptor(disks[0]), target_descriptor(hidden)], [])
    refused = await system.initiator("nobody").execute(extended_copy(data), data)
    assert refused.triple == INVALID_PARAMETER


async def test_copies_of_what_is_not_connected_can_be_allowed(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = await system.add_disk("hidden")
    system.target.default_acg.luns.pop(2)
    hidden.exports.clear()
    monkeypatch.setattr("scstfs.drivers.copying.copies.DRIVER", system.driver.name)
    # The driver is the copy manager now: its target's LUNs are what it can reach.
    access.add_lun(system.target.default_acg, hidden, 2, read_only=False)
    data = lid1([target_descriptor(disks[0]), target_descriptor(hidden)], [])
    initiator = system.initiator()
    assert (await initiator.execute(extended_copy(data), data)).triple == INVALID_PARAMETER
    system.driver.allow_not_connected_copy = True
    assert await initiator.execute(extended_copy(data), data) == GOOD


@pytest.mark.parametrize("how", ["device", "lun", "software"])
async def test_what_is_read_only_is_no_destination(system: System, how: str) -> None:
    source = await system.add_disk("source")
    device = await system.add_disk("destination", read_only=int(how == "device"))
    if how == "lun":
        acg = system.target.default_acg
        access.remove_lun(acg.luns[1])
        access.add_lun(acg, device, 1, read_only=True)
    initiator = system.initiator()
    if how == "software":
        page = bytes(4) + b"\x0a\x0a\x20\x10\x08" + bytes(7)
        assert await initiator.execute(b"\x15\x10\0\0\x10\0", page, lun=1) == GOOD
    result = await copy(initiator, (source, device), Segment(0, 1, 1))
    assert result.triple == COPY_ABORTED
    assert result.condition is not None
    assert result.condition.specific == FieldPointer(6, None, Origin.SEGMENT)
    assert await copy(initiator, (device, source), Segment(0, 1, 1)) == GOOD


async def test_a_reservation_of_somebody_else(system: System, disks: Disks) -> None:
    mine, other = system.initiator("mine"), system.initiator("other")
    assert await other.execute(b"\x16" + bytes(5), lun=1) == GOOD
    result = await copy(mine, disks, Segment(0, 1, 1))
    assert result.triple == THIRD_PARTY
    assert result.condition is not None
    # The destination's descriptor is the second of the list.
    assert result.condition.specific == FieldPointer(48, None, Origin.PARAMETERS)
    assert result.condition.segment == 0
    assert (await copy(mine, disks, Segment(1, 0, 1))).triple == COPY_ABORTED
    assert await copy(other, disks, Segment(0, 1, 1)) == GOOD


@pytest.mark.parametrize(("kind", "reads"), [(0x01, True), (0x03, False)])
async def test_persistent_reservations(
    system: System, disks: Disks, kind: int, reads: bool
) -> None:
    mine, other = system.initiator("mine"), system.initiator("other")
    register = bytes(8) + be(0x77, 8) + bytes(8)
    reserve = be(0x77, 8) + bytes(16)
    assert await other.execute(b"\x5f\0" + bytes(6) + b"\x18\0", register, lun=1) == GOOD
    command = b"\x5f\x01" + bytes((kind,)) + bytes(5) + b"\x18\0"
    assert await other.execute(command, reserve, lun=1) == GOOD
    assert (await copy(mine, disks, Segment(0, 1, 1))).triple == THIRD_PARTY
    reading = await copy(mine, disks, Segment(1, 0, 1))
    assert reading.triple == (None if reads else COPY_ABORTED)
    assert await copy(other, disks, Segment(0, 1, 1)) == GOOD


@pytest.mark.parametrize(("lun", "triple"), [(0, COPY_ABORTED), (1, THIRD_PARTY)])
async def test_a_reservation_during_a_copy_ends_it(
    system: System,
    disks: Disks,
    monkeypatch: pytest.MonkeyPatch,
    lun: int,
    triple: tuple[int, int, int],
) -> None:
    monkeypatch.setattr(block_copy, "STEP", BLOCK)
    initiator, store, answer = await held_copy(system, disks)
    assert await system.initiator("other").execute(b"\x16" + bytes(5), lun=lun) == GOOD
    store.resume("write")
    while initiator.session.command_count:
        await trio.lowlevel.checkpoint()
    assert answer().triple == triple
    assert [name for name, *_ in store.calls] == ["write"]
    assert not disks[1].tasks.gated


async def test_who_wants_the_same_blocks_waits(system: System, disks: Disks) -> None:
    _, store, answer = await held_copy(system, disks)
    other = system.initiator("other")
    store_read = b"\x28" + bytes(7) + b"\x01\0"
    writes_source = other.start(WRITE, bytes(BLOCK), lun=0)
    reads_target = other.start(store_read, data_in=BLOCK, lun=1)
    reads_source = await other.execute(store_read, data_in=BLOCK, lun=0)
    assert reads_source.data == DATA[:BLOCK]
    elsewhere = await other.execute(b"\x28\0\0\0\0\x09\0\0\x01\0", data_in=BLOCK, lun=1)
    assert elsewhere.status is Status.GOOD
    assert not writes_source.answered.is_set()
    assert not reads_target.answered.is_set()
    store.resume("write")
    assert (await reads_target.wait()).data == DATA[:BLOCK]
    assert await writes_source.wait() == GOOD
    assert answer() == GOOD
    assert not disks[0].tasks.gated
    assert not disks[1].tasks.gated


async def test_a_copy_waits_for_who_is_at_its_blocks(system: System, disks: Disks) -> None:
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    store.pause("read")
    initiator = system.initiator()
    reader = initiator.start(b"\x28" + bytes(7) + b"\x01\0", data_in=BLOCK, lun=1)
    data = lid1([target_descriptor(disk) for disk in disks], [Segment(0, 1, 8).encode()])
    cmd = initiator.start(extended_copy(data), data)
    assert disks[0].tasks.waiting == (cmd,)
    store.resume("read")
    assert (await reader.wait()).data == bytes(BLOCK)
    assert await cmd.wait() == GOOD


async def test_an_aborted_copy_ends_between_two_steps(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_copy, "STEP", BLOCK)
    initiator, store, answer = await held_copy(system, disks, list_id=3)
    done = trio.Event()
    task_management.abort_task_set(initiator.session.tgt_devs[0], done.set)
    assert not done.is_set()
    store.resume("write")
    await done.wait()
    assert answer().status is None
    assert len(store.calls) == 1
    assert not disks[0].tasks.gated
    assert not disks[1].tasks.gated
    assert (await results(initiator, 3)).triple == INVALID_FIELD, "nothing is known of it"


async def test_a_copy_that_waits_can_be_aborted(system: System, disks: Disks) -> None:
    disks[1].tasks.block()
    initiator = system.initiator()
    data = lid1([target_descriptor(disk) for disk in disks], [Segment(0, 1, 8).encode()], list_id=3)
    cmd = initiator.start(extended_copy(data), data)
    task_management.abort_task_set(initiator.session.tgt_devs[0], lambda: None)
    assert cmd.result.status is None
    disks[1].tasks.unblock()
    assert not disks[0].tasks.waiting
    assert (await results(initiator, 3)).triple == INVALID_FIELD


@pytest.mark.parametrize("name", ["source", "destination"])
async def test_deleting_a_device_ends_its_copies(
    system: System, disks: Disks, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(block_copy, "STEP", BLOCK)
    _, store, answer = await held_copy(system, disks)
    system.delete(name)
    device = disks[name == "destination"]
    assert device.alive
    store.resume("write")
    idle = trio.Event()
    device.tasks.when_idle(idle.set, background_too=True)
    await idle.wait()
    assert not device.alive
    assert len(store.calls) == 1
    if name == "destination":
        assert answer().triple == NOT_REACHABLE


async def test_deleting_a_blocked_device_lets_copies_go(system: System, disks: Disks) -> None:
    disks[1].tasks.block()
    data = lid1([target_descriptor(disk) for disk in disks], [Segment(0, 1, 8).encode()])
    initiator = system.initiator()
    initiator.takes_events = True
    cmd = initiator.start(extended_copy(data), data)
    assert disks[0].tasks.waiting == (cmd,)
    system.delete("destination")
    assert (await cmd.wait()).triple == NOT_REACHABLE


async def test_data_that_can_not_be_made_durable(system: System, disks: Disks) -> None:
    through = await system.add_disk("through", write_through=1)
    store = FakeStore()
    store.errors["flush"] = OSError(errno.EIO, "broken")
    through.medium.install(store)
    result = await copy(system.initiator(), (disks[0], through), Segment(0, 1, 4))
    assert result.triple == COPY_ABORTED
    assert result.sense[18 + 2] == 0x3


@pytest.mark.logs(r"a copy failed\n(.*\n)+KeyError: 'bug'")
async def test_a_bug_costs_the_copy_only(
    system: System, disks: Disks, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenStore(FakeStore):
        def write(self, offset: int, data: memoryview, *, durable: bool = False) -> None:
            raise KeyError("bug")

    disks[1].medium.install(BrokenStore(1 << 20))
    result = await copy(system.initiator(), disks, Segment(0, 1, 4))
    assert result.triple == (0x4, 0x44, 0x00)
    assert "a copy failed" in caplog.text
    assert not disks[1].tasks.gated
