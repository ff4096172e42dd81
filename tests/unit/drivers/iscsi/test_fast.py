"""The fast path: the commands that it answers, and those that it leaves untouched for the general
way.
"""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import crc32c
import pytest

from scstfs.core.buffers import MAX_POOLED
from scstfs.core.nexus_times import Batches
from scstfs.core.taskset import Claim
from scstfs.drivers.iscsi import fast
from scstfs.handlers.store import FileStore
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import HIGH_WATER, Transmitter
from tests.support import iscsi_wire as wire
from tests.support.descriptors import wait_until_closed
from tests.support.engine import EngineHost
from tests.support.iscsi_wire import FINAL, READ, WRITE, Pdu
from tests.support.target import System, target

BLOCK = 512
SIMPLE = 1
SEGMENT = 8192
IMMEDIATE = 4096
PARAMETERS = SessionParameters(max_xmit_data_segment_length=SEGMENT)


class Fast:
    """A connection whose commands only the fast path takes."""

    def __init__(self, system: System, *, digests: bool = False) -> None:
        self.session = system.initiator().session
        self.digests = digests
        #: Bytes that came straight from files.
        self.from_files = 0
        self.connection = Connection(
            EngineHost(),
            PARAMETERS,
            cmd_sn=1,
            stat_sn=7,
            queue_depth=32,
            rx=Receiver(1 << 18),
            tx=Transmitter(),
        )
        for side in (self.connection.rx, self.connection.tx):
            side.header_digest = side.data_digest = digests

    def feed(self, *pdus: Pdu) -> None:
        for pdu in pdus:
            self.connection.rx.feed(encode(pdu) if self.digests else pdu.raw)
        fast.answer(self.connection, self.session, Batches(), SEGMENT, IMMEDIATE)

    @property
    def left(self) -> int:
        """Bytes that were not taken."""
        _, _, start, end = self.connection.rx.window()
        return end - start

    def _sent(self) -> bytes:
        """All bytes to send, including those in files."""
        tx, data = self.connection.tx, b""
        while tx.pending:
            piece = b"".join(tx.buffers())
            if not piece:
                part = tx.file_part
                assert part is not None
                # In two steps, as a socket may take it.
                piece = os.pread(part.fd, max(part.length // 2, 1), part.offset)
                self.from_files += len(piece)
            tx.sent(len(piece))
            data += piece
        return data

    def out(self) -> list[Pdu]:
        """The answers, checked for their digests."""
        data = self._sent()
        found = []
        while data:
            header, data = data[:48], data[48:]
            length = int.from_bytes(header[5:8], "big")
            if self.digests:
                data = checked(header, data)
            body, data = data[:length], data[length:]
            if self.digests and length:
                data = checked(body, data)
            found.append(Pdu(header, body))
        return found


def digest(data: bytes) -> bytes:
    return struct.pack("<I", crc32c.crc32c(data))


def checked(data: bytes, behind: bytes) -> bytes:
    assert behind[:4] == digest(data)
    return behind[4:]


def encode(pdu: Pdu) -> bytes:
    encoded = pdu.raw
    header, data = encoded[:48], encoded[48:]
    return header + digest(header) + (data + digest(data) if data else b"")


def command(
    cmd_sn: int,
    cdb: str,
    *,
    expect: int = 0,
    data: bytes = b"",
    immediate: bool = False,
    **fields: int,
) -> Pdu:
    pdu = Pdu.make(
        wire.SCSI_COMMAND,
        data=data,
        immediate=immediate,
        flags=FINAL | SIMPLE | (WRITE if data else READ),
        lun=bytes(8),
        itt=cmd_sn + 100,
        expected_length=expect or len(data),
        cmd_sn=cmd_sn,
        cdb=bytes.fromhex(cdb),
    )
    for name, value in fields.items():
        pdu[name] = value
    return pdu


def pattern(blocks: int, seed: int = 1) -> bytes:
    return bytes((number * 7 + seed) & 0xFF for number in range(blocks * BLOCK))


@pytest.fixture
async def system(memory_path: Path) -> AsyncIterator[System]:
    async with target(memory_path) as running:
        await running.add_disk("disk", size=1 << 20)
        yield running


async def fill(system: System) -> bytes:
    data = os.urandom(1 << 20)
    (system.directory / "disk").write_bytes(data)
    return data


CDBS: Sequence[tuple[str, str]] = (
    ("0a0000050200", "080000050200"),
    ("2a000000000500000200", "28000000000500000200"),
    ("aa0000000005000000020000", "a80000000005000000020000"),
    ("8a000000000000000005000000020000", "88000000000000000005000000020000"),
)


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize(("write", "read"), CDBS, ids=["6", "10", "12", "16"])
async def test_blocks_are_written_and_read(
    system: System, write: str, read: str, digests: bool
) -> None:
    one = Fast(system, digests=digests)
    data = pattern(2)
    one.feed(command(1, write, data=data), command(2, read, expect=len(data)))
    response, data_in = one.out()
    assert (response.opcode, response["status"], response["itt"]) == (wire.SCSI_RESPONSE, 0, 101)
    assert (data_in.opcode, data_in.flags, data_in["itt"]) == (wire.DATA_IN, FINAL | 1, 102)
    assert data_in.data == data
    assert [pdu["stat_sn"] for pdu in (response, data_in)] == [7, 8]
    assert [pdu["exp_cmd_sn"] for pdu in (response, data_in)] == [2, 3]
    assert [pdu["max_cmd_sn"] for pdu in (response, data_in)] == [33, 34]
    assert (system.directory / "disk").read_bytes()[5 * BLOCK : 7 * BLOCK] == data
    assert (one.connection.window.exp_cmd_sn, one.connection.replies.stat_sn, one.left) == (3, 9, 0)


async def test_what_is_done_is_counted(system: System) -> None:
    one = Fast(system)
    one.feed(
        command(1, CDBS[1][0], data=pattern(2)),
        command(2, "28000000000800000800", expect=4096),
        command(3, "28000000000900000800", expect=4096),
    )
    reads, writes = one.session.counters.read, one.session.counters.write
    assert (reads.cmds, reads.io_bytes, reads.unaligned) == (2, 8192, 1)
    assert (writes.cmds, writes.io_bytes, writes.unaligned) == (1, 1024, 1)


async def test_zero_is_256_blocks_for_the_short_commands(system: System) -> None:
    one = Fast(system)
    fast_read = command(1, "080000000000", expect=256 * BLOCK)
    one.connection.rx.feed(fast_read.raw)
    fast.answer(one.connection, one.session, Batches(), 256 * BLOCK, IMMEDIATE)
    (data_in,) = one.out()
    assert len(data_in.data) == 256 * BLOCK


READ_10 = "28000000000500000200"
ODD: dict[str, Pdu] = {
    "another CmdSN": command(2, READ_10, expect=1024),
    "immediate": command(1, READ_10, immediate=True, expect=1024),
    "ordered": command(1, READ_10, expect=1024, flags=FINAL | READ | 2),
    "both directions": command(1, READ_10, expect=1024, flags=FINAL | READ | WRITE | SIMPLE),
    "the reserved tag": command(1, READ_10, expect=1024, itt=0xFFFFFFFF),
    "too much expected": command(1, READ_10, expect=1536),
    "too little expected": command(1, READ_10, expect=512),
    "no blocks": command(1, "28000000000500000000", expect=512),
    "protection": command(1, "28200000000500000200", expect=1024),
    "linked": command(1, "28000000000500000201", expect=1024),
    "behind the end": command(1, "28000000080000000200", expect=1024),
    "longer than a segment": command(1, "28000000000500001100", expect=17 * BLOCK),
    "another command": command(1, "000000000000"),
    "no command": Pdu.make(wire.NOP_OUT, itt=1, cmd_sn=1),
    "FUA": command(1, "2a080000000500000200", data=pattern(2)),
    "data to come": command(1, CDBS[1][0], data=pattern(1), expect=1024),
    "unsolicited data to come": command(
        1, CDBS[1][0], data=pattern(1), expect=1024, flags=WRITE | SIMPLE
    ),
    "more data than agreed on": command(1, "2a000000000500000900", data=pattern(9)),
}


@pytest.mark.parametrize("pdu", ODD.values(), ids=ODD)
async def test_what_is_left_to_others(system: System, pdu: Pdu) -> None:
    one = Fast(system)
    before = (system.directory / "disk").read_bytes()
    one.feed(pdu)
    assert one.left == len(pdu.raw)
    assert one.out() == []
    assert (one.connection.window.exp_cmd_sn, one.connection.replies.stat_sn) == (1, 7)
    assert (system.directory / "disk").read_bytes() == before


@pytest.mark.parametrize("at", [20, 45, 60, 600])
async def test_damaged_pdus_are_left_to_others(system: System, at: int) -> None:
    one = Fast(system, digests=True)
    damaged = bytearray(encode(command(1, CDBS[1][0], data=pattern(2))))
    damaged[at] ^= 1
    one.connection.rx.feed(bytes(damaged))
    fast.answer(one.connection, one.session, Batches(), SEGMENT, IMMEDIATE)
    assert one.left == len(damaged)
    assert one.out() == []


async def test_a_gate_that_closes_stops_it(system: System) -> None:
    one = Fast(system)
    tgt_dev = one.session.tgt_devs[0]
    tgt_dev.device.tasks.block()
    one.feed(command(1, READ_10, expect=1024))
    assert one.left
    tgt_dev.device.tasks.unblock()
    one.feed()
    assert not one.left


async def test_the_limit_of_commands_holds(system: System) -> None:
    one = Fast(system)
    device = one.session.tgt_devs[0].device
    device.max_tgt_dev_commands = 0
    one.feed(command(1, READ_10, expect=1024))
    assert one.left


async def test_a_part_of_a_command_waits_for_its_rest(system: System) -> None:
    one = Fast(system)
    encoded = command(1, CDBS[1][0], data=pattern(2)).raw
    for cut in (10, 48, 100):
        one.connection.rx.feed(encoded[one.left : cut])
        fast.answer(one.connection, one.session, Batches(), SEGMENT, IMMEDIATE)
        assert (one.left, one.out()) == (cut, [])
    one.connection.rx.feed(encoded[100:])
    one.feed()
    assert len(one.out()) == 1


async def test_answers_stop_where_enough_waits_to_be_sent(system: System) -> None:
    one = Fast(system)
    count = HIGH_WATER // SEGMENT + 20
    one.feed(*(command(sn, "28000000000000001000", expect=SEGMENT) for sn in range(1, count + 1)))
    assert one.left
    assert HIGH_WATER <= one.connection.tx.pending < HIGH_WATER + 2 * SEGMENT
    first = len(one.out())
    one.feed()
    assert first + len(one.out()) == count


async def test_large_answers_fill_one_chunk_after_the_other(system: System) -> None:
    one = Fast(system)
    data = await fill(system)
    size = 120 * 1024
    for sn in range(1, 10):
        one.connection.rx.feed(command(sn, "2800000000000000f000", expect=size).raw)
        fast.answer(one.connection, one.session, Batches(), 256 * 1024, IMMEDIATE)
        # The third does not fit behind two that have not left yet.
        if sn % 3 == 0:
            assert [pdu.data for pdu in one.out()] == [data[:size]] * 3


async def test_watched_blocks_are_read_but_not_written(system: System) -> None:
    one = Fast(system)
    device = one.session.tgt_devs[0].device
    heard: list[Claim] = []
    device.tasks.watchers.add(heard.append)
    one.feed(command(1, READ_10, expect=1024), command(2, CDBS[1][0], data=pattern(2)))
    assert [pdu.opcode for pdu in one.out()] == [wire.DATA_IN]
    assert one.left
    assert heard == []


LONG = 256 * 1024
READ_LONG = "28000000000000020000"


@pytest.mark.parametrize("segment", [LONG, 100 * 1024])
async def test_what_is_long_and_in_memory_is_sent_from_the_file(
    system: System, segment: int
) -> None:
    one = Fast(system)
    data = await fill(system)
    one.connection.agree(
        SessionParameters(max_xmit_data_segment_length=segment, max_burst_length=LONG)
    )
    pdus = [command(sn, READ_LONG, expect=LONG) for sn in (1, 2)]
    pdus.append(command(3, READ_10, expect=1024))
    for pdu in pdus:
        one.connection.rx.feed(pdu.raw)
    found: list[Pdu] = []
    while one.left:
        fast.answer(one.connection, one.session, Batches(), segment, IMMEDIATE)
        found += one.out()
    assert b"".join(pdu.data for pdu in found[:-1]) == data[:LONG] * 2
    assert one.from_files == 2 * LONG
    assert found[-1].data == data[5 * BLOCK : 7 * BLOCK]
    assert one.session.counters.read.cmds == 3
    assert one.session.counters.read.io_bytes == 2 * LONG + 1024


async def test_parts_of_a_long_answer_are_numbered(system: System) -> None:
    one = Fast(system)
    data = await fill(system)
    segment = 100 * 1024
    one.connection.agree(
        SessionParameters(max_xmit_data_segment_length=segment, max_burst_length=LONG)
    )
    one.connection.rx.feed(command(1, READ_LONG, expect=LONG).raw)
    fast.answer(one.connection, one.session, Batches(), segment, IMMEDIATE)
    found = one.out()
    assert [len(pdu.data) for pdu in found] == [segment, segment, LONG - 2 * segment]
    assert [pdu["data_sn"] for pdu in found] == [0, 1, 2]
    assert [pdu["buffer_offset"] for pdu in found] == [0, segment, 2 * segment]
    assert [pdu.flags for pdu in found] == [0, 0, FINAL | 1]
    assert b"".join(pdu.data for pdu in found) == data[:LONG]


async def test_digests_need_the_data(system: System) -> None:
    one = Fast(system, digests=True)
    data = await fill(system)
    one.connection.rx.feed(encode(command(1, READ_LONG, expect=LONG)))
    fast.answer(one.connection, one.session, Batches(), LONG, IMMEDIATE)
    (found,) = one.out()
    assert found.data == data[:LONG]
    assert one.from_files == 0


async def test_what_takes_several_pdus_and_is_not_lent_is_copied_once(system: System) -> None:
    one = Fast(system, digests=True)
    data = await fill(system)
    borrowed: list[int] = []

    def allocate(size: int) -> tuple[memoryview, Callable[[], None]]:
        borrowed.append(size)
        return memoryview(bytearray(size)), borrowed.clear

    for sn in (1, 2):
        one.connection.rx.feed(encode(command(sn, READ_LONG, expect=LONG)))
        fast.answer(one.connection, one.session, Batches(), SEGMENT, IMMEDIATE, allocate=allocate)
        assert borrowed == [LONG]
        found = one.out()
        assert b"".join(pdu.data for pdu in found) == data[:LONG]
        assert len(found) == LONG // SEGMENT
        assert borrowed == []
    assert one.from_files == 0
    assert one.session.counters.read.io_bytes == 2 * LONG


@pytest.mark.parametrize("digests", [False, True])
async def test_very_long_reads_go_the_general_way(tmp_path: Path, digests: bool) -> None:
    """No other session is served meanwhile, and the limit of a device is not checked here."""

    def allocate(size: int) -> tuple[memoryview, Callable[[], None]]:
        return memoryview(bytearray(size)), lambda: None

    async with target(tmp_path) as system:
        await system.add_disk("disk", size=2 * MAX_POOLED)
        one = Fast(system, digests=digests)
        for sn, length in enumerate((MAX_POOLED, MAX_POOLED + BLOCK), 1):
            pdu = command(sn, f"28000000000000{length // BLOCK:04x}00", expect=length)
            one.connection.rx.feed(encode(pdu) if digests else pdu.raw)
            fast.answer(
                one.connection, one.session, Batches(), SEGMENT, IMMEDIATE, allocate=allocate
            )
            assert bool(one.left) == (length > MAX_POOLED)
            assert sum(len(pdu.data) for pdu in one.out()) == (0 if one.left else length)


async def test_without_memory_a_long_read_goes_the_general_way(system: System) -> None:
    one = Fast(system, digests=True)

    def allocate(size: int) -> tuple[memoryview, Callable[[], None]]:
        raise MemoryError

    one.connection.rx.feed(encode(command(1, READ_LONG, expect=LONG)))
    fast.answer(one.connection, one.session, Batches(), SEGMENT, IMMEDIATE, allocate=allocate)
    assert one.left
    assert one.out() == []


async def test_a_loan_is_given_back_where_the_connection_ends(system: System) -> None:
    one = Fast(system)
    await fill(system)
    device = one.session.tgt_devs[0].device
    assert isinstance(device, VdiskDevice)
    store = device.medium.store
    assert isinstance(store, FileStore)
    one.connection.rx.feed(command(1, READ_LONG, expect=LONG).raw)
    fast.answer(one.connection, one.session, Batches(), LONG, IMMEDIATE)
    fd = store.fd
    store.close()
    assert os.fstat(fd)
    one.connection.tx.clear()
    await wait_until_closed(fd)
    # What the device goes on with.
    device.medium.store = None
