"""Text for users: coloured and fitted to a terminal, elsewhere plain and unwrapped."""

from __future__ import annotations

import io
from typing import Final, Literal, TextIO

from rich.console import Console, RenderableType
from rich.table import Table

_WIDE: Final = 10_000
"""Width at which nothing is wrapped."""

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: int) -> str:
    """A number of bytes, such as ``64 MiB`` or ``1.5 GiB``."""
    value = float(count)
    unit = 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    number = f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"
    return f"{number} {_UNITS[unit]}"


def several(count: int, one: str, many: str = "") -> str:
    """A count with its noun, such as ``1 session`` or ``1,000 sessions``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def table(*headings: tuple[str, Literal["left", "right"]]) -> Table:
    """An empty table without lines; cells that are too long continue in the next line."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in headings:
        made.add_column(heading, justify=justify, overflow="fold")
    return made


def tolerant(file: TextIO) -> TextIO:
    """The file, changed to write characters that its encoding lacks as escape sequences."""
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="backslashreplace")
    return file


def show(file: TextIO, *parts: RenderableType) -> None:
    """Print. Raises OSError, mainly BrokenPipeError."""
    if file.isatty():
        Console(file=file, highlight=False, markup=False).print(*parts, sep="\n")
        return
    buffer = io.StringIO()
    plain = Console(file=buffer, width=_WIDE, color_system=None, highlight=False, markup=False)
    plain.print(*parts, sep="\n")
    file.write("".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines()))
    file.flush()
