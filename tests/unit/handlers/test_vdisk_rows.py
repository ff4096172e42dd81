from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scstfs.handlers import vdisk_rows
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.handlers.vdisk_handler import VdiskHandler
from scstfs.local import LocalSession, open_session
from scstfs.scsi.sense import decode
from scstfs.scsi.status import Status
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import declared
from tests.support.fake_store import FakeStore
from tests.support.whole import Whole

MIB = 1 << 20
SIZE = 1 << 20
TEST_UNIT_READY = bytes(6)
READ_CAPACITY = bytes.fromhex("25000000000000000000")


async def local_session(everything: Whole, device: str) -> LocalSession:
    """A session that has the device as LUN 0, without pending unit attentions."""
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", f"add {device} 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(0, TEST_UNIT_READY)
    return session


def code(sense: bytes) -> tuple[int, int, int] | None:
    condition = decode(sense)
    return None if condition is None else condition.triple


@pytest.mark.parametrize("name", ["vdisk_fileio", "vdisk_blockio", "vdisk_nullio", "vcdrom"])
async def test_rows_say_which_parameters_there_are(everything: Whole, name: str) -> None:
    handler = everything.scst.handlers[name]
    assert isinstance(handler, VdiskHandler)
    rows = vdisk_rows.ROWS[name].entries
    named = {row.name for row in rows if isinstance(row, Attr) and row.parameter}
    # All devices have the attribute of that name.
    assert named == set(handler.usage) - {"numa_node_id"}


def test_all_handlers_show_the_same_name_in_the_same_way() -> None:
    modes = {"filename": 1, "size": 2, "size_mb": 2}
    seen: dict[str, set[int]] = {}
    for dirtype in vdisk_rows.ROWS.values():
        for path, row in declared(dirtype):
            assert isinstance(row, Attr)
            seen.setdefault(path, set()).add(row.mode)
    for name, found in seen.items():
        assert len(found) == modes.get(name, 1), name


# Size


@pytest.mark.parametrize(
    ("name", "text", "size"),
    [
        ("size", "1048576\n", MIB),
        ("size", "1048576 bytes\n", MIB),
        ("size", "0\n", 0),
        ("size_mb", "3\n", 3 * MIB),
    ],
)
async def test_the_size_of_a_nullio_can_be_written(
    everything: Whole, name: str, text: str, size: int
) -> None:
    await everything.add_null("null1")
    await everything.write(f"devices/null1/{name}", text)
    assert everything.read("devices/null1/size") == f"{size}\n[key]\n"
    assert everything.read("devices/null1/size_mb") == f"{size // MIB}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("size", "1000\n"),
        ("size", "x\n"),
        ("size_mb", "17592186044416\n"),
        ("size_mb", "\n"),
    ],
)
async def test_other_sizes_are_refused(everything: Whole, name: str, text: str) -> None:
    await everything.add_null("null1", parameters="size_mb=1")
    assert await everything.refusal(f"devices/null1/{name}", text) == "EINVAL"
    assert everything.result == "-22"
    assert everything.read("devices/null1/size") == f"{MIB}\n[key]\n"


async def test_the_default_size_needs_no_saving(everything: Whole) -> None:
    await everything.add_null("null1")
    assert "[key]" not in everything.read("devices/null1/size")


async def test_initiators_are_told_of_another_size(everything: Whole) -> None:
    await everything.add_null("null1", parameters="size_mb=1")
    session = await local_session(everything, "null1")
    await everything.write("devices/null1/size_mb", "2\n")
    assert [code(event.sense) for event in session.take_events()] == [(6, 0x2A, 0x09)]
    data = (await session.execute(0, READ_CAPACITY)).data
    assert int.from_bytes(data[:4], "big") == 2 * MIB // 512 - 1


async def test_the_size_of_a_file_is_looked_at_again(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk", size=MIB)
    session = await local_session(everything, "disk")
    (tmp_path / "disk").write_bytes(bytes(2 * MIB))
    assert everything.read("devices/disk/size_mb") == "1\n"
    await everything.write("devices/disk/resync_size", "1\n")
    assert everything.read("devices/disk/size_mb") == "2\n"
    assert len(session.take_events()) == 1
    await everything.write("devices/disk/resync_size", "1\n")
    assert not session.take_events()


# Switches


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("expl_alua", "7\n", "1\n[key]\n"),
        ("async", "1\n", "1\n[key]\n"),
        ("lb_per_pb_exp", "0\n", "0\n[key]\n"),
        ("cluster_mode", "1\n", "1\n[key]\n"),
        ("opt_trans_len", "4096\n", "4096\n[key]\n"),
        ("opt_trans_len", "524288\n", "524288\n[key]\n"),
        ("active", "1\n", "1\n"),
    ],
)
async def test_what_is_written_is_read(
    everything: Whole, tmp_path: Path, name: str, text: str, shown: str
) -> None:
    await everything.add_file(tmp_path / "disk")
    await everything.check_rows("devices/disk", [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("expl_alua", "-1\n"),
        ("async", "2\n"),
        ("lb_per_pb_exp", "2\n"),
        ("cluster_mode", "x\n"),
        ("opt_trans_len", "100\n"),
        ("active", "2\n"),
        ("filename", "relative\n"),
        ("filename", "/other\n"),
    ],
)
async def test_what_is_refused_changes_nothing(
    everything: Whole, tmp_path: Path, name: str, text: str
) -> None:
    await everything.add_file(tmp_path / "disk")
    await everything.check_rows("devices/disk", [(name, text, "EINVAL")])


async def test_nullio_reads_zeros_or_does_not_care(everything: Whole) -> None:
    await everything.add_null("null1")
    await everything.write("devices/null1/read_zero", "1\n")
    assert everything.read("devices/null1/read_zero") == "1\n[key]\n"
    # SCST copies 15 bytes before it parses.
    assert await everything.refusal("devices/null1/read_zero", "0" * 14 + "2\n") == "EINVAL"
    await everything.write("devices/null1/read_zero", "0" * 15 + "2\n")
    assert everything.read("devices/null1/read_zero") == "0\n"


async def test_thin_devices_can_say_that_space_runs_out(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "thin", "thin_provisioned=1")
    await everything.add_file(tmp_path / "thick")
    name = "gen_tp_soft_threshold_reached_UA"
    assert name not in everything.names("devices/thick")
    session = await local_session(everything, "thin")
    await everything.write(f"devices/thin/{name}", "1\n")
    assert code((await session.execute(0, TEST_UNIT_READY)).sense) == (6, 0x38, 0x07)


async def test_flushing(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk")
    device = everything.scst.devices["disk"]
    assert isinstance(device, VdiskDevice)
    store = FakeStore()
    device.medium.install(store)
    await everything.write("devices/disk/sync", "1\n")
    assert store.calls == [("flush",)]
    await everything.write("devices/disk/active", "0\n")
    await everything.write("devices/disk/sync", "1\n")
    assert store.calls == [("flush",)]


async def test_flushing_that_fails(
    everything: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await everything.add_file(tmp_path / "disk")
    device = everything.scst.devices["disk"]
    assert isinstance(device, VdiskDevice)

    store = FakeStore()
    store.errors["flush"] = OSError(errno.ENOSPC, "no space")
    device.medium.install(store)
    assert await everything.refusal("devices/disk/sync", "1\n") == "ENOSPC"


async def test_a_store_is_not_closed_while_it_is_flushed(
    everything: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await everything.add_file(tmp_path / "disk")
    device = everything.scst.devices["disk"]
    assert isinstance(device, VdiskDevice)
    store = FakeStore()
    device.medium.install(store)
    store.pause("flush")
    async with everything.background(everything.write, "devices/disk/sync", "1\n"):
        await everything.write("devices/disk/active", "0\n")
        assert not store.closed
        store.resume("flush")
    assert store.calls == [("flush",)]
    assert store.closed


# Files that are opened and closed


async def test_a_device_can_be_closed_and_opened_again(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk")
    session = await local_session(everything, "disk")
    read = bytes.fromhex("28000000000000000100")
    await everything.write("devices/disk/active", "0\n")
    assert everything.read("devices/disk/active") == "0\n[key]\n"
    assert (await session.execute(0, read)).status is Status.CHECK_CONDITION
    other = tmp_path / "other"
    other.write_bytes(b"x" * SIZE)
    await everything.write("devices/disk/filename", f"{other}\n")
    assert everything.read("devices/disk/filename") == f"{other}\n[key]\n\n"
    await everything.write("devices/disk/active", "1\n")
    for _ in range(3):
        result = await session.execute(0, read)
        if result.status is Status.GOOD:
            break
    assert result.data == b"x" * 512


async def test_a_device_that_can_not_be_opened_stays_closed(
    everything: Whole, tmp_path: Path
) -> None:
    await everything.add_file(tmp_path / "disk")
    await everything.write("devices/disk/active", "0\n")
    (tmp_path / "disk").unlink()
    assert await everything.refusal("devices/disk/active", "1\n") == "ENOENT"
    assert everything.result == "-2"
    assert everything.read("devices/disk/active") == "0\n[key]\n"
    assert await everything.refusal("devices/disk/resync_size", "1\n") == "EMEDIUMTYPE"


async def test_the_medium_of_a_cd_rom_can_be_changed(everything: Whole, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(3 * MIB))
    await everything.write("handlers/vcdrom/mgmt", "add_device cd\n")
    assert everything.read("devices/cd/filename") == "none\n\n"
    session = await local_session(everything, "cd")
    assert code((await session.execute(0, TEST_UNIT_READY)).sense) == (2, 0x3A, 0)
    await everything.write("devices/cd/filename", f"{image}\n")
    assert everything.read("devices/cd/filename") == f"{image}\n[key]\n\n"
    assert everything.read("devices/cd/size_mb") == "3\n"
    assert code((await session.execute(0, TEST_UNIT_READY)).sense) == (6, 0x28, 0)
    assert (await session.execute(0, TEST_UNIT_READY)).status is Status.GOOD
    assert await everything.refusal("devices/cd/filename", "relative\n") == "EINVAL"
    assert await everything.refusal("devices/cd/filename", f"{tmp_path}/none\n") == "ENOENT"
    assert everything.read("devices/cd/filename") == f"{image}\n[key]\n\n"
    await everything.write("devices/cd/filename", "\n")
    assert everything.read("devices/cd/size") == "0\n[key]\n"


async def test_a_medium_that_is_locked_stays(everything: Whole, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(3 * MIB))
    await everything.write("handlers/vcdrom/mgmt", "add_device cd\n")
    await everything.write("devices/cd/filename", f"{image}\n")
    session = await local_session(everything, "cd")
    while (await session.execute(0, TEST_UNIT_READY)).status is not Status.GOOD:
        pass
    prevent = bytes.fromhex("1e0000000100")
    assert (await session.execute(0, prevent)).status is Status.GOOD
    assert await everything.refusal("devices/cd/filename", "\n") == "EBUSY"
    session.close()
    await everything.write("devices/cd/filename", "\n")
