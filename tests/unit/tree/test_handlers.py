from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.local import open_session
from scstfs.scsi.opcodes import DeviceType
from tests.support.scsi_unit import FakeUnit
from tests.support.threads import ManualPool
from tests.support.whole import Whole

NULLIO = "handlers/vdisk_nullio/mgmt"
DISK = "handlers/dev_disk/mgmt"
ADDRESS = "2:0:0:1"


def add_scsi_device(everything: Whole, kind: DeviceType = DeviceType.DISK) -> ScsiDevice:
    found = FoundDevice(kind, "../../devices/somewhere")
    device = ScsiDevice(everything.scst, ADDRESS, found, FakeUnit(kind).opener)
    everything.scst.devices[ADDRESS] = device
    return device


async def test_devices_come_and_go(everything: Whole) -> None:
    await everything.write(NULLIO, "add_device null1 size_mb=1; read_only=1\n")
    assert everything.names("devices") == ["null1"]
    assert everything.link("handlers/vdisk_nullio/null1") == "../../devices/null1"
    assert everything.link("devices/null1/handler") == "../../handlers/vdisk_nullio"
    assert everything.read("devices/null1/read_only") == "1\n[key]\n"
    # Any handler of virtual devices deletes those of all.
    await everything.write("handlers/vcdrom/mgmt", "DEL_DEVICE null1\n")
    assert not everything.names("devices")
    assert everything.names("handlers/vdisk_nullio") == ["mgmt", "trace_level", "type"]


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("", "EINVAL"),
        ("nonsense null2\n", "EINVAL"),
        ("add_device\n", "EINVAL"),
        ("add_device null2 bad=1\n", "EINVAL"),
        ("add_device null2 size_mb\n", "EINVAL"),
        ("add_device null2 size_mb=x\n", "EINVAL"),
        ("add_device null2 dif_type=1\n", "EINVAL"),
        ("add_device a.b\n", "EINVAL"),
        ("add_device a/b\n", "EINVAL"),
        ("add_device .\n", "EINVAL"),
        (f"add_device {'n' * 65}\n", "EINVAL"),
        (f"add_device {'n' * 300}\n", "EINVAL"),
        ("add_device mgmt\n", "EEXIST"),
        ("add_device type\n", "EEXIST"),
        ("add_device null1\n", "EEXIST"),
        ("del_device\n", "EINVAL"),
        ("del_device null2\n", "EINVAL"),
        ("del_device null1 more\n", "EINVAL"),
    ],
)
async def test_what_is_refused_changes_nothing(
    everything: Whole, command: str, refusal: str
) -> None:
    await everything.add_null("null1")
    assert await everything.refusal(NULLIO, command or "\n") == refusal
    assert everything.names("devices") == ["null1"]
    assert everything.names("handlers/vdisk_nullio") == ["mgmt", "null1", "trace_level", "type"]


async def test_files_that_can_not_be_opened(everything: Whole, tmp_path: Path) -> None:
    command = f"add_device disk filename={tmp_path}/missing\n"
    assert await everything.refusal("handlers/vdisk_fileio/mgmt", command) == "ENOENT"
    (tmp_path / "file").write_bytes(bytes(512))
    command = f"add_device disk filename={tmp_path}/file\n"
    assert await everything.refusal("handlers/vdisk_blockio/mgmt", command) == "ENOTBLK"
    assert not everything.names("devices")


async def test_deleting_a_device_takes_its_luns_along(everything: Whole) -> None:
    await everything.add_null("null1")
    target = await everything.add_target()
    await everything.write(f"{target}/luns/mgmt", "add null1 0\n")
    await everything.write(NULLIO, "del_device null1\n")
    assert everything.names(f"{target}/luns") == ["mgmt"]


async def test_deleting_a_device_waits_for_its_commands(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", "add disk 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(0, bytes(6))
    pool = ManualPool()
    pool.serve(session.session.tgt_devs[0])
    steps = []

    async def flush() -> None:
        await session.execute(0, bytes.fromhex("35000000000000000000"))
        steps.append("flushed")

    async def delete() -> None:
        await everything.write("handlers/vdisk_fileio/mgmt", "del_device disk\n")
        steps.append("deleted")

    async with everything.background(flush), everything.background(delete):
        # Nobody finds the device any more, but it is still at work.
        assert not everything.names("devices")
        assert not steps
        pool.drain()
    assert sorted(steps) == ["deleted", "flushed"]


# SCSI devices of this machine


async def test_scsi_devices_get_a_handler_and_lose_it(everything: Whole) -> None:
    add_scsi_device(everything)
    directory = f"devices/{ADDRESS}"
    assert "handler" not in everything.names(directory)
    assert everything.link(f"{directory}/scsi_device") == "../../../../devices/somewhere"
    await everything.write(DISK, f"add_device {ADDRESS}\n")
    assert everything.link(f"{directory}/handler") == "../../handlers/dev_disk"
    assert everything.link(f"handlers/dev_disk/{ADDRESS}") == f"../../{directory}"
    assert everything.read(f"{directory}/max_tgt_dev_commands") == "64\n"
    assert "cluster_mode" in everything.names(directory)
    await everything.write("handlers/dev_disk_perf/mgmt", f"add_device {ADDRESS}\n")
    assert everything.link(f"{directory}/handler") == "../../handlers/dev_disk_perf"
    assert everything.read(f"{directory}/threads_num") == "0\n"
    await everything.write("handlers/dev_disk_perf/mgmt", f"del_device {ADDRESS}\n")
    assert "threads_num" not in everything.names(directory)
    assert everything.read(f"{directory}/max_tgt_dev_commands") == "0\n"


@pytest.mark.parametrize(
    ("handler", "command"),
    [
        ("dev_disk", "add_device"),
        ("dev_disk", "add_device 9:9:9:9"),
        ("dev_disk", "add_device nonsense"),
        ("dev_disk", "add_device null1"),
        ("dev_disk", f"add_device {ADDRESS} more"),
        ("dev_disk", f"nonsense {ADDRESS}"),
        ("dev_disk", f"del_device {ADDRESS}"),
        ("dev_tape", f"add_device {ADDRESS}"),
    ],
)
async def test_what_is_refused_about_scsi_devices(
    everything: Whole, handler: str, command: str
) -> None:
    add_scsi_device(everything)
    await everything.add_null("null1")
    assert await everything.refusal(f"handlers/{handler}/mgmt", f"{command}\n") == "EINVAL"
    assert "handler" not in everything.names(f"devices/{ADDRESS}")


async def test_cluster_mode_of_scsi_disks(everything: Whole) -> None:
    add_scsi_device(everything)
    await everything.write(DISK, f"add_device {ADDRESS}\n")
    name = f"devices/{ADDRESS}/cluster_mode"
    await everything.write(name, "1\n")
    assert everything.read(name) == "1\n[key]\n"
    assert await everything.refusal(name, "2\n") == "EINVAL"
    assert everything.result == "-22"
    assert await everything.refusal(f"devices/{ADDRESS}/pr_file_name", "/x\n") == "EPERM"
