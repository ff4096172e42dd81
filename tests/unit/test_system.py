from __future__ import annotations

import errno
import fcntl
import os
import resource
from pathlib import Path

import pytest

from scstfs import system
from scstfs.errors import ExitStatus, UsageError
from scstfs.privileges import Account
from tests.support.namespace import fork


def test_the_state_directory_is_made_and_owned_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with system.state_directory(path):
        assert list(path.iterdir()) == []
        with pytest.raises(UsageError, match="another scstfs") as refused:
            system.state_directory(path).__enter__()
        assert refused.value.status == ExitStatus.STATE_DIR
    with system.state_directory(path):
        pass


@pytest.mark.parametrize("path", ["/proc/self/nothing", "/dev/null", "/dev/null/x", "/proc/self"])
def test_an_unusable_state_directory_is_refused(path: str) -> None:
    with pytest.raises(UsageError) as refused:
        system.state_directory(Path(path)).__enter__()
    assert refused.value.status == ExitStatus.STATE_DIR
    assert refused.value.message.startswith(f"cannot use the state directory {path}: ")


def test_closed_standard_streams_do_not_become_something_else() -> None:
    saved = [os.dup(number) for number in range(3)]
    try:
        for number in range(3):
            os.close(number)
        system.open_standard_streams()
        opened = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
    finally:
        for number, fd in enumerate(saved):
            os.dup2(fd, number)
            os.close(fd)
    assert opened == [os.devnull] * 3


def test_the_pid_file_holds_our_number_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with system.pid_file(path, os.getpid()):
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644
    assert not path.exists()


def test_a_pid_file_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("99999999\n")
    with system.pid_file(path, os.getpid()):
        assert path.read_text() == f"{os.getpid()}\n"


def test_the_pid_file_of_a_running_daemon_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with path.open("w") as owner:
        owner.write("1\n")
        owner.flush()
        fcntl.flock(owner, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="running daemon") as refused:
            system.pid_file(path, os.getpid()).__enter__()
    assert refused.value.status == ExitStatus.PID_FILE
    assert path.read_text() == "1\n"


def test_a_pid_file_that_can_not_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(UsageError, match="No space left") as refused:
        system.pid_file(tmp_path / "pid", 1).__enter__()
    assert refused.value.status == ExitStatus.PID_FILE
    assert not (tmp_path / "pid").exists()


def test_what_is_no_file_is_no_pid_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError) as refused:
        system.pid_file(pipe, 1).__enter__()
    assert refused.value.status == ExitStatus.PID_FILE
    assert pipe.exists()


def test_a_pid_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "pid").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError) as refused:
        system.pid_file(tmp_path / "pid", 1).__enter__()
    assert refused.value.status == ExitStatus.PID_FILE
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("directory", ["/sys/kernel/scst_tgt", "/nonesuch"])
def test_others_than_root_mount_on_what_is_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, directory: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="must be run by root") as refused:
        system.check_privileges(directory, None)
    assert refused.value.status == ExitStatus.NOT_PERMITTED
    system.check_privileges(str(tmp_path), None)
    with pytest.raises(UsageError, match="must be run by root to serve as the user joe"):
        system.check_privileges(str(tmp_path), Account("joe", 1001, 1001))


def test_a_missing_fuse_device_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(system, "_FUSE_DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(UsageError, match="No such file or directory") as refused:
        system.check_privileges("/", None)
    assert refused.value.status == ExitStatus.NO_FUSE


def test_all_descriptors_the_system_allows_are_claimed() -> None:
    def body() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        system.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)

    assert fork(body)() == ""
