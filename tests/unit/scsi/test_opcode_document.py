from __future__ import annotations

from pathlib import Path

from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.opcode_document import document
from scstfs.scsi.opcodes import DeviceType, Feature

PAGE = Path(__file__).parents[3] / "docs" / "opcodes.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == document(), "make docs"


def test_every_command_that_is_served_is_on_the_page() -> None:
    page = document()
    every = Feature.THIN | Feature.EXPLICIT_ALUA | Feature.TOKEN_COPY
    missing = [
        row.name
        for device_type in (DeviceType.DISK, DeviceType.CD_ROM)
        for row in opcode_table(device_type, every).reported()
        if f"| {row.name} |" not in page and row.execute != "log_refused"
    ]
    assert not missing


def test_no_line_but_those_of_tables_is_long() -> None:
    assert not [line for line in document().splitlines() if len(line) > 100 and line[0] != "|"]


def test_one_row() -> None:
    assert "| `89` | COMPARE AND WRITE | 16 | out |  | yes | atomic |  |  |" in document()
