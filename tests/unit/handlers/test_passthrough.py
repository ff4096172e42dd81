from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.handlers.passthrough import ScsiBus, find, pass_through_handlers, scan
from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.local import open_session
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import decode
from scstfs.sysfs.errors import SysfsError
from tests.support.scsi_devices import Machine
from tests.support.scsi_unit import FakeUnit
from tests.support.whole import Whole

PLACE = "pci0000:00/ata2/host1/target1:0:0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "sys")


def test_handlers() -> None:
    handlers = {handler.name: handler for handler in pass_through_handlers()}
    assert sorted(handlers) == [
        "dev_cdrom",
        "dev_changer",
        "dev_disk",
        "dev_disk_perf",
        "dev_modisk",
        "dev_modisk_perf",
        "dev_processor",
        "dev_raid",
        "dev_tape",
        "dev_tape_perf",
    ]
    assert handlers["dev_disk"].trace is handlers["dev_disk_perf"].trace
    assert handlers["dev_disk_perf"].threads_num == 0


# Looking for devices


def test_a_scan_tells_what_devices_are(machine: Machine) -> None:
    machine.plug("1:0:0:0", 5, PLACE)
    assert scan(machine.scsi_devices) == {
        "1:0:0:0": FoundDevice(
            type=DeviceType.CD_ROM,
            path=f"../../devices/{PLACE}/1:0:0:0/scsi_device/1:0:0:0",
            vendor=b"Linux",
            model=b"scsi_debug",
            revision=b"0191",
        )
    }


def test_a_machine_without_scsi(machine: Machine) -> None:
    assert scan(machine.scsi_devices) == {}


def test_what_can_not_be_examined_is_left_out(machine: Machine) -> None:
    machine.plug("1:0:0:0", 0, PLACE)
    machine.plug("1:0:0:1", 77, PLACE)
    machine.plug("1:0:0:2", 0, PLACE)
    (machine.root / "devices" / PLACE / "1:0:0:2" / "type").unlink()
    machine.plug("nonsense", 0, PLACE)
    assert list(scan(machine.scsi_devices)) == ["1:0:0:0"]


def test_a_device_that_does_not_tell_its_maker(machine: Machine) -> None:
    machine.plug("1:0:0:0", 0, PLACE)
    for name in ("vendor", "model", "rev"):
        (machine.root / "devices" / PLACE / "1:0:0:0" / name).unlink()
    assert scan(machine.scsi_devices)["1:0:0:0"].vendor == b""


async def test_devices_follow_the_machine(everything: Whole, machine: Machine) -> None:
    bus = ScsiBus(everything.scst, machine.scsi_devices)
    await bus.rescan()
    assert everything.names("devices") == []
    machine.plug("1:0:0:0", 0, PLACE)
    machine.plug("1:0:0:1", 0, PLACE)
    await bus.rescan()
    assert everything.names("devices") == ["1:0:0:0", "1:0:0:1"]
    kept = everything.scst.devices["1:0:0:1"]
    machine.unplug("1:0:0:0")
    await bus.rescan()
    assert everything.names("devices") == ["1:0:0:1"]
    assert everything.scst.devices["1:0:0:1"] is kept


async def test_another_device_at_an_address_is_another_device(
    everything: Whole, machine: Machine
) -> None:
    bus = ScsiBus(everything.scst, machine.scsi_devices, FakeUnit().opener)
    machine.plug("1:0:0:0", 0, PLACE)
    await bus.rescan()
    await everything.write("handlers/dev_disk/mgmt", "add_device 1:0:0:0\n")
    (machine.root / "devices" / PLACE / "1:0:0:0" / "type").write_text("5\n")
    await bus.rescan()
    assert everything.read("devices/1:0:0:0/type") == "5 - CD-ROM device\n"
    assert "handler" not in everything.names("devices/1:0:0:0")


@pytest.mark.logs("SCSI devices cannot be looked for: .*Not a directory")
async def test_what_can_not_be_listed_stays(everything: Whole, machine: Machine) -> None:
    machine.plug("1:0:0:0", 0, PLACE)
    await ScsiBus(everything.scst, machine.scsi_devices).rescan()
    no_directory = machine.scsi_devices / "1:0:0:0/device/type"
    await ScsiBus(everything.scst, no_directory).rescan()
    assert everything.names("devices") == ["1:0:0:0"]


async def test_virtual_devices_are_left_alone(everything: Whole, machine: Machine) -> None:
    await everything.add_null("null1")
    await ScsiBus(everything.scst, machine.scsi_devices).rescan()
    assert everything.names("devices") == ["null1"]


@pytest.mark.parametrize("address", ["1:0:0:0", "01:0:0:00", "1:0:0:0x"])
async def test_addresses(everything: Whole, address: str) -> None:
    found = FoundDevice(DeviceType.DISK, "")
    device = ScsiDevice(everything.scst, "1:0:0:0", found, FakeUnit().opener)
    everything.scst.devices["1:0:0:0"] = device
    assert find(everything.scst, address) is device


@pytest.mark.parametrize("address", ["1:0:0", "1:0:0:1", "x:0:0:0", "", "null1"])
async def test_addresses_of_nothing(everything: Whole, address: str) -> None:
    await everything.add_null("null1")
    with pytest.raises(SysfsError) as caught:
        find(everything.scst, address)
    assert caught.value.errno == 22


async def test_a_device_without_a_handler_is_no_logical_unit(
    everything: Whole, machine: Machine
) -> None:
    machine.plug("1:0:0:0", 0, PLACE)
    await ScsiBus(everything.scst, machine.scsi_devices).rescan()
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", "add 1:0:0:0 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(0, bytes(6))
    condition = decode((await session.execute(0, bytes(6))).sense)
    assert condition is not None
    assert condition.triple == (5, 0x25, 0)
    inquiry = await session.execute(0, bytes.fromhex("120000002400"))
    assert inquiry.data[0] == 0x7F
