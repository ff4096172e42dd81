from __future__ import annotations

import io

import pytest
from rich.padding import Padding
from rich.text import Text

from scstfs.admin import display


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64 MiB"),
        (2748779069440, "2.5 TiB"),
        (123456789, "118 MiB"),
        (1 << 60, "1 EiB"),
        (1 << 70, "1024 EiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert display.size(count) == words


def test_counts_have_nouns() -> None:
    assert display.several(1, "session") == "1 session"
    assert display.several(1000, "session") == "1,000 sessions"
    assert display.several(2, "thing needs", "things need") == "2 things need"


def test_without_a_terminal_text_is_plain_and_not_wrapped() -> None:
    file = io.StringIO()
    long = "x" * 500
    table = display.table(("name", "left"), ("size", "right"))
    table.add_row(Text(long), "1")
    display.show(file, Text("[bold]", style="red"), Padding(table, (0, 0, 0, 2)))
    first, heading, row = file.getvalue().splitlines()
    assert first == "[bold]"
    assert heading.split() == ["name", "size"]
    assert row == f"  {long}     1"
