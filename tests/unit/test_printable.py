from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.printable import printable


@given(st.text())
def test_no_name_reaches_the_terminal_as_a_command(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert shown == name or "\\" in shown


def test_names_that_are_not_utf_8_are_escaped() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert printable(name) == "caf\\udce9"
    assert printable("a\x1b[31m\n") == "a\\x1b[31m\\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain ä", "plain ä"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\udcff\x1b[2J", "\\udcff\\x1b[2J"),
    ],
)
def test_what_is_escaped(text: str, line: str) -> None:
    assert printable(text) == line
