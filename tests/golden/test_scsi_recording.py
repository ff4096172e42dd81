"""The answers that SCST 3.10 gave to 150 CDBs on each of eleven devices, from the whole core.

Every device gets its commands in file order, so that earlier ones (writes, MODE SELECT) show in
later answers.  ``DIFFERENCES`` is what we answer differently and why: the test fails when another
difference appears and when one of these disappears.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scstfs.handlers.medium_change import change_medium
from tests.support.loop import loop_device
from tests.support.target import Initiator, Result, System, target

RECORDING = Path(__file__).parents[1] / "data" / "oracle" / "scsi.jsonl"
MIB = 1 << 20

#: In the order of their LUNs.
DEVICES = (
    "fio512",
    "fio4k",
    "fiowt",
    "fioro",
    "fiorem",
    "fiothin",
    "fiossd",
    "blk512",
    "null512",
    "cdempty",
    "cdfull",
)
DISKS = frozenset(name for name in DEVICES if not name.startswith("cd"))
THIN = frozenset(("fiothin", "blk512"))
NULLIO = frozenset(("null512",))
DRIVES = frozenset(("cdempty", "cdfull"))
LOADED = frozenset(("cdfull",))

SERVED = "served, where SCST refuses it"
READS_ZERO = "says that what was given back reads as zeros (LBPRZ)"
CAPABILITIES = "has mode page 2Ah, about the drive"
LISTED = "lists what is served besides"
CLEAN = "reads give zeros, not what a buffer happened to hold"

#: Commands whose answers differ, with the reason.
DIFFERENCES: dict[str, tuple[frozenset[str], str]] = {
    "request sense desc": (DISKS | LOADED, "comes in descriptor format, as was asked for"),
    "vpd 8f": (DISKS, SERVED),
    "vpd b0": (
        DISKS,
        "how large a WRITE ATOMIC may be, which SCST refuses; and how many extents an UNMAP can "
        "really have, where SCST says that there is no limit",
    ),
    "vpd b2": (THIN, READS_ZERO),
    "read capacity 16": (THIN, READS_ZERO),
    "get lba status": (THIN, SERVED),
    "log sense 00": (DISKS, SERVED),
    "report supported opcodes": (DISKS, LISTED),
    "report supported opcodes rctd": (DISKS, LISTED),
    "report identifying info": (DISKS, SERVED),
    "report timestamp": (DISKS, SERVED),
    "pre-fetch 10": (DISKS, SERVED),
    "read defect data 10": (DISKS, SERVED),
    "receive diagnostic": (DISKS, SERVED),
    "receive copy rod token": (
        DISKS,
        "served; an unknown list identifier is INVALID FIELD IN CDB, too, but of another field",
    ),
    "orwrite 16": (DISKS, SERVED),
    "sanitize": (
        DISKS,
        "SANITIZE is served, but not with CRYPTOGRAPHIC ERASE: INVALID FIELD IN CDB",
    ),
    "read toc msf": (LOADED, "addresses are minutes, seconds and frames, as was asked for"),
    "get configuration": (DRIVES, SERVED),
    "get event status": (DRIVES, SERVED),
    "mechanism status": (DRIVES, SERVED),
    "read disc information": (LOADED, SERVED),
    "mode sense 6 2a": (LOADED, CAPABILITIES),
    "mode sense 6 all": (LOADED, CAPABILITIES),
    "mode sense 6 all dbd": (LOADED, CAPABILITIES),
    "mode sense 6 changeable": (LOADED, CAPABILITIES),
    "mode sense 6 default": (LOADED, CAPABILITIES),
    "mode sense 6 saved": (LOADED, CAPABILITIES),
    "mode sense 6 short": (LOADED, CAPABILITIES),
    "mode sense 10 all": (LOADED, CAPABILITIES),
    "mode sense 10 llbaa": (LOADED, CAPABILITIES),
    "read10 lba0": (NULLIO, CLEAN),
    "read6 lba0": (NULLIO, CLEAN),
    "read12 lba0": (NULLIO, CLEAN),
    "read16 lba0": (NULLIO, CLEAN),
    "read10 fua": (NULLIO, CLEAN),
    "read10 beyond": (NULLIO, CLEAN),
    "read10 crossing the end": (NULLIO, CLEAN),
}


def rows(device: str) -> Iterator[dict[str, str]]:
    with RECORDING.open() as lines:
        for line in lines:
            row = json.loads(line)
            if row["device"] == device:
                yield row


def data_out(argument: str) -> bytes:
    """``COUNT*HEX`` or ``HEX``."""
    count, star, pattern = argument.partition("*")
    return bytes.fromhex(pattern) * int(count) if star else bytes.fromhex(argument)


async def send(initiator: Initiator, row: dict[str, str], lun: int) -> Result:
    direction, _, argument = row["transfer"].partition(" ")
    return await initiator.execute(
        bytes.fromhex(row["cdb"]),
        data_out(argument) if direction == "out" else b"",
        int(argument) if direction == "in" else None,
        lun=lun,
    )


async def add(system: System, name: str, loop: str | None) -> None:
    """Create one of the recorded devices, under the next LUN."""
    disks: dict[str, dict[str, object]] = {
        "fio512": {},
        "fio4k": {"blocksize": 4096, "nv_cache": 1},
        "fiowt": {"write_through": 1},
        "fioro": {"read_only": 1},
        "fiorem": {"removable": 1},
        "fiothin": {"thin_provisioned": 1},
        "fiossd": {"rotational": 0},
    }
    if name in disks:
        await system.add_disk(name, size=64 * MIB, **disks[name])
    elif name == "blk512":
        await system.add("vdisk_blockio", name, filename=loop)
    elif name == "null512":
        await system.add("vdisk_nullio", name)
    else:
        drive = await system.add("vcdrom", name)
        if name == "cdfull":
            image = system.directory / "image"
            image.write_bytes(bytes(3 * MIB))
            await change_medium(drive, str(image))
            # The recorded drive had reported its medium before: the change is not reported again.
            drive.medium.changed = False


@pytest.mark.parametrize("name", DEVICES)
async def test_every_recorded_answer(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        loop = None
        if name == "blk512":
            file = tmp_path / "loop"
            file.touch()
            with file.open("r+b") as opened:
                opened.truncate(64 * MIB)
            loop = stack.enter_context(loop_device(file))
        async with target(tmp_path) as system:
            for other in DEVICES:
                # What is behind the other LUNs does not matter; that they exist does.
                if other == name:
                    await add(system, name, loop)
                else:
                    await system.add("vdisk_nullio", other)
            initiator = system.initiator()
            found, count = {}, 0
            for row in rows(name):
                result = await send(initiator, row, DEVICES.index(name))
                recorded = (int(row["status"]), row["sense"], row["data_in"])
                if (result.status, result.sense.hex(), result.data.hex()) != recorded:
                    found[row["name"]] = result
                count += 1
    expected = {command for command, (devices, _) in DIFFERENCES.items() if name in devices}
    assert set(found) == expected, {key: found.get(key) for key in set(found) ^ expected}
    assert count > 140


def test_the_recording_is_complete() -> None:
    assert sum(1 for name in DEVICES for _ in rows(name)) == 1646
