"""A report as text: a line for each row, with the columns that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from scstfs.admin.display import several
from scstfs.admin.kinds import INTERNAL_DRIVER
from scstfs.admin.top.rates import Rates
from scstfs.admin.top.report import Page, Report, Row, View
from scstfs.printable import printable

_UNKNOWN: Final = "-"
_CELL: Final = 6
_ROOM_FOR_NAMES: Final = 40
"""Width for names before less important columns are shown."""


def amount(value: float, base: int = 1000) -> str:
    """A number in at most five characters, such as ``0.5``, ``999``, ``12.3k`` or ``1.2M``."""
    suffixes = iter(("", "k", "M", "G", "T", "P"))
    suffix = next(suffixes)
    while value >= 999.5 and suffix != "P":
        value /= base
        suffix = next(suffixes)
    is_whole = value >= 99.95 or value == int(value)
    return f"{value:.0f}{suffix}" if is_whole else f"{value:.1f}{suffix}"


def duration(microseconds: float | None) -> str:
    """A time in at most five characters, such as ``85us``, ``1.2ms`` or ``3.4s``."""
    if microseconds is None:
        return _UNKNOWN
    if microseconds < 999.5:
        return f"{microseconds:.0f}us"
    value, unit = microseconds / 1e3, "ms"
    if value >= 999.5:
        value, unit = value / 1e3, "s"
    return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.1f}{unit}"


def _rate(rate: Callable[[Rates], float], base: int = 1000) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if row.rates is None:
            return _UNKNOWN
        return f"{'~' * row.is_estimated}{amount(rate(row.rates), base)}"

    return cell


class _Column(NamedTuple):
    """A column of numbers."""

    heading: str
    cell: Callable[[Row], str]
    is_extra: bool = False


_COLUMNS: Final = (
    _Column("r/s", _rate(lambda rates: rates.reads)),
    _Column("w/s", _rate(lambda rates: rates.writes)),
    _Column("else/s", _rate(lambda rates: rates.others), is_extra=True),
    _Column("rB/s", _rate(lambda rates: rates.read_bytes, 1024)),
    _Column("wB/s", _rate(lambda rates: rates.write_bytes, 1024)),
    _Column("depth", lambda row: amount(row.depth)),
    _Column("r time", lambda row: duration(row.read_us)),
    _Column("w time", lambda row: duration(row.write_us)),
)

_NAMES: Final[Mapping[View, tuple[str, str]]] = {
    View.SESSIONS: ("session", "{driver}/{target} {session}"),
    View.LUNS: ("LUN", "{session} {lun}: {device}"),
    View.DEVICES: ("device", "{device}"),
    View.TARGETS: ("target", "{driver}/{target}"),
}
"""Heading and name of a row. Long names lose their beginning, so the distinguishing part comes
last.
"""


def _fit(name: str, width: int) -> str:
    """The name in *width* columns."""
    room = cell_len(name)
    if room > width:
        name = name[-width + 1 :]
        while cell_len(name) >= width:
            name = name[1:]
        name = f"…{name}"
        room = cell_len(name)
    return name + " " * (width - room)


_ESTIMATES: Final = "~ and -: SCST counts by session, not by LUN"


def _line(text: str, style: str = "") -> Text:
    """A line that is never wrapped."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def render(report: Report, page: Page, mountpoint: str) -> list[Text]:
    """The lines of a report."""
    columns = _columns(page.width)
    lines = list(_summary(report, columns, mountpoint))
    rows = report.ordered(page.view, page.order)
    if not page.all:
        rows = [row for row in rows if not (row.is_idle and _is_internal(row))]
    busy = shown = rows if page.all else [row for row in rows if not row.is_idle]
    notes = [_ESTIMATES] if any(row.is_estimated for row in shown) else []
    if page.height is not None:
        heading_and_rest = 2
        shown = shown[: max(page.height - len(lines) - len(notes) - heading_and_rest, 0)]
    lines += _table(shown, columns, page)
    lines += [_line(note, "dim") for note in notes]
    if len(shown) < len(rows):
        less, idle = len(busy) - len(shown), len(rows) - len(busy)
        rest = [f"{several(less, 'more that does', 'more that do')} less"] if less else []
        rest += [f"{idle:,} idle"] if idle else []
        lines.append(_line(f"and {', '.join(rest)}" if shown else ", ".join(rest), "dim"))
    return lines


def _is_internal(row: Row) -> bool:
    """Whether it is the copy manager's, which always exists; status does not count it, either."""
    return row.name.get("driver") == INTERNAL_DRIVER


def _columns(width: int | None) -> Sequence[_Column]:
    """The columns that fit into *width* columns of the terminal."""
    if width is None or width - len(_COLUMNS) * (_CELL + 1) >= _ROOM_FOR_NAMES:
        return _COLUMNS
    return [column for column in _COLUMNS if not column.is_extra]


def _summary(report: Report, columns: Sequence[_Column], mountpoint: str) -> Iterator[Text]:
    total = report.total
    words = (
        f"{report.when:%H:%M:%S}",
        several(sum(not _is_internal(row) for row in report.rows[View.SESSIONS]), "session"),
        *(
            f"{column.cell(total)} {column.heading}"
            for column in columns
            if not column.heading.endswith("time")
        ),
    )
    yield _line("  ".join(words), "bold")
    if not report.is_measuring:
        yield _line(f"no latencies: measure them by echo 1 >{mountpoint}/measure_latency", "dim")


def _table(rows: Sequence[Row], columns: Sequence[_Column], page: Page) -> Iterator[Text]:
    heading, template = _NAMES[page.view]
    names = [
        template.format(**{key: printable(str(value)) for key, value in row.name.items()})
        for row in rows
    ]
    if page.width is None:
        width = max(map(cell_len, [heading, *names]))
    else:
        width = max(page.width - len(columns) * (_CELL + 1), len(heading))
    headings = "".join(f" {column.heading:>{_CELL}}" for column in columns)
    yield _line(_fit(heading, width) + headings, "reverse")
    for row, name in zip(rows, names, strict=True):
        cells = "".join(f" {column.cell(row):>{_CELL}}" for column in columns)
        yield _line(_fit(name, width) + cells)
