from __future__ import annotations

from pathlib import Path

from scstfs.document import document
from scstfs.layout import LAYOUT
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import Each, EachAttr, EachLink, Link, Sub, declared

PAGE = Path(__file__).parents[2] / "docs" / "tree.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == document(), "make docs"


def test_every_entry_is_on_the_page() -> None:
    page = document()
    for path, entry in declared(LAYOUT.root()):
        name = path.rpartition("/")[2]
        slash = "/" if isinstance(entry, Sub | Each) else ""
        assert f"**`{name}{slash}`**" in page, path


def test_every_entry_says_what_it_is() -> None:
    for path, entry in declared(LAYOUT.root()):
        if isinstance(entry, EachAttr):
            entry = entry.attr
        if isinstance(entry, Attr):
            assert bool(entry.reads) == bool(entry.mode & 0o444), path
            assert bool(entry.accepts) == bool(entry.mode & 0o222), path
            assert bool(entry.effect) == bool(entry.mode & 0o222), path
            assert bool(entry.key_when) == (entry.key is not None), path
        elif isinstance(entry, Sub | Each | Link | EachLink):
            assert entry.about, path


def test_lines_fit() -> None:
    assert not [line for line in document().splitlines() if len(line) > 100]


def test_what_all_drivers_have_is_told_once_without_their_names() -> None:
    assert document().count("**`rel_tgt_id`**: 0644, 2.0.") == 1


def test_what_some_handlers_have_is_told_with_their_names() -> None:
    assert "**`sync`** (vdisk_fileio, vdisk_blockio): 0200" in document()
