"""The recording of SCSI devices of the machine, replayed with a /sys of our own."""

from __future__ import annotations

from pathlib import Path

from scstfs.handlers.passthrough import ScsiBus
from tests.support.recordings import SCST_USER, Record, differences, load, scenario
from tests.support.replay import Replay
from tests.support.scsi_devices import Machine
from tests.support.scsi_unit import FakeUnit
from tests.support.whole import whole

# pr_file_name contains the state directory, which is another one here.
LEFT_OUT = [SCST_USER, "/pr_file_name$"]


async def replay(directory: Path) -> list[str]:
    machine = Machine(directory / "sys")
    machine.plug("1:0:0:0", 5, "pci0000:00/0000:00:01.1/ata2/host1/target1:0:0")
    async with whole(directory / "state") as everything:
        bus = ScsiBus(everything.scst, machine.scsi_devices, FakeUnit().opener)

        async def shell(command: str) -> Record:
            for address in ("2:0:0:0", "2:0:0:1"):
                if command.startswith("modprobe -r"):
                    machine.unplug(address)
                else:
                    machine.plug(address, 0, "pseudo_0/adapter0/host2/target2:0:0")
            await bus.rescan()
            return {"rc": 0, "out": "", "err": ""}

        await bus.rescan()
        actual = await Replay(everything.tree, shell).run(scenario("09_passthrough"))
    return differences(load("09_passthrough"), actual, LEFT_OUT)


async def test_scsi_devices_show_as_recorded(tmp_path: Path) -> None:
    found = await replay(tmp_path)
    assert not found, "\n".join(found[:60])
