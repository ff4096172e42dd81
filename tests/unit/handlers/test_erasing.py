from __future__ import annotations

import errno

import pytest
import trio

from scstfs.core import task_management
from scstfs.handlers import erasing
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.sense import Progress
from scstfs.scsi.status import Status
from tests.support.copies import be
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, Initiator, System

SIZE = 64 << 10
BLOCK = 512

ERASE, IMMED, AUSE, EXIT = 0x02, 0x80, 0x20, 0x1F
TEST_UNIT_READY = bytes(6)
SANITIZING = (0x2, 0x04, 0x1B)
FORMATTING = (0x2, 0x04, 0x04)
FAILED = (0x3, 0x31, 0x03)
INVALID_FIELD = (0x5, 0x24, 0x00)


def sanitize(action: int, length: int = 0) -> bytes:
    return bytes((0x48, action)) + bytes(5) + be(length, 2) + b"\0"


def overwrite(pattern: bytes, count: int = 1, *, invert: bool = False) -> bytes:
    return bytes((count | (0x80 if invert else 0), 0)) + be(len(pattern), 2) + pattern


async def with_store(system: System, **parameters: int) -> tuple[VdiskDevice, FakeStore]:
    device = await system.add_disk("disk", **parameters)
    store = FakeStore(SIZE)
    store.content[:] = b"x" * SIZE
    device.medium.install(store)
    return device, store


async def until_idle(device: VdiskDevice) -> None:
    idle = trio.Event()
    device.tasks.when_idle(idle.set, background_too=True)
    with trio.fail_after(5):
        await idle.wait()


# What they do


@pytest.mark.parametrize(
    ("parameters", "method"), [({}, "zero"), ({"thin_provisioned": 1}, "zero_by_discard")]
)
async def test_block_erase(system: System, parameters: dict[str, int], method: str) -> None:
    _, store = await with_store(system, **parameters)
    assert await system.initiator().execute(sanitize(ERASE)) == GOOD
    assert store.calls == [(method, 0, SIZE), ("flush",)]
    assert not any(store.content)


@pytest.mark.parametrize(
    ("count", "invert", "passes"),
    [
        (1, False, [b"ab"]),
        (1, True, [b"ab"]),
        (2, True, [b"\x9e\x9d", b"ab"]),
        (3, True, [b"ab", b"\x9e\x9d", b"ab"]),
        (2, False, [b"ab", b"ab"]),
    ],
)
async def test_overwrite(
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    invert: bool,
    passes: list[bytes],
) -> None:
    _, store = await with_store(system)
    seen: list[bytes] = []
    flush = store.flush

    def snapshot() -> None:
        flush()
        seen.append(bytes(store.content))

    monkeypatch.setattr(store, "flush", snapshot)
    data = overwrite(b"ab", count, invert=invert)
    assert await system.initiator().execute(sanitize(0x01, len(data)), data) == GOOD
    assert seen == [pattern * (SIZE // 2) for pattern in passes]


async def test_a_pattern_begins_anew_in_each_block(system: System) -> None:
    _, store = await with_store(system)
    data = overwrite(b"abc")
    assert await system.initiator().execute(sanitize(0x01, len(data)), data) == GOOD
    assert store.content == (b"abc" * 171)[:BLOCK] * (SIZE // BLOCK)


async def test_format_unit_gives_a_thin_device_back(system: System) -> None:
    _, store = await with_store(system, thin_provisioned=1)
    assert await system.initiator().execute(b"\x04" + bytes(5)) == GOOD
    assert store.calls == [("discard", 0, SIZE), ("flush",)]


async def test_format_unit_leaves_others_alone(system: System) -> None:
    _, store = await with_store(system)
    assert await system.initiator().execute(b"\x04" + bytes(5)) == GOOD
    assert store.calls == []


# While they run


async def start_erasing(
    initiator: Initiator, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erase with IMMED that has done a quarter and is held there."""
    quarter = SIZE // 4
    monkeypatch.setattr(erasing, "DISCARD_STEP", quarter)
    reached = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def arrived(name: str) -> None:
        if [call[0] for call in store.calls].count("zero") == 2:
            store.pause("zero")
            store.arrived = lambda name: None
            token.run_sync_soon(reached.set)

    store.arrived = arrived
    assert await initiator.execute(sanitize(ERASE | IMMED)) == GOOD
    with trio.fail_after(5):
        await reached.wait()


async def test_others_are_told_how_far_it_got(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, store = await with_store(system)
    initiator = system.initiator()
    await start_erasing(initiator, store, monkeypatch)
    tgt_dev = initiator.session.tgt_devs[0]
    assert (tgt_dev.quick.read, tgt_dev.quick.write) == (None, None)
    for command in (TEST_UNIT_READY, b"\x16" + bytes(5), b"\x1e" + bytes(5)):
        result = await initiator.execute(command)
        assert result.triple == SANITIZING
        assert result.condition is not None
        assert result.condition.specific == Progress(0x4000)
    polled = await initiator.execute(b"\x03\0\0\0\xff\0", data_in=255)
    assert polled.status is Status.GOOD
    assert polled.data.hex() == "700002000000000a00000000041b00804000"
    inquiry = await initiator.execute(b"\x12\0\0\0\x24\0", data_in=36)
    assert inquiry.status is Status.GOOD
    store.resume("zero")
    await until_idle(device)
    assert await initiator.execute(TEST_UNIT_READY) == GOOD
    assert tgt_dev.quick.read is not None
    assert not any(store.content)


async def test_format_unit_with_immed(system: System) -> None:
    device, store = await with_store(system, thin_provisioned=1)
    initiator = system.initiator()
    store.pause("discard")
    assert await initiator.execute(b"\x04\x10\0\0\0\0", b"\0\x02\0\0") == GOOD
    result = await initiator.execute(TEST_UNIT_READY)
    assert result.triple == FORMATTING
    assert result.condition is not None
    assert result.condition.specific == Progress(0)
    store.resume("discard")
    await until_idle(device)
    assert await initiator.execute(TEST_UNIT_READY) == GOOD


async def test_without_immed_the_answer_comes_at_the_end(system: System) -> None:
    _, store = await with_store(system)
    one, two = system.initiator("one"), system.initiator("two")
    store.pause("zero")
    cmd = one.start(sanitize(ERASE))
    assert (await two.execute(TEST_UNIT_READY)).triple == SANITIZING
    assert not cmd.answered.is_set()
    store.resume("zero")
    assert await cmd.wait() == GOOD


async def test_a_reset_takes_the_command_and_not_the_operation(system: System) -> None:
    device, store = await with_store(system)
    initiator = system.initiator()
    store.pause("zero")
    cmd = initiator.start(sanitize(ERASE))
    done = trio.Event()
    task_management.logical_unit_reset(initiator.session.tgt_devs[0], done.set)
    assert done.is_set()
    assert cmd.result.status is None
    initiator.clear_unit_attentions()
    assert (await initiator.execute(TEST_UNIT_READY)).triple == SANITIZING
    store.resume("zero")
    await until_idle(device)
    assert not any(store.content)


async def test_it_waits_for_commands_that_run(system: System) -> None:
    _, store = await with_store(system)
    initiator = system.initiator()
    store.pause("write")
    writer = initiator.start(b"\x2a" + bytes(7) + b"\x01\0", b"y" * BLOCK)
    eraser = initiator.start(sanitize(ERASE))
    assert [call[0] for call in store.calls if call[0] == "zero"] == []
    store.resume("write")
    assert await writer.wait() == GOOD
    assert await eraser.wait() == GOOD
    assert not any(store.content)


async def test_deleting_the_device_ends_it(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    device, store = await with_store(system)
    await start_erasing(system.initiator(), store, monkeypatch)
    system.delete("disk")
    assert not store.closed
    store.resume("zero")
    await until_idle(device)
    assert store.closed
    assert not device.alive
    assert len([call for call in store.calls if call[0] == "zero"]) == 2


async def test_deleting_the_device_aborts_who_waits(system: System) -> None:
    device, store = await with_store(system)
    store.pause("zero")
    cmd = system.initiator().start(sanitize(ERASE))
    system.delete("disk")
    store.resume("zero")
    assert (await cmd.wait()).triple == (0xB, 0x00, 0x00)
    await until_idle(device)
    assert store.closed


# When they fail


async def failed(system: System, action: int) -> tuple[Initiator, FakeStore]:
    _, store = await with_store(system)
    initiator = system.initiator()
    store.errors["zero"] = OSError(errno.EIO, "broken")
    assert (await initiator.execute(sanitize(action))).triple == FAILED
    assert (await initiator.execute(TEST_UNIT_READY)).triple == FAILED
    assert initiator.session.tgt_devs[0].quick.read is None
    del store.errors["zero"]
    return initiator, store


@pytest.mark.logs(r"disk: SANITIZE failed: \[Errno 5\] Input")
async def test_after_a_failure_only_sanitize_helps(system: System) -> None:
    initiator, _ = await failed(system, ERASE)
    assert (await initiator.execute(sanitize(EXIT))).triple == INVALID_FIELD
    assert (await initiator.execute(sanitize(ERASE | AUSE))).triple == INVALID_FIELD
    assert (await initiator.execute(TEST_UNIT_READY)).triple == FAILED
    assert await initiator.execute(sanitize(ERASE)) == GOOD
    assert await initiator.execute(TEST_UNIT_READY) == GOOD


@pytest.mark.logs(r"disk: SANITIZE failed: \[Errno 5\] Input")
async def test_exit_failure_mode_where_it_was_allowed(system: System) -> None:
    initiator, _ = await failed(system, ERASE | AUSE)
    assert await initiator.execute(sanitize(EXIT)) == GOOD
    assert await initiator.execute(TEST_UNIT_READY) == GOOD


async def test_exit_without_failure(system: System) -> None:
    await with_store(system)
    assert await system.initiator().execute(sanitize(EXIT)) == GOOD


@pytest.mark.logs(r"disk: FORMAT UNIT failed: \[Errno 5\] Input")
async def test_a_format_that_fails(system: System) -> None:
    device, store = await with_store(system, thin_provisioned=1)
    store.errors["discard"] = OSError(errno.EIO, "broken")
    initiator = system.initiator()
    assert (await initiator.execute(b"\x04" + bytes(5))).triple == (0x3, 0x03, 0x00)
    assert device.busy is None
    assert await initiator.execute(TEST_UNIT_READY) == GOOD


@pytest.mark.parametrize(
    ("command", "data", "answer"),
    [
        pytest.param(sanitize(0x03), b"", INVALID_FIELD, id="cryptographic erase"),
        pytest.param(sanitize(ERASE, 4), bytes(4), INVALID_FIELD, id="erase with a list"),
        pytest.param(sanitize(EXIT, 4), bytes(4), INVALID_FIELD, id="exit with a list"),
        pytest.param(sanitize(0x01), b"", INVALID_FIELD, id="overwrite without a list"),
        pytest.param(sanitize(0x01, 5), overwrite(b"a", 0), (0x5, 0x26, 0x00), id="no passes"),
    ],
)
async def test_refused(
    system: System, command: bytes, data: bytes, answer: tuple[int, int, int]
) -> None:
    _, store = await with_store(system)
    assert (await system.initiator().execute(command, data)).triple == answer
    assert store.calls == []


async def test_a_read_only_device_is_not_erased(system: System) -> None:
    await system.add_disk("disk", read_only=1)
    result = await system.initiator().execute(sanitize(ERASE))
    assert result.triple == (0x7, 0x00, 0x00)
