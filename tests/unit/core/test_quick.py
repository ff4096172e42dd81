"""Recognition of READ and WRITE: it agrees with the rows of the opcode table."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scstfs.core import quick
from scstfs.core.buffers import MAX_POOLED
from scstfs.core.command import Command
from scstfs.core.quick import CLOSED, Quick
from scstfs.core.taskset import TaskAttribute
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.cdb import RW, opcode_table, padded
from scstfs.scsi.opcodes import DeviceType, Direction
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, System

DISK, CD_ROM = opcode_table(DeviceType.DISK), opcode_table(DeviceType.CD_ROM)
HUGE = 1 << 63
BLOCK = 512
READ_10 = bytes.fromhex("28000000000500000200")
WRITE_10 = bytes.fromhex("2a000000000500000200")


@given(
    st.sampled_from(sorted(RW)),
    st.binary(min_size=15, max_size=15),
    st.sampled_from((0xFF, 0x1F, 0x10)),
    st.integers(9, 12),
)
@example(0x08, bytes(15), 0xFF, 9)
@example(0x0A, bytes(15), 0xFF, 12)
def test_it_agrees_with_the_table(code: int, rest: bytes, mask: int, shift: int) -> None:
    # Short fields and no odd bits, so that most are recognised.
    size = RW[code].op.cdb_length
    few = bytes(byte & mask if n in (0, size - 3) else byte for n, byte in enumerate(rest))
    cdb = bytes((code,)) + few[: size - 2] + bytes(1) + rest
    found = quick.recognise(DISK.read_write, shift, HUGE, cdb)
    try:
        row = DISK.decode(cdb[:size], shift)
    except CheckCondition:
        assert found is None
        return
    assert row.lba is not None
    is_plain = 0 < row.length <= MAX_POOLED and (row.lba << shift) + row.length <= HUGE
    is_odd = cdb[1] & RW[code].odd_mask or row.control
    if not is_plain or is_odd:
        assert found is None
        return
    assert found == (RW[code], row.lba << shift, row.length)
    assert quick.decoded(*found, shift, padded(cdb[:size])) == row
    assert RW[code].writes is (row.direction is Direction.OUT)


def test_most_of_them_are_recognised() -> None:
    cdb = bytes((0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0))
    assert quick.recognise(DISK.read_write, 9, 1 << 20, cdb) == (RW[0x28], 5 * 512, 1024)
    assert quick.recognise(DISK.read_write, 9, 1 << 20, b"any" + cdb, 3) is not None
    assert quick.recognise(CD_ROM.read_write, 11, 1 << 20, cdb) == (RW[0x28], 5 * 2048, 4096)


@pytest.mark.parametrize(
    ("cdb", "why"),
    [
        ("280000000000 00 0000 00", "no blocks"),
        ("282000000000 00 0001 00", "protection information"),
        ("280000000000 00 0001 04", "NACA"),
        ("280000000000 00 0001 40", "vendor specific control"),
        ("280000000000 00 2001 00", "longer than pooled memory"),
        ("2a0800000000 00 0001 00", "FUA"),
        ("2e0000000000 00 0001 00", "another command"),
    ],
)
def test_what_needs_a_closer_look(cdb: str, why: str) -> None:
    assert quick.recognise(DISK.read_write, 9, HUGE, bytes.fromhex(cdb)) is None, why


def test_a_read_may_ask_for_the_medium() -> None:
    fua = bytes.fromhex("280800000000 00 0001 00")
    assert quick.recognise(DISK.read_write, 9, HUGE, fua) is not None


@pytest.mark.parametrize("code", sorted(RW))
@pytest.mark.parametrize(
    ("lba", "blocks", "is_there"), [(7, 1, True), (8, 1, False), (7, 2, False)]
)
def test_all_blocks_exist(code: int, lba: int, blocks: int, is_there: bool) -> None:
    row = RW[code].op
    cdb = bytearray(16)
    cdb[0] = code
    last_of_lba = {6: 3, 10: 5, 12: 5, 16: 9}[row.cdb_length]
    last_of_length = {6: 4, 10: 8, 12: 9, 16: 13}[row.cdb_length]
    cdb[last_of_lba], cdb[last_of_length] = lba, blocks
    found = quick.recognise(DISK.read_write, 9, 8 * BLOCK, bytes(cdb))
    assert (found is not None) is is_there


def test_write_6_is_for_disks() -> None:
    cdb = bytes.fromhex("0a0000050200")
    assert quick.recognise(DISK.read_write, 9, HUGE, cdb) is not None
    assert quick.recognise(CD_ROM.read_write, 9, HUGE, cdb) is None


def test_a_cdb_may_come_short() -> None:
    disk = Quick(DISK, DISK.read_write, 9, HUGE, 1)
    decoded = quick.decode(disk, bytes.fromhex("2800000000050000 02"))
    assert (decoded.lba, decoded.length, len(decoded.cdb)) == (5, 1024, 32)
    assert quick.decode(disk, b"").op.name == "TEST UNIT READY"


@pytest.mark.parametrize("cdb", [READ_10, WRITE_10, bytes.fromhex("c1")])
def test_nothing_is_known_of_no_device(cdb: bytes) -> None:
    with pytest.raises(CheckCondition) as refused:
        quick.decode(CLOSED, cdb)
    assert refused.value.sense.triple == (0x5, 0x20, 0x00)


# WRITEs whose data has arrived, for any transport


async def _with_store(system: System) -> tuple[VdiskDevice, FakeStore]:
    device = await system.add_disk("disk", size=1 << 16)
    store = FakeStore(quick=True)
    device.medium.install(store)
    return device, store


async def test_a_write_is_done_at_once(system: System) -> None:
    _, store = await _with_store(system)
    one = system.initiator()
    cmd = one.start(WRITE_10, b"x" * 1024)
    assert cmd.answered.is_set()
    assert cmd.result == GOOD
    assert store.content[5 * BLOCK : 7 * BLOCK] == b"x" * 1024
    writes = one.session.counters.write
    assert (writes.cmds, writes.io_bytes, writes.unaligned) == (1, 1024, 1)
    assert one.session.command_count == 0


@pytest.mark.parametrize("attribute", [TaskAttribute.SIMPLE, TaskAttribute.UNTAGGED])
async def test_unordered_writes_do_not_meet_the_task_set(
    system: System, attribute: TaskAttribute, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = await _with_store(system)
    one = system.initiator()
    monkeypatch.setattr(device.tasks, "admit", lambda cmd: pytest.fail("it was admitted"))
    assert one.start(WRITE_10, bytes(1024), attribute=attribute).result == GOOD


async def test_ordered_writes_take_their_turn(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = await _with_store(system)
    one = system.initiator()
    admitted: list[Command] = []
    admit = device.tasks.admit

    def noted(cmd: Command) -> bool:
        admitted.append(cmd)
        return admit(cmd)

    monkeypatch.setattr(device.tasks, "admit", noted)
    cmd = one.start(WRITE_10, bytes(1024), attribute=TaskAttribute.ORDERED)
    assert await cmd.wait() == GOOD
    assert admitted == [cmd]


async def test_data_that_falls_short_is_looked_at(system: System) -> None:
    _, store = await _with_store(system)
    one = system.initiator()
    # Half of a block has been announced: the general way knows what that means.
    cmd = one.start(WRITE_10, b"y" * 256)
    assert (await cmd.wait()).status is Status.GOOD
    assert store.content[5 * BLOCK : 5 * BLOCK + 257] == b"y" * 256 + b"\0"


async def test_it_waits_with_all_others(system: System) -> None:
    device, _ = await _with_store(system)
    one = system.initiator()
    device.tasks.block()
    cmd = one.start(WRITE_10, bytes(1024))
    assert not cmd.answered.is_set()
    device.tasks.unblock()
    assert await cmd.wait() == GOOD


# Room


async def test_there_is_no_way_without_room(system: System) -> None:
    device, _ = await _with_store(system)
    one = system.initiator()
    tgt_dev = one.session.tgt_devs[0]
    device.max_tgt_dev_commands = 1
    assert tgt_dev.available == tgt_dev.quick != CLOSED
    cmd = one.prepare(WRITE_10, 1024)
    assert tgt_dev.available == CLOSED
    # The nexus that has room is not affected.
    cmd.data = bytes(1024)
    assert tgt_dev.quick.write is not None
