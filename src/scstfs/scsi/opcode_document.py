"""docs/opcodes.md, made of the table of commands: ``python -m scstfs.scsi.opcode_document``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.foreign_commands import FOREIGN_COMMANDS
from scstfs.scsi.opcodes import (
    CommandRow,
    DeviceType,
    Feature,
    Field,
    Flag,
    Shape,
    type_letters,
)

_EVERYTHING: Final = Feature.THIN | Feature.EXPLICIT_ALUA | Feature.TOKEN_COPY

#: The executors of commands that are not served.
_REFUSED: Final = frozenset(
    ("invalid_opcode", "invalid_service_action", "internal_target_failure", "log_refused")
)

_INTRODUCTION: Final = """\
# Commands

`make docs` makes this page from the table that decodes CDBs, decides what may pass a reservation,
and answers REPORT SUPPORTED OPERATION CODES. [differences.md](differences.md) explains what differs
from SCST.

- **Code**: operation code, and service action behind a slash; `+` marks commands that SCST 3.10
  refuses, at least in part.
- **Data**: from the initiator's side.
- **Others**: whether an initiator may send it while another one holds a reservation: `R` RESERVE,
  `W` a persistent reservation of a Write Exclusive type, `E` of an Exclusive Access type.
- **Order**: `alone` waits for all other commands and lets none begin, `serial` lets none begin,
  `atomic` lets no other command touch its blocks, `head` overtakes commands that wait.
- **Also**: served through target ports that are in `standby`, `unavailable` (and offline) or in
  `transition`; on a device that is not `active`; while the device is `busy` (FORMAT UNIT,
  SANITIZE).
"""

_FOREIGN_INTRODUCTION: Final = """\
Commands for the devices of dev_disk and other pass-through handlers are decoded by the rows \
above, if the device has that type, and by these rows; the first row that matches is used. Devices \
are the letters of T10's list of operation codes, * for all. LBA and Length are bytes of the CDB. \
Time is how long the command may take.
"""
_FOREIGN_HEADINGS: Final = (
    *("Code", "Command", "Devices", "Data", "LBA", "Length"),
    *("Others", "Writes", "Order", "Also", "Time"),
)
_HEADINGS: Final = ("Code", "Command", "CDB", "Data", "Others", "Writes", "Order", "Also", "Needs")

_OTHERS: Final = (
    (Flag.RESERVE_OK, "R"),
    (Flag.WRITE_EXCLUSIVE_OK, "W"),
    (Flag.EXCLUSIVE_ACCESS_OK, "E"),
)
_ALSO: Final = (
    (Flag.STANDBY_OK, "standby"),
    (Flag.UNAVAILABLE_OK, "unavailable"),
    (Flag.TRANSITIONING_OK, "transition"),
    (Flag.INACTIVE_OK, "inactive"),
    (Flag.FORMATTING_OK, "busy"),
)
_ORDER: Final = (
    (Flag.IMPLICIT_HEAD_OF_QUEUE, "head"),
    (Flag.STRICTLY_SERIALIZED, "alone"),
    (Flag.SERIALIZED, "serial"),
    (Flag.ATOMIC, "atomic"),
)
_TIME: Final = ((Flag.SMALL_TIMEOUT, "little"), (Flag.LONG_TIMEOUT, "much"))
#: Where the direction depends on the CDB.
_DATA: Final[Mapping[Shape, str]] = {
    Shape.VERIFY: "out if BYTCHK",
    Shape.FORMAT: "out if FMTDATA",
    Shape.WRITE_SAME: "out unless NDOB",
}
_NEEDS: Final = (
    (Feature.THIN, "thin provisioning"),
    (Feature.EXPLICIT_ALUA, "expl_alua"),
    (Feature.PROTECTION_TYPE_2, "protection information"),
)


def document() -> str:
    """The whole page."""
    disk = opcode_table(DeviceType.DISK, _EVERYTHING).commands()
    drive = opcode_table(DeviceType.CD_ROM).commands()
    return "\n".join(
        (
            _INTRODUCTION,
            _section("Disks: vdisk_fileio, vdisk_blockio, vdisk_nullio", _served(disk)),
            _section("CD-ROM drives: vcdrom", _served(drive)),
            _foreign(),
            _refused(disk, drive),
        )
    )


def _served(rows: Iterable[CommandRow]) -> list[CommandRow]:
    served = [row for row in rows if row.execute not in _REFUSED]
    return sorted(served, key=lambda row: (row.code, row.service_action or 0))


def _section(title: str, rows: Sequence[CommandRow]) -> str:
    lines = [f"## {title}", "", _line(_HEADINGS), _line("---" for _ in _HEADINGS)]
    lines += [_line(_cells(row)) for row in rows]
    return "\n".join(lines) + "\n"


def _foreign() -> str:
    rows = sorted(FOREIGN_COMMANDS, key=lambda row: row.code)
    lines = [
        "## SCSI devices of the machine",
        "",
        *textwrap.wrap(_FOREIGN_INTRODUCTION, 100),
        "",
        _line(_FOREIGN_HEADINGS),
        _line("---" for _ in _FOREIGN_HEADINGS),
    ]
    lines += [_line(_foreign_cells(row)) for row in rows]
    return "\n".join(lines) + "\n"


def _foreign_cells(row: CommandRow) -> tuple[str, ...]:
    code, name, _, data, others, writes, order, also, _ = _cells(row)
    length = f"{_place(row.length)} {row.unit.value}" if row.length else ""
    if row.fixed_length:
        length = f"{row.fixed_length} bytes"
    time = "".join(_words(_TIME, row.flags))
    where = _place(row.lba) if row.lba else ""
    types = type_letters(row.types)
    return code, name, types, data, where, length, others, writes, order, also, time


def _place(field: Field) -> str:
    """The bytes of the CDB that a field takes."""
    return f"{field.offset}" if field.size == 1 else f"{field.offset}-{field.last}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: CommandRow) -> tuple[str, ...]:
    order = _words(_ORDER, row.flags)
    if "alone" in order:
        order.remove("serial")
    writes = "yes" if row.flags & Flag.WRITES_MEDIUM else ""
    needs = [word for feature, word in _NEEDS if row.requires & feature]
    others = "".join(_words(_OTHERS, row.flags))
    if row.flags_when is not None:
        others += f" {''.join(_words(_OTHERS, row.flags_when.flags))} for some"
    return (
        _code(row) + (" +" if row.extension else ""),
        row.name,
        str(row.cdb_length),
        _DATA.get(row.shape, row.direction.value),
        others.strip(),
        writes,
        ", ".join(order),
        ", ".join(_words(_ALSO, row.flags)),
        ", ".join(needs),
    )


def _words(table: Iterable[tuple[Flag, str]], flags: Flag) -> list[str]:
    return [word for flag, word in table if flags & flag]


def _code(row: CommandRow) -> str:
    action = "" if row.service_action is None else f"/{row.service_action:02x}"
    return f"`{row.code:02x}{action}`"


def _refused(*tables: Iterable[CommandRow]) -> str:
    names = {
        (row.code, row.service_action or 0): f"{_code(row)} {row.name}"
        for rows in tables
        for row in rows
        if row.execute in _REFUSED
    }
    listed = "; ".join(names[key] for key in sorted(names))
    text = f"""\
At least one kind of device refuses them, after all other checks, so a reservation conflict or a
unit attention is reported first. {listed}.
"""
    return f"## Known and refused\n\n{textwrap.fill(text, 100, break_on_hyphens=False)}\n"


if __name__ == "__main__":
    print(document(), end="")
