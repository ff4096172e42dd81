from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio

from scstfs.core import task_management
from scstfs.core.quick import CLOSED
from scstfs.core.taskset import Claim
from scstfs.handlers import medium_change
from scstfs.handlers.vdisk import VdiskDevice, token_limits
from scstfs.scsi import sense
from scstfs.scsi.status import Status
from scstfs.sysfs.errors import SysfsError
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, System, target
from tests.support.threads import ManualPool

BLOCK = 512
READ = b"\x28" + bytes(7) + b"\x01\0"
WRITE = b"\x2a" + bytes(7) + b"\x01\0"
DATA = b"d" * BLOCK
#: MODE SELECT that saves D_SENSE=1.
SELECT_D_SENSE = b"\x15\x11\0\0\x10\0", bytes(4) + b"\x0a\x0a\x24" + bytes(9)


def fast_write(system: System, initiator_number: int = 0) -> object:
    tgt_dev = next(iter(system.scst.devices.values())).tgt_devs[initiator_number]
    return tgt_dev.quick.write


# The store


async def test_a_store_in_use_is_closed_when_nobody_uses_it_any_more(system: System) -> None:
    device = await system.add_disk("disk")
    old, new = FakeStore(), FakeStore()
    device.medium.install(old)
    initiator = system.initiator()
    old.pause("read")
    reader = initiator.start(READ, data_in=BLOCK)
    device.medium.install(new)
    assert not old.closed
    old.resume("read")
    assert (await reader.wait()).status is Status.GOOD
    assert old.closed
    assert not new.closed


async def test_without_a_store_there_is_no_medium(system: System) -> None:
    device = await system.add_disk("disk")
    initiator = system.initiator()
    device.medium.close()
    assert (await initiator.execute(READ, data_in=BLOCK)).triple == (0x2, 0x3A, 0x00)
    assert (await initiator.execute(b"\x12\0\0\0\x24\0", data_in=36)).status is Status.GOOD
    assert fast_write(system) is None


async def test_a_closed_thin_device_still_says_so(system: System) -> None:
    device = await system.add_disk("disk", thin_provisioned=1)
    before = device.describe().thin
    device.medium.close()
    assert device.describe().thin == before
    assert before is not None


async def test_deleting_a_device_waits_for_its_commands(system: System) -> None:
    device = await system.add_disk("disk")
    store = FakeStore()
    device.medium.install(store)
    store.pause("write")
    writer = system.initiator().start(WRITE, DATA)
    system.delete("disk")
    assert device.alive
    assert not store.closed
    store.resume("write")
    assert await writer.wait() == GOOD
    assert not device.alive
    assert store.closed


async def test_deleting_a_blocked_device_lets_its_commands_go(system: System) -> None:
    device = await system.add_disk("disk")
    initiator = system.initiator()
    device.tasks.block()
    cmd = initiator.start(WRITE, DATA)
    system.delete("disk")
    assert (await cmd.wait()).status is Status.BUSY
    assert not device.alive


# The fast path


async def test_the_fast_path_moves_blocks(system: System) -> None:
    await system.add_disk("disk")
    initiator = system.initiator()
    tgt_dev = initiator.session.tgt_devs[0]
    assert tgt_dev.quick.write is not None
    assert tgt_dev.quick.write(3 * BLOCK, memoryview(DATA))
    assert (system.directory / "disk").read_bytes()[3 * BLOCK : 4 * BLOCK] == DATA


async def test_the_fast_path_knows_the_end(system: System) -> None:
    device = await system.add_disk("disk", size=1 << 20)
    tgt_dev = system.initiator().session.tgt_devs[0]
    assert (tgt_dev.quick.size, tgt_dev.quick.shift) == (1 << 20, 9)
    medium_change.set_size(device, 1 << 19)
    assert tgt_dev.quick.size == 1 << 19


@pytest.mark.parametrize("gate", ["block", "freeze"])
async def test_the_fast_path_is_closed_while_nothing_may_start(system: System, gate: str) -> None:
    device = await system.add_disk("disk")
    tgt_dev = system.initiator().session.tgt_devs[0]
    assert tgt_dev.available.read is not None
    getattr(device.tasks, gate)()
    assert tgt_dev.available == CLOSED
    assert tgt_dev.quick.read is not None


async def test_watched_writes_do_not_take_the_fast_path(system: System) -> None:
    device = await system.add_disk("disk")
    initiator = system.initiator()
    heard: list[Claim] = []
    device.tasks.watchers.add(heard.append)
    tgt_dev = initiator.session.tgt_devs[0]
    assert tgt_dev.quick.write is None
    assert tgt_dev.quick.read is not None
    assert await initiator.execute(WRITE, DATA) == GOOD
    assert [(claim.start, claim.end) for claim in heard] == [(0, 1)]
    await initiator.execute(READ, data_in=BLOCK)
    assert len(heard) == 1


@pytest.mark.parametrize("parameters", [{"write_through": 1}, {"read_only": 1}])
async def test_who_has_no_fast_writes(system: System, parameters: dict[str, int]) -> None:
    await system.add_disk("disk", **parameters)
    tgt_dev = system.initiator().session.tgt_devs[0]
    assert tgt_dev.quick.write is None
    assert tgt_dev.quick.read is not None


# Its identity


async def test_explicit_alua_follows_the_attribute(system: System) -> None:
    device = await system.add_disk("disk")
    assert not device.explicit_alua
    assert device.opcodes.find(b"\xa4\x0a" + bytes(30)) is not None
    before = len(device.opcodes.reported())
    device.explicit_alua = True
    assert device.explicit_alua
    assert len(device.opcodes.reported()) == before + 1


async def test_thin_devices_have_more_commands(system: System) -> None:
    plain = await system.add_disk("plain")
    thin = await system.add_disk("thin", thin_provisioned=1)
    new = {row.name for row in thin.opcodes.reported()} - {
        row.name for row in plain.opcodes.reported()
    }
    assert new == {"GET LBA STATUS"}


async def test_identifiers_are_those_of_the_unit_itself(system: System) -> None:
    device = await system.add_disk("disk")
    assert [name[1] for name in device.identifiers()] == [0x01, 0x02]
    device.identity.set("scsi_device_name", b"name")
    device.identity.set("naa_id", bytes.fromhex("5000000000000001"))
    assert [name[1] for name in device.identifiers()] == [0x01, 0x03]


def test_token_limits_are_in_blocks() -> None:
    assert token_limits(512).max_transfer_blocks == 8 * token_limits(4096).max_transfer_blocks


async def test_a_new_size_is_reported_and_changes_what_was_there(system: System) -> None:
    device = await system.add("vdisk_nullio", "disk", size_mb=1)
    initiator = system.initiator()
    heard: list[Claim] = []
    device.tasks.watchers.add(heard.append)
    medium_change.set_size(device, 2 << 20)
    assert heard
    assert device.blocks == 4096
    pending = initiator.session.tgt_devs[0].unit_attentions
    assert [condition.sense for condition in pending] == [sense.CAPACITY_CHANGED]


async def test_a_size_of_broken_blocks_is_refused(system: System) -> None:
    device = await system.add("vdisk_nullio", "disk", size_mb=1)
    with pytest.raises(SysfsError) as refused:
        medium_change.set_size(device, 1000)
    assert refused.value.errno == errno.EINVAL
    assert device.medium.size == 1 << 20


async def test_the_size_of_a_file_is_looked_at_when_asked(system: System) -> None:
    device = await system.add_disk("disk", size=1 << 20)
    with (system.directory / "disk").open("r+b") as file:
        file.truncate(2 << 20)
    assert device.medium.size == 1 << 20
    await medium_change.resync_size(device)
    assert device.medium.size == 2 << 20
    device.medium.close()
    with pytest.raises(SysfsError) as refused:
        await medium_change.resync_size(device)
    assert refused.value.errno == errno.EMEDIUMTYPE


# Nexuses and resets


async def test_who_is_gone_does_not_keep_the_medium_in(system: System) -> None:
    device = await system.add("vdisk_nullio", "disk")
    one, two = system.initiator("one"), system.initiator("two")
    for initiator in (one, two):
        assert await initiator.execute(b"\x1e\0\0\0\x01\0") == GOOD
    assert len(device.medium.prevented_by) == 2
    await one.end()
    assert device.medium.prevented_by == {two.session.tgt_devs[0]}
    device.reset()
    assert not device.medium.prevented_by


async def test_a_reset_takes_saved_mode_parameters(system: System) -> None:
    device = await system.add_disk("disk", write_through=1)
    initiator = system.initiator()
    page = bytes(4) + b"\x0a\x0a\x24" + bytes(9)
    assert await initiator.execute(b"\x15\x10\0\0\x10\0", page) == GOOD
    assert device.control.d_sense
    device.reset()
    assert not device.control.d_sense
    assert not device.writes_through, "as in SCST, whatever the device was made with"


# Saved mode pages


@pytest.mark.parametrize("together", [False, True])
async def test_saved_mode_pages_are_there_again(tmp_path: Path, together: bool) -> None:
    control, cache = b"\x0a\x0a\x24\0\0\x40" + bytes(6), b"\x08\x12" + bytes(18)
    async with target(tmp_path) as system:
        await system.add_disk("disk")
        initiator = system.initiator()
        for pages in [control + cache] if together else [control, cache]:
            data = bytes(8) + pages
            command = bytes((0x55, 0x11, 0, 0, 0, 0, 0, 0, len(data), 0))
            assert await initiator.execute(command, data) == GOOD
    saved = (tmp_path / "state" / "vdev_mode_pages" / "disk").read_bytes()
    # QUEUE_ALG is 0 in the page, and 1 by default.
    assert saved == b"disk\nTAS=1\nD_SENSE=1\nQUEUE_ALG=0\nWRITE_THROUGH=1\n"
    async with target(tmp_path) as system:
        device = await system.add_disk("disk")
        assert device.control.d_sense
        assert device.control.tas
        assert device.writes_through
        result = await system.initiator().execute(b"\x12\0\x80\0\xff\0", data_in=255)
        assert result.sense[0] == 0x72


@pytest.mark.logs("disk: saved mode parameters are understood in part only")
@pytest.mark.parametrize(
    "damage",
    [b"", b"other\nTAS=1\n", b"disk\nNONSENSE=7\n", b"disk\nTAS=" + b"1" * 5000 + b"\n"],
    ids=["empty", "other", "nonsense", "long"],
)
async def test_damaged_mode_pages_do_not_keep_a_device_away(tmp_path: Path, damage: bytes) -> None:
    async with target(tmp_path) as system:
        path = tmp_path / "state" / "vdev_mode_pages" / "disk"
        path.write_bytes(damage)
        device = await system.add_disk("disk")
        assert not device.control.tas


@pytest.mark.logs(r"disk: cannot save mode pages: \[Errno 28\] full")
async def test_saving_that_fails_changes_nothing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await system.add_disk("disk")

    def fail(name: str, text: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(system.scst.env.state, "save_modes", fail)
    result = await system.initiator().execute(*SELECT_D_SENSE)
    assert result.triple == (0x4, 0x44, 0x00)
    assert not device.control.d_sense


async def test_a_reset_while_mode_pages_are_saved(system: System) -> None:
    device = await system.add_disk("disk")
    initiator = system.initiator()
    tgt_dev = initiator.session.tgt_devs[0]
    pool = ManualPool()
    pool.serve(tgt_dev)
    initiator.start(*SELECT_D_SENSE)
    task_management.logical_unit_reset(tgt_dev, lambda: None)
    assert not device.control.d_sense
    pool.drain()
    # What the file has got is what the next reset brings.
    assert b"D_SENSE=1" in (system.directory / "state/vdev_mode_pages/disk").read_bytes()
    task_management.logical_unit_reset(tgt_dev, lambda: None)
    assert device.control.d_sense


async def test_changed_identity_is_reported(system: System) -> None:
    device = await system.add_disk("disk")
    initiator = system.initiator()
    device.change_identity("usn", b"other")
    result = await initiator.execute(bytes(6))
    assert result.triple == (0x6, 0x3F, 0x03)


async def test_a_medium_change_is_told_once(system: System) -> None:
    device = await system.add("vcdrom", "disk")
    image = system.directory / "image"
    image.write_bytes(bytes(1 << 20))
    device.medium.install(device.kind.open_store(device, str(image)))
    device.medium.changed = True
    one, two = system.initiator("one"), system.initiator("two")
    with trio.fail_after(5):
        assert (await one.execute(bytes(6))).triple == (0x6, 0x28, 0x00)
        assert await two.execute(bytes(6)) == GOOD
    assert isinstance(device, VdiskDevice)
