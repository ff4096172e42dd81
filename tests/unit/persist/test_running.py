from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from scstfs.persist import calls
from scstfs.persist.running import DamagedCommands, RunningFile, TreeWrite, synchronise

ONE: list[TreeWrite] = [("handlers/h/mgmt", "add_device a\n")]
MORE: list[TreeWrite] = [("targets/d/x\udcff", '"\udcfe"\n'), ("", "")]


def test_what_is_kept_is_loaded(tmp_path: Path) -> None:
    file = RunningFile(tmp_path)
    assert (file.load(), file.is_unclean) == (None, False)
    file.replace(ONE)
    file.append(MORE)
    file.append(ONE)
    again = RunningFile(tmp_path)
    assert (again.load(), again.is_unclean) == ([*ONE, *MORE, *ONE], True)
    file.replace(MORE)
    assert again.load() == MORE
    file.append(ONE)
    assert again.load() == [*MORE, *ONE]


def test_what_was_appended_is_synchronised_whatever_becomes_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised = []
    monkeypatch.setattr(calls, "fdatasync", lambda fd: synchronised.append(os.fstat(fd).st_ino))
    file = RunningFile(tmp_path)
    assert file.duplicate() is None
    file.append(ONE)
    inode = file.path.stat().st_ino
    fd = file.duplicate()
    assert fd is not None
    file.replace(MORE)
    synchronise(fd)
    assert synchronised == [inode]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(fd)
    assert file.duplicate() is None
    file.append(ONE)
    inode = file.path.stat().st_ino
    file.stop()
    assert synchronised[1:] == [inode]


def test_a_clean_end_is_told_from_another_one(tmp_path: Path) -> None:
    file = RunningFile(tmp_path)
    file.replace(ONE)
    file.stop()
    again = RunningFile(tmp_path)
    assert (again.load(), again.is_unclean) == (ONE, False)
    again.replace([])
    assert (again.load(), again.is_unclean) == ([], True)
    assert os.listdir(tmp_path) == ["running"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    os.umask(0)
    file = RunningFile(tmp_path)
    file.append(ONE)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.replace(ONE)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", range(1, 12))
def test_half_a_line_was_never_acknowledged(kept: int, tmp_path: Path) -> None:
    file = RunningFile(tmp_path)
    file.replace([*ONE, *MORE])
    data = file.path.read_bytes()
    file.path.write_bytes(data[:-kept])
    assert file.load() in ([*ONE, *MORE[:1]], [*ONE])


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '["a"]', '["a", 1]', '["a", "b", "c"]', '{"a": 1}']
)
def test_damage_is_told(line: str, tmp_path: Path) -> None:
    file = RunningFile(tmp_path)
    file.replace(ONE)
    with file.path.open("a") as opened:
        opened.write(f"{line}\n")
    with pytest.raises(DamagedCommands, match=r"running:2: no command$"):
        file.load()


def test_what_could_not_be_written_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RunningFile(tmp_path)
    file.replace(ONE)
    write = calls.pwrite
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_a_part(fd: int, data: memoryview, offset: int) -> int:
        if len(data) < 10:
            raise full
        return write(fd, data[:10], offset)

    monkeypatch.setattr(calls, "pwrite", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        file.append(ONE)
    monkeypatch.undo()
    file.append(MORE)
    assert file.load() == [*ONE, *MORE]
