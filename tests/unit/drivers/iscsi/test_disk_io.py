"""READs and WRITEs that a disk does, begun by the fast loop."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from scstfs.core import access, task_management
from scstfs.drivers.iscsi.server import Server
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.fake_store import FakeStore
from tests.support.iscsi_wire import FINAL, READ, WRITE, Pdu
from tests.support.still_wire import Port
from tests.support.whole import Whole, whole

BLOCK = 512
SIZE = 1 << 20
DEPTH = 8
SEGMENT = 8192
ABORT_TASK, ABORT_TASK_SET, LOGICAL_UNIT_RESET, TARGET_WARM_RESET = 1, 2, 5, 6
LUN_DOES_NOT_EXIST = 2


class Disk:
    """A session with a disk that is never answered from memory."""

    def __init__(self, everything: Whole, **parameters: object) -> None:
        device = everything.scst.devices["disk"]
        assert isinstance(device, VdiskDevice)
        self.device = device
        self.store = FakeStore(SIZE)
        self.store.content[:] = os.urandom(SIZE)
        device.medium.install(self.store)
        self.server = Server(everything.scst, everything.iscsi)
        agreed = SessionParameters(max_xmit_data_segment_length=SEGMENT, **parameters)  # type: ignore[arg-type]
        port = Port(self.server, everything.iscsi.targets["iqn.t"], agreed, DEPTH)
        self.nexus, self.connection = port.log_in(1)
        (self.tgt_dev,) = self.nexus.core.tgt_devs.values()
        while self.tgt_dev.unit_attentions:
            self.tgt_dev.take_unit_attention()

    def feed(self, *pdus: Pdu) -> None:
        """All of these in one batch."""
        flusher = self.server.flusher
        flusher.hold()
        for pdu in pdus:
            self.connection.rx.feed(pdu.raw)
        self.connection.process()
        flusher.release()

    def out(self) -> list[Pdu]:
        """What is to be sent."""
        tx, data = self.connection.tx, b""
        while tx.pending:
            piece = b"".join(tx.buffers())
            tx.sent(len(piece))
            data += piece
        found = []
        while data:
            length = int.from_bytes(data[5:8], "big")
            end = 48 + (length + 3 & ~3)
            found.append(Pdu(data[:48], data[48 : 48 + length]))
            data = data[end:]
        return found

    async def settle(self) -> list[Pdu]:
        """Wait until everything is answered."""
        with trio.fail_after(5):
            while self.connection.window.under_way:
                await trio.sleep(0.001)
        return self.out()


def command(cmd_sn: int, cdb: str, *, expect: int = 0, data: bytes = b"", more: int = 0) -> Pdu:
    return Pdu.make(
        wire.SCSI_COMMAND,
        data=data,
        flags=FINAL | 1 | (READ if expect else 0) | (WRITE if data else 0),
        lun=bytes(8),
        itt=cmd_sn + 100,
        expected_length=expect or len(data) + more,
        cmd_sn=cmd_sn,
        cdb=bytes.fromhex(cdb),
    )


def function(code: int, itt: int, cmd_sn: int) -> Pdu:
    return Pdu.make(
        wire.TASK_REQUEST, immediate=True, flags=FINAL | code, lun=bytes(8), itt=itt,
        referenced_tag=0xFFFFFFFF, cmd_sn=cmd_sn,
    )  # fmt: skip


def read(cmd_sn: int, lba: int, blocks: int = 8) -> Pdu:
    return command(cmd_sn, f"2800{lba:08x}00{blocks:04x}00", expect=blocks * BLOCK)


def write(cmd_sn: int, lba: int, data: bytes) -> Pdu:
    return command(cmd_sn, f"2a00{lba:08x}00{len(data) // BLOCK:04x}00", data=data)


Make = Callable[..., Awaitable[Disk]]


@pytest.fixture
async def everything_of(memory_path: Path) -> AsyncIterator[Whole]:
    async with whole(memory_path / "state") as everything:
        await everything.add_file(memory_path / "disk")
        await everything.add_target("iqn.t")
        await everything.write("targets/iscsi/iqn.t/luns/mgmt", "add disk 0\n")
        yield everything


@pytest.fixture
async def make(everything_of: Whole) -> Make:
    async def made(**parameters: object) -> Disk:
        return Disk(everything_of, **parameters)

    return made


async def test_a_batch_is_answered_with_its_data(make: Make) -> None:
    disk = await make()
    data = os.urandom(4096)
    disk.feed(read(1, 0), write(2, 100, data), read(3, 64, 1), read(4, 8))
    assert disk.connection.window.under_way == 4
    assert len(disk.tgt_dev.commands) == 4
    found = {pdu["itt"]: pdu for pdu in await disk.settle()}
    content = disk.store.content
    assert found[101].data == content[:4096]
    assert found[103].data == content[64 * BLOCK : 65 * BLOCK]
    assert found[104].data == content[4096:8192]
    assert found[102].opcode == wire.SCSI_RESPONSE
    assert content[100 * BLOCK :][:4096] == data
    assert {pdu["status"] for pdu in found.values()} == {0}
    assert not disk.tgt_dev.commands
    assert not disk.device.tasks.running
    assert disk.nexus.core.command_count == 0
    counters = disk.nexus.core.counters
    assert (counters.read.cmds, counters.read.io_bytes, counters.read.unaligned) == (3, 8704, 1)
    assert (counters.write.cmds, counters.write.io_bytes) == (1, 4096)
    assert disk.connection.replies.reading == 0


async def test_the_window_is_as_wide_as_what_may_still_come(make: Make) -> None:
    disk = await make()
    window = disk.connection.window
    disk.store.pause("read")
    disk.feed(*(read(number, number) for number in range(1, DEPTH + 1)))
    assert window.under_way == DEPTH
    assert window.exp_cmd_sn == DEPTH + 1
    assert window.max_cmd_sn == DEPTH
    assert not window.is_plain
    disk.store.resume("read")
    found = await disk.settle()
    assert len(found) == DEPTH
    assert window.max_cmd_sn == 2 * DEPTH
    assert found[-1]["max_cmd_sn"] == 2 * DEPTH
    stat_sns = [pdu["stat_sn"] for pdu in found]
    assert [(sn - stat_sns[0]) & 0xFFFFFFFF for sn in stat_sns] == list(range(DEPTH))


async def test_long_reads_take_several_pdus(make: Make) -> None:
    disk = await make()
    disk.feed(read(1, 3, 40), read(2, 0))
    found = await disk.settle()
    data = b"".join(pdu.data for pdu in found if pdu["itt"] == 101)
    assert data == disk.store.content[3 * BLOCK : 43 * BLOCK]
    assert len(found) == 4
    assert disk.connection.replies.reading == 0


async def test_write_data_that_is_asked_for(make: Make) -> None:
    disk = await make(first_burst_length=512, max_burst_length=4096)
    data = os.urandom(4096)
    begin = command(1, "2a000000000a00000800", data=data[:512], more=4096 - 512)
    disk.feed(begin)
    (r2t,) = disk.out()
    assert r2t.opcode == wire.R2T
    rest = Pdu.make(
        wire.DATA_OUT, data=data[512:], flags=FINAL, lun=bytes(8), itt=101,
        ttt=r2t["ttt"], buffer_offset=512,
    )  # fmt: skip
    disk.feed(rest)
    (response,) = await disk.settle()
    assert response["status"] == 0
    assert disk.store.content[10 * BLOCK :][:4096] == data


@pytest.mark.parametrize(("error", "asc"), [(errno.EIO, 0x11), (errno.ENXIO, 0x3A)])
async def test_errors_are_sense_data(make: Make, error: int, asc: int) -> None:
    disk = await make()
    disk.store.errors["read"] = OSError(error, "broken")
    disk.feed(read(1, 0), read(2, 8))
    for response in await disk.settle():
        assert response.opcode == wire.SCSI_RESPONSE
        assert response["status"] == 2
        assert response.data[2 + 12] == asc
    assert not disk.device.tasks.running
    assert disk.connection.replies.reading == 0


async def test_what_is_aborted_is_answered_when_it_has_ended(make: Make) -> None:
    disk = await make()
    disk.store.pause("read")
    disk.feed(read(1, 0), read(2, 8))
    request = Pdu.make(
        wire.TASK_REQUEST, immediate=True, flags=FINAL | ABORT_TASK, lun=bytes(8), itt=9,
        referenced_tag=101, ref_cmd_sn=1, cmd_sn=3,
    )  # fmt: skip
    disk.feed(request)
    assert disk.out() == []
    disk.store.resume("read")
    found = await disk.settle()
    assert {(pdu.opcode, pdu["itt"]) for pdu in found} == {
        (wire.TASK_RESPONSE, 9),
        (wire.DATA_IN, 102),
    }
    assert disk.connection.replies.reading == 0


async def test_a_reset_waits_for_the_disk(make: Make) -> None:
    disk = await make()
    disk.store.pause("write")
    disk.feed(write(1, 0, bytes(512)))
    done: list[bool] = []
    task_management.logical_unit_reset(disk.tgt_dev, lambda: done.append(True))
    assert not done
    disk.store.resume("write")
    assert {pdu.opcode for pdu in await disk.settle()} <= {wire.NOP_IN}
    assert done


async def test_a_write_is_done_once_whatever_becomes_of_a_function_for_it(make: Make) -> None:
    """A reset of a LUN that is not there any more is refused; the write that it found goes on."""
    disk = await make(first_burst_length=512, max_burst_length=4096)
    disk.store.pause("write")
    disk.feed(command(1, "2a000000000a00000800", data=bytes(512), more=4096 - 512))
    (r2t,) = disk.out()
    rest = Pdu.make(
        wire.DATA_OUT, data=bytes(4096 - 512), flags=FINAL, lun=bytes(8), itt=101,
        ttt=r2t["ttt"], buffer_offset=512,
    )  # fmt: skip
    disk.feed(rest)
    assert disk.tgt_dev.commands
    access.remove_lun(disk.tgt_dev.acg_dev)
    disk.feed(function(LOGICAL_UNIT_RESET, 9, 2))
    (refusal,) = disk.out()
    assert (refusal["itt"], refusal["response"]) == (9, LUN_DOES_NOT_EXIST)
    disk.store.resume("write")
    (response,) = await disk.settle()
    assert (response["itt"], response["status"]) == (101, 0)
    assert [call[0] for call in disk.store.calls] == ["write"]


@pytest.mark.parametrize("code", [LOGICAL_UNIT_RESET, TARGET_WARM_RESET, ABORT_TASK_SET])
async def test_what_was_behind_the_lun_before_is_aborted_too(
    make: Make, everything_of: Whole, code: int
) -> None:
    """The initiator does not know yet that there is another device."""
    disk = await make()
    disk.store.pause("write")
    disk.feed(write(1, 0, bytes(512)))
    await everything_of.add_file(everything_of.directory / "other")
    other = everything_of.scst.devices["other"]
    acg = disk.tgt_dev.acg_dev.acg
    access.replace_lun(acg, other, 0, read_only=False, tell=False)
    disk.feed(function(code, 9, 2))
    assert disk.out() == []
    disk.store.resume("write")
    (response,) = await disk.settle()
    assert (response.opcode, response["response"]) == (wire.TASK_RESPONSE, 0)


async def test_a_logout_is_answered_when_the_disk_has_done_what_it_had_to(make: Make) -> None:
    """RFC 7143 11.14: the commands are terminated, and their effects come before the answer."""
    disk = await make()
    disk.store.pause("write")
    logout = Pdu.make(wire.LOGOUT_REQUEST, immediate=True, flags=FINAL, itt=9, cmd_sn=2)
    disk.feed(write(1, 0, bytes(512)), logout, read(2, 0))
    assert disk.out() == []
    assert not disk.connection.closing
    disk.store.resume("write")
    found = [pdu.opcode for pdu in await disk.settle()]
    # The window may have been announced before.
    assert [opcode for opcode in found if opcode != wire.NOP_IN] == [wire.LOGOUT_RESPONSE]
    assert disk.connection.closing


async def test_a_connection_that_is_lost_meanwhile(make: Make) -> None:
    disk = await make()
    disk.store.pause("read")
    disk.feed(read(1, 0), read(2, 8))
    disk.nexus.connection_ended(disk.nexus.wire)
    assert disk.device.tasks.running
    disk.store.resume("read")
    with trio.fail_after(5):
        while disk.device.tasks.running:
            await trio.sleep(0.001)
    assert disk.connection.replies.reading == 0


async def test_digests_go_the_general_way_back(make: Make) -> None:
    disk = await make()
    tx = disk.connection.tx
    tx.data_digest = True
    disk.feed(read(1, 0, 1))
    with trio.fail_after(5):
        while disk.connection.window.under_way:
            await trio.sleep(0.001)
    assert b"".join(tx.buffers())[48 : 48 + BLOCK] == disk.store.content[:BLOCK]
    assert tx.pending == 48 + BLOCK + 4


async def test_so_much_data_is_read_and_no_more(make: Make) -> None:
    """What the initiator does not fetch does not fill memory."""
    disk = await make(max_burst_length=512)
    assert disk.connection.replies.reading_limit == DEPTH * 512
    disk.store.pause("read")
    disk.feed(*(read(number, 0) for number in range(1, 5)))
    assert disk.connection.window.under_way == 4
    assert disk.connection.replies.reading <= DEPTH * 512 + 4096
    disk.store.resume("read")
    most, answers = 0, 0
    with trio.fail_after(5):
        while answers < 4:
            most = max(most, disk.connection.replies.reading)
            await trio.sleep(0.001)
            answers += len(disk.out())
    assert most <= DEPTH * 512 + 4096
