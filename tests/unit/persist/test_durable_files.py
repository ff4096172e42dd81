from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from scstfs.persist import durable_files
from tests.support.crashing_files import CrashingFiles, PowerFailure

LIMIT = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CrashingFiles:
    disk = CrashingFiles(tmp_path)
    monkeypatch.setattr(durable_files, "calls", disk)
    return disk


def test_reading(path: Path) -> None:
    assert durable_files.read(path, LIMIT) is None
    path.write_bytes(bytes(LIMIT + 5))
    assert durable_files.read(path, LIMIT) == bytes(LIMIT)
    with pytest.raises(OSError, match="directory"):
        durable_files.read(path.parent, LIMIT)


def test_writing(path: Path) -> None:
    durable_files.write(path, b"one")
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o644
    durable_files.write(path, b"other")
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_one(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path.name)
    durable_files.write(link, b"one")
    assert link.is_symlink()
    assert path.read_bytes() == b"one"


def test_only_files_are_replaced(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        durable_files.write(path, b"one")


def test_removing(path: Path) -> None:
    other = path.with_name("other")
    durable_files.remove(path, other)
    path.write_bytes(b"a")
    other.write_bytes(b"b")
    durable_files.remove(path, other)
    assert not path.exists()
    assert not other.exists()


def test_everything_is_synchronised(path: Path, simulated: CrashingFiles) -> None:
    durable_files.write(path, b"data")
    assert simulated.calls == [
        ("unlink", "file.new"),
        ("open", "file.new"),
        ("pwrite", "file.new", 4),
        ("fsync", "file.new"),
        ("replace", "file.new", "file"),
        ("open", ""),
        ("fsync", ""),
    ]
    del simulated.calls[:]
    durable_files.remove(path)
    assert simulated.calls == [("unlink", "file"), ("open", ""), ("fsync", "")]


@pytest.mark.parametrize("number", range(1, 6))
def test_an_error_leaves_what_there_was(path: Path, simulated: CrashingFiles, number: int) -> None:
    durable_files.write(path, b"one")
    simulated.fail_at(number, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        durable_files.write(path, b"other")
    assert durable_files.read(path, LIMIT) == b"one"
    assert durable_files.read(path.with_name("file.new"), LIMIT) is None


@pytest.mark.parametrize("number", range(1, 9))
def test_power_fails(path: Path, simulated: CrashingFiles, number: int) -> None:
    durable_files.write(path, b"one")
    simulated.power_fails_at = len(simulated.calls) + number
    try:
        durable_files.write(path, b"other")
    except PowerFailure:
        assert number < 8
    else:
        assert number == 8
    simulated.lose_power(random.Random(number))
    found = durable_files.read(path, LIMIT)
    assert found in ((b"other",) if number == 8 else (b"one", b"other"))


def test_a_short_write_goes_on(path: Path, simulated: CrashingFiles) -> None:
    simulated.most = 3
    durable_files.write(path, b"more data")
    assert durable_files.read(path, LIMIT) == b"more data"


def test_a_write_of_nothing_is_no_space(path: Path, simulated: CrashingFiles) -> None:
    simulated.most = 0
    with pytest.raises(OSError, match="No space"):
        durable_files.write(path, b"data")
    assert durable_files.read(path, LIMIT) is None
