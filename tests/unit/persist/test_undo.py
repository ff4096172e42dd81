from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scstfs.persist import durable_files
from scstfs.persist.undo import UndoEntry, UndoLog

ENTRY = UndoEntry(4096, bytes(range(256)) * 8)


@pytest.fixture
def undo(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "atomic_writes" / "disk")


def test_nothing_was_ever_written(undo: UndoLog) -> None:
    assert undo.pending(b"disk") is None
    assert not undo.path.parent.exists()


def test_an_entry_is_there_until_it_is_crossed_out(undo: UndoLog) -> None:
    undo.enter(b"disk", ENTRY)
    assert UndoLog(undo.path).pending(b"disk") == ENTRY
    undo.cross_out()
    assert UndoLog(undo.path).pending(b"disk") is None


def test_a_shorter_entry_after_a_longer_one(undo: UndoLog) -> None:
    undo.enter(b"disk", ENTRY)
    undo.cross_out()
    short = UndoEntry(0, b"x" * 512)
    undo.enter(b"disk", short)
    assert undo.pending(b"disk") == short


@pytest.mark.logs("belongs to another file or device")
def test_an_entry_about_something_else_is_not_used(
    undo: UndoLog, caplog: pytest.LogCaptureFixture
) -> None:
    undo.enter(b"disk", ENTRY)
    assert undo.pending(b"other") is None
    assert "another file" in caplog.text


@pytest.mark.parametrize("keep", [0, 7, 40, 63, 64, 1000])
def test_an_entry_that_is_not_complete_was_never_relied_on(undo: UndoLog, keep: int) -> None:
    undo.enter(b"disk", ENTRY)
    os.truncate(undo.path, keep)
    assert undo.pending(b"disk") is None


@pytest.mark.parametrize("position", [0, 8, 16, 24, 60, 64, 500])
def test_damage_is_noticed(undo: UndoLog, position: int) -> None:
    undo.enter(b"disk", ENTRY)
    data = bytearray(undo.path.read_bytes())
    data[position] ^= 1
    undo.path.write_bytes(data)
    assert undo.pending(b"disk") is None


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system writes no more than ``size`` bytes into a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_entry_that_is_cut_short_is_not_relied_on(undo: UndoLog) -> None:
    with files_of_at_most(100), pytest.raises(OSError, match="File too large"):
        undo.enter(b"disk", ENTRY)
    assert undo.pending(b"disk") is None


def test_an_entry_that_can_not_be_overwritten_is_removed(undo: UndoLog) -> None:
    undo.enter(b"disk", ENTRY)
    with files_of_at_most(0):
        undo.cross_out()
    assert undo.pending(b"disk") is None
    undo.enter(b"disk", ENTRY)
    assert undo.pending(b"disk") == ENTRY


def test_a_log_that_can_not_be_written(undo: UndoLog) -> None:
    undo.path.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        undo.enter(b"disk", ENTRY)


def test_a_file_that_is_new_is_found_after_a_crash(
    undo: UndoLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directories are synchronised once, and again when the file has been removed."""
    synchronised: list[Path] = []
    monkeypatch.setattr(durable_files, "sync_directory", synchronised.append)
    places = [undo.path.parent.parent, undo.path.parent]
    for expected in (places, []):
        undo.enter(b"disk", ENTRY)
        assert synchronised == expected
        synchronised.clear()
        undo.cross_out()
    undo.enter(b"disk", ENTRY)
    with files_of_at_most(0):
        undo.cross_out()
    synchronised.clear()
    undo.enter(b"disk", ENTRY)
    assert synchronised == places
