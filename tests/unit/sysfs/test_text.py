from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.sysfs.text import (
    chomp,
    cut_at_nul,
    decode,
    encode,
    first_line,
    is_entry_name,
    kobject_name,
)


@given(st.binary())
def test_any_bytes_survive_as_text(data: bytes) -> None:
    assert encode(decode(data)) == data


@pytest.mark.parametrize(
    ("data", "string"),
    [(b"", b""), (b"abc", b"abc"), (b"ab\0c", b"ab"), (b"\0abc", b""), (b"a\n\0\0", b"a\n")],
)
def test_cut_at_nul(data: bytes, string: bytes) -> None:
    assert cut_at_nul(data) == string


@pytest.mark.parametrize(
    ("data", "line", "chomped"),
    [
        (b"", "", ""),
        (b"\n", "", ""),
        (b"abc\n", "abc", "abc"),
        (b"abc", "abc", "abc"),
        (b"abc\n\n", "abc", "abc\n"),
        (b"a\nb\n", "a", "a\nb"),
        (b" a \n", " a ", " a "),
        (b"\xff\n", "\udcff", "\udcff"),
    ],
)
def test_first_line_and_chomp(data: bytes, line: str, chomped: str) -> None:
    assert first_line(data) == line
    assert chomp(data) == chomped


def test_slashes_of_names_show_as_exclamation_marks() -> None:
    assert kobject_name("bad/na/me") == "bad!na!me"
    assert kobject_name("iqn.2006-10.net.vlnb:tgt1") == "iqn.2006-10.net.vlnb:tgt1"


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("disk1", True),
        ("...", True),
        ("x" * 255, True),
        ("\udcff" * 255, True),
        ("", False),
        (".", False),
        ("..", False),
        ("a/b", False),
        ("a\0b", False),
        ("x" * 256, False),
        ("ä" * 128, False),
    ],
)
def test_names_a_directory_can_hold(name: str, fits: bool) -> None:
    assert is_entry_name(name) is fits
