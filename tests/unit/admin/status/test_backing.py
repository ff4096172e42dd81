from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from scstfs.admin.status import backing
from scstfs.admin.status.model import FileState


def test_files_that_are_there_and_not(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    paths = [str(there), str(tmp_path / "not"), str(there)]
    assert backing.states(paths) == {
        str(there): FileState.PRESENT,
        str(tmp_path / "not"): FileState.MISSING,
    }
    assert backing.states([]) == {}


def test_a_file_system_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: time.sleep(2) if "hang" in path else exists(path)
    )
    began = time.monotonic()
    paths = ["/hang/1", "/", "/hang/2", "/hang/3", "/usr", "/hang/4"]
    states = backing.states(paths, patience=0.05)
    assert time.monotonic() - began < 1
    assert states == {
        "/hang/1": FileState.SILENT,
        "/": FileState.PRESENT,
        "/hang/2": FileState.SILENT,
        "/hang/3": FileState.SILENT,
        "/usr": None,
        "/hang/4": None,
    }
    assert [backing.is_present(state) for state in states.values()] == [
        None, True, None, None, None, None,
    ]  # fmt: skip
    assert backing.is_present(FileState.MISSING) is False
