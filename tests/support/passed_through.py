"""A SCSI device of the machine in a whole scstfs, exported to sessions in this process."""

from __future__ import annotations

from scstfs.core import device_registration
from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.local import LocalSession, Result, open_session
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import decode
from tests.support.scsi_unit import FakeUnit
from tests.support.whole import Whole

ADDRESS = "1:0:0:0"
DIRECTORY = f"devices/{ADDRESS}"
HANDLERS = {
    DeviceType.DISK: "dev_disk",
    DeviceType.TAPE: "dev_tape",
    DeviceType.PROCESSOR: "dev_processor",
    DeviceType.CD_ROM: "dev_cdrom",
    DeviceType.OPTICAL: "dev_modisk",
    DeviceType.CHANGER: "dev_changer",
    DeviceType.RAID: "dev_raid",
}

TEST_UNIT_READY = bytes(6)
READ_2_AT_1 = bytes.fromhex("28000000000100000200")
WRITE_2_AT_1 = bytes.fromhex("2a000000000100000200")


def add(everything: Whole, unit: FakeUnit) -> ScsiDevice:
    found = FoundDevice(DeviceType(unit.kind), "../../devices/somewhere")
    device = ScsiDevice(everything.scst, ADDRESS, found, unit.opener)
    device_registration.appear(everything.scst, device)
    return device


async def export(everything: Whole, lun: str = "add 1:0:0:0 0") -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", f"{lun}\n")


async def opened(everything: Whole, name: str = "me") -> LocalSession:
    """A session without pending unit attentions."""
    session = open_session(everything.local.targets["t"], name)
    assert triple(await session.execute(0, TEST_UNIT_READY)) == (6, 0x29, 0)
    return session


async def exported(everything: Whole, unit: FakeUnit, lun: str = "add 1:0:0:0 0") -> LocalSession:
    """A session that has ``unit`` as its LUN 0, with a handler."""
    add(everything, unit)
    handler = HANDLERS[DeviceType(unit.kind)]
    await everything.write(f"handlers/{handler}/mgmt", f"add_device {ADDRESS}\n")
    await export(everything, lun)
    session = await opened(everything)
    unit.seen.clear()
    return session


def triple(result: Result) -> tuple[int, int, int] | None:
    condition = decode(result.sense)
    return None if condition is None else condition.triple
