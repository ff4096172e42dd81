"""docs/differences.md lists all differences, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.core import waiting
from scstfs.core.device import MAX_TRANSFER
from scstfs.drivers.iscsi import session_table, shared
from scstfs.handlers import atomic
from scstfs.handlers.scsi_transfer import NO_ANSWER
from scstfs.iscsi import login
from scstfs.layout import LAYOUT
from scstfs.persist import reservations
from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.commands import EXTENSIONS
from scstfs.scsi.opcodes import DeviceType, Feature
from scstfs.scsi.sense import ABORTED, COMMAND_TIMEOUT
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import EachAttr, declared
from tests.golden.test_scsi_recording import DIFFERENCES
from tests.support.recordings import SCST_USER

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "differences.md").read_text()


def section(title: str) -> str:
    """The text below a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def rows(title: str) -> Iterator[list[str]]:
    """The cells of each row of the table in a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_every_command_that_scst_refuses_is_listed_in_order() -> None:
    features = Feature.THIN | Feature.EXPLICIT_ALUA | Feature.TOKEN_COPY
    commands = [
        row
        for device_type in (DeviceType.DISK, DeviceType.CD_ROM)
        for row in opcode_table(device_type, features).commands()
    ]
    served = {
        f"`{row.code:02x}" + ("" if row.service_action is None else f"/{row.service_action:02x}"): (
            row.name
        )
        for row in commands
        if row.extension and row.execute != "invalid_service_action"
    }
    listed = {
        cells[0].rstrip("`"): cells[1] for cells in rows("SCSI commands served that SCST refuses")
    }
    assert listed == served
    assert list(listed) == sorted(listed)
    assert set(served.values()) <= {row.name for row in EXTENSIONS}


def test_every_recorded_answer_that_differs_is_listed() -> None:
    listed = [cells[0].strip("`") for cells in rows("Recorded answers that differ")]
    assert sorted(listed) == sorted(DIFFERENCES)


def without_effect() -> set[str]:
    """The attributes that say so of themselves."""
    found = set()
    for path, entry in declared(LAYOUT.root()):
        attr = entry.attr if isinstance(entry, EachAttr) else entry
        if isinstance(attr, Attr) and attr.effect.startswith("none"):
            found.add(path.rpartition("/")[2])
    return found


def test_every_attribute_without_effect_is_listed() -> None:
    listed = re.search(r"^These attributes.*?\n\n", section("The tree"), re.DOTALL | re.MULTILINE)
    assert listed is not None
    assert sorted(re.findall(r"`(\w+)`", listed[0])) == sorted(without_effect())


def test_what_the_recordings_have_and_the_tree_has_not_is_listed() -> None:
    assert SCST_USER == "^handlers/scst_user"
    assert "`handlers/scst_user`" in section("What only a kernel can own")


def test_the_answers_for_devices_that_do_not_answer_are_those_that_are_told() -> None:
    told = set(re.findall(r"\((./../..)\)", section("Pass-through")))
    triples = (one.triple for one in (COMMAND_TIMEOUT, ABORTED, NO_ANSWER))
    assert told == {f"{key:x}/{asc:02x}/{ascq:02x}" for key, asc, ascq in triples}


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("Waits for running commands of initiators at most {:.0f} s, then EBUSY", waiting.SECONDS),
        ("{:.0f} s for a login", login.TIMEOUT),
        ("at most {:,} logins", shared.MAX_LOGINS),
        ("{:,} discovery sessions at a time", session_table.MAX_DISCOVERIES),
        ("{} MiB, then INVALID FIELD IN CDB", MAX_TRANSFER >> 20),
        ("Up to {} MiB is written completely or not at all", atomic.MOST_BYTES >> 20),
        ("Reservations whose file would be {} MiB or more", reservations.MAX_SIZE >> 20),
    ],
)
def test_the_limits_are_those_that_are_told(told: str, number: float) -> None:
    assert told.format(number) in PAGE
