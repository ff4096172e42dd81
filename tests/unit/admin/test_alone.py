from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from scstfs.admin import alone as module
from scstfs.admin.alone import alone

LONG = 20.0


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "run"
    place.mkdir()
    monkeypatch.setattr(module, "_DIRECTORY", str(place))
    return place


def test_one_after_the_other_each_told_that_it_waits(directory: Path, tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    told: list[str] = []

    def work() -> None:
        for _ in range(20):
            with alone(str(tmp_path), told.append):
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert most == [1] * 100
    assert set(told) == {"waiting for another program that changes the configuration"}
    assert os.listdir(directory) == []


def test_only_its_owner_can_keep_others_waiting(directory: Path, tmp_path: Path) -> None:
    with alone(str(tmp_path), print):
        (name,) = os.listdir(directory)
        assert (directory / name).stat().st_mode & 0o777 == 0o600


def test_one_that_was_killed_keeps_nobody_waiting(directory: Path, tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        with alone(str(tmp_path), print):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(os.listdir(directory)) == 1
    with alone(str(tmp_path), print):
        pass
    assert os.listdir(directory) == []


def test_where_nothing_can_be_locked_work_goes_on(directory: Path, tmp_path: Path) -> None:
    done = []
    with alone(str(tmp_path / "none"), print):
        done.append(1)
    directory.rmdir()
    with alone(str(tmp_path), print):
        done.append(2)
    assert done == [1, 2]
    with pytest.raises(ZeroDivisionError), alone(str(tmp_path), print):
        raise ZeroDivisionError
