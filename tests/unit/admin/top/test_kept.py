from __future__ import annotations

import os
from pathlib import Path

import pytest

from scstfs.admin.top.kept import Kept, permitted


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_attributes_are_read_anew_and_stay_open(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "count"
    file.write_text("1\n")
    kept = Kept(str(tmp_path), 10)
    before = opened()
    assert kept.number("d", "count") == 1
    file.write_text("22\n[key]\n")
    assert kept.number("d", "count") == 22
    assert opened() == before + 1
    kept.close()
    assert opened() == before


def test_no_more_are_open_than_permitted(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number))
    kept = Kept(str(tmp_path), 3)
    before = opened()
    for _round in range(2):
        for number in range(10):
            assert kept.number(".", str(number)) == number
            assert opened() <= before + 3
    kept.close()
    assert opened() == before
    assert 1 <= permitted() <= 100_000


def test_what_was_read_in_a_directory_is_closed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "lun0").mkdir(parents=True)
        (tmp_path / name / "lun0" / "x").write_text("1")
        (tmp_path / name / "y").write_text("2")
    kept = Kept(str(tmp_path), 10)
    before = opened()
    for name in ("a", "b"):
        kept.number(name, "lun0/x")
        kept.number(name, "y")
    kept.forget("a")
    assert opened() == before + 2
    kept.forget("missing")
    assert kept.number("a", "y") == 2
    kept.close()
    assert opened() == before


def test_what_is_missing_or_no_number(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("none\n")
    kept = Kept(str(tmp_path), 10)
    with pytest.raises(FileNotFoundError):
        kept.read(".", "missing")
    with pytest.raises(OSError, match="'none' is not a number"):
        kept.number(".", "text")
    assert kept.names("missing") == kept.directories("missing") == kept.link("missing") == []
    kept.close()
