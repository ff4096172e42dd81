"""Every answer SCST 3.10 gave to the recorded CDBs, from the pure package.

The recording has eleven devices, each given the same commands in file order.  `CORRECTED` names the
answers in which SCST is wrong, `EXTENDED` those that differ because we serve what SCST refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.scsi.identity import VENDOR_BLOCK, VENDOR_FILE, default_identity
from scstfs.scsi.modes import ModePages
from scstfs.scsi.opcodes import DeviceType, Direction
from scstfs.scsi.unit import SAS_TRANSPORT, LogicalUnit, Port, ThinLimits

from .extended_unit import ExtendedUnit
from .recorded_unit import Answer, RecordedUnit

RECORDING = Path(__file__).parents[2] / "data" / "oracle" / "scsi.jsonl"
PORT = Port(transport_version=SAS_TRANSPORT)
LUNS = tuple(range(11))
MIB = 1024 * 1024

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

# vdisk_nullio returns what the buffer happened to hold, and compares with that; the others that
# read happened to get zeros.
NULLIO_DATA = frozenset(
    (
        "read10 beyond",
        "read10 crossing the end",
        "compare and write match",
        "verify 10 bytchk differ",
    )
)


# Descriptor format, as the CDB says.
DESC = frozenset(("request sense desc",))

# Addresses in the requested form; mode page 2Ah.
CORRECTED_CD = frozenset(
    (
        "read toc msf",
        "mode sense 6 2a",
        "mode sense 6 all",
        "mode sense 6 all dbd",
        "mode sense 6 changeable",
        "mode sense 6 default",
        "mode sense 6 saved",
        "mode sense 6 short",
        "mode sense 10 all",
        "mode sense 10 llbaa",
    )
)
CORRECTED = dict.fromkeys(DEVICES, DESC) | {
    "null512": DESC | NULLIO_DATA,
    "cdempty": frozenset(),
    "cdfull": DESC | CORRECTED_CD,
}


def device(name: str) -> RecordedUnit:
    vendor = VENDOR_BLOCK if name == "blk512" else VENDOR_FILE
    cd_rom = name.startswith("cd")
    block_size = 2048 if cd_rom else 4096 if name == "fio4k" else 512
    size = {"null512": 2748779069440, "cdempty": 0, "cdfull": 3 * MIB}.get(name, 64 * MIB)
    thin = {
        "fiothin": ThinLimits.of_file(512),
        "blk512": ThinLimits(max_unmap_blocks=0x7FFFFF, granularity=8),
    }
    device_type = DeviceType.CD_ROM if cd_rom else DeviceType.DISK
    unit = LogicalUnit(
        identity=default_identity(name.encode(), vendor=vendor),
        device_type=device_type,
        blocks=size // block_size,
        block_size=block_size,
        removable=cd_rom or name == "fiorem",
        rotational=name != "fiossd",
        volatile_cache=name not in ("fiowt", "fio4k"),
        thin=thin.get(name),
        physical_block_size=512 if name == "blk512" else 4096,
    )
    modes = ModePages(
        device_type=device_type,
        nv_cache=name == "fio4k",
        fixed_cache=name == "null512",
        write_through=name == "fiowt",
    )
    return RecordedUnit(
        unit,
        PORT,
        modes,
        read_only=cd_rom or name == "fioro",
        early_range=name not in ("blk512", "null512"),
        luns=LUNS,
    )


def outgoing(transfer: str) -> bytes:
    """The data-out of a line of the recording, some of which is written short."""
    argument = transfer.partition(" ")[2]
    if "*" in argument:
        count, _, pattern = argument.partition("*")
        return bytes.fromhex(pattern) * int(count)
    return bytes.fromhex(argument)


def rows(name: str) -> Iterator[dict[str, str]]:
    with RECORDING.open() as lines:
        for line in lines:
            row = json.loads(line)
            if row["device"] == name:
                yield row


def replay(unit: RecordedUnit, name: str) -> dict[str, tuple[Answer, Answer]]:
    """Expected and actual answer by the name of the command."""
    answers = {}
    for row in rows(name):
        kind, _, argument = row["transfer"].partition(" ")
        direction = Direction(kind)
        data = b"" if direction is not Direction.OUT else outgoing(row["transfer"])
        expected = int(argument) if direction is Direction.IN else len(data)
        actual = unit.execute(bytes.fromhex(row["cdb"]), direction, data, expected)
        recorded = Answer(
            int(row["status"]), bytes.fromhex(row["sense"]), bytes.fromhex(row["data_in"])
        )
        answers[row["name"]] = recorded, actual
    return answers


def differing(answers: dict[str, tuple[Answer, Answer]]) -> set[str]:
    return {command for command, (recorded, actual) in answers.items() if recorded != actual}


@pytest.mark.parametrize("name", DEVICES)
def test_every_recorded_answer(name: str) -> None:
    answers = replay(device(name), name)
    assert differing(answers) == CORRECTED[name]
    assert len(answers) == (146 if name == "null512" else 150)


# What we serve and SCST refuses: these answers, and no others, are not the recorded ones.
EXTENDED = frozenset(
    (
        "report supported opcodes",
        "report supported opcodes rctd",
        "log sense 00",
        "pre-fetch 10",
        "read defect data 10",
        "receive diagnostic",
        "orwrite 16",
        "sanitize",
        "report identifying info",
        "report timestamp",
    )
)
EXTENDED_THIN = EXTENDED | {"get lba status"}
EXTENDED_EMPTY = frozenset(("get configuration", "get event status", "mechanism status"))
EXTENDED_CD = EXTENDED_EMPTY | {"read disc information"}
EXTENDED_BY_NAME = {
    "fiothin": EXTENDED_THIN,
    "blk512": EXTENDED_THIN,
    "cdempty": EXTENDED_EMPTY,
    "cdfull": EXTENDED_CD,
}


@pytest.mark.parametrize("name", DEVICES)
def test_extensions_change_these_answers_and_no_others(name: str) -> None:
    plain = device(name)
    extended = ExtendedUnit(
        plain.unit, plain.port, plain.modes, plain.read_only, plain.early_range, LUNS, True
    )
    different = differing(replay(extended, name))
    assert different == EXTENDED_BY_NAME.get(name, EXTENDED) | CORRECTED[name]
