"""Start, stop and repair of the daemon, under all conditions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scstfs.daemon import STOP_SECONDS
from tests.daemon.harness import (
    PATIENCE,
    SCST_TGT,
    Daemon,
    mountinfo,
    scstfs,
    write_in_background,
)
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow

# What is promised to users.
LIMIT = 5.0


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


def leaves_no_trace(body: Callable[[], None]) -> None:
    """Run *body* in a namespace whose mount table must be the same before and after."""

    def compare() -> None:
        before = mountinfo()
        body()
        assert mountinfo() == before

    in_namespace(compare)


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda signum: signum.name
)
def test_it_serves_until_a_signal(tmp_path: Path, signum: signal.Signals) -> None:
    def body() -> None:
        pid_file = tmp_path / "pid"
        with Daemon(tmp_path, "--pid-file", str(pid_file)).ready() as daemon:
            assert pid_file.read_text() == f"{daemon.process.pid}\n"
            Path(SCST_TGT, "accept").write_text("x")
            with daemon.connect() as connection:
                connection.sendall(b"hello")
                assert connection.recv(10) == b"hello"
                status, seconds = daemon.stop(signum)
                assert connection.recv(10) == b""
            assert status == 0
            assert seconds < 2
            assert "closing sessions" in daemon.log
            assert "target released" in daemon.log
            assert "WARNING" not in daemon.log
        assert not pid_file.exists()
        assert not os.path.exists(SCST_TGT)

    leaves_no_trace(body)


def test_the_ready_line_comes_whatever_the_log_level(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path, "--log-level", "error").ready() as daemon:
            assert daemon.stop()[0] == 0
            assert len(daemon.log.splitlines()) == 1

    leaves_no_trace(body)


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    def body() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(PATIENCE)
            environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
            with Daemon(tmp_path, environment=environment) as daemon:
                ready = manager.recv(1000).decode()
                assert ready.startswith(f"READY=1\nSTATUS=serving {SCST_TGT} on 127.0.0.1:")
                assert daemon.stop()[0] == 0
                assert manager.recv(1000).startswith(b"STOPPING=1\n")

    leaves_no_trace(body)


def test_logins_are_suspended_and_resumed_by_signals(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path).ready() as daemon:
            daemon.send(signal.SIGUSR1)
            daemon.wait_for("logins suspended")
            daemon.send(signal.SIGUSR2)
            daemon.wait_for("logins resumed")
            assert daemon.stop()[0] == 0

    leaves_no_trace(body)


def test_a_shell_and_an_open_file_inside_do_not_prevent_the_end(tmp_path: Path) -> None:
    def body() -> None:
        with (
            Daemon(tmp_path).ready() as daemon,
            subprocess.Popen(["sleep", "60"], cwd=SCST_TGT) as shell,
        ):
            fd = os.open(f"{SCST_TGT}/accept", os.O_WRONLY)
            status, seconds = daemon.stop()
            was_alive = shell.poll() is None
            shell.kill()
            assert status == 0
            assert seconds < 2
            assert was_alive
            for call in (lambda: os.write(fd, b"too late"), lambda: os.close(fd)):
                with pytest.raises(OSError, match="not connected"):
                    call()

    leaves_no_trace(body)


def test_an_initiator_that_keeps_writing_does_not_prevent_the_end(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path).ready() as daemon:
            connection = daemon.connect()

            def write() -> None:
                try:
                    while True:
                        connection.sendall(bytes(65536))
                except OSError:
                    pass

            def read() -> None:
                try:
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass

            threads = [threading.Thread(target=call) for call in (write, read)]
            for thread in threads:
                thread.start()
            status, seconds = daemon.stop()
            assert status == 0
            assert seconds < LIMIT
            for thread in threads:
                thread.join()
            connection.close()

    leaves_no_trace(body)


@pytest.mark.parametrize("name", ["wait", "thread", "block"])
def test_a_command_that_hangs_does_not_prevent_the_end(tmp_path: Path, name: str) -> None:
    def body() -> None:
        with Daemon(tmp_path).ready() as daemon:
            with write_in_background(f"{SCST_TGT}/{name}") as writer:
                daemon.wait_for(f"write to {name}")
                status, seconds = daemon.stop()
                assert status == 0
                assert seconds < LIMIT
                _, error = writer.communicate(timeout=PATIENCE)
                assert writer.returncode != 0
                assert error
            if name != "wait":
                assert seconds > STOP_SECONDS - 1
                assert "giving up on work that does not end" in daemon.log

    leaves_no_trace(body)


def test_sessions_that_do_not_close_are_given_up(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path, behaviour="clinging").ready() as daemon:
            status, seconds = daemon.stop()
            assert status == 0
            assert seconds < LIMIT
            assert "not all sessions could be closed" in daemon.log
            assert "target released" in daemon.log

    leaves_no_trace(body)


@pytest.mark.parametrize(("behaviour", "name"), [("clinging", None), ("plain", "block")])
def test_a_second_signal_does_not_wait(tmp_path: Path, behaviour: str, name: str | None) -> None:
    def body() -> None:
        with Daemon(tmp_path, behaviour=behaviour).ready() as daemon:
            if name:
                writer = write_in_background(f"{SCST_TGT}/{name}")
                daemon.wait_for(f"write to {name}")
            daemon.send(signal.SIGTERM)
            daemon.wait_for("stopping: SIGTERM" if name else "closing sessions")
            status, seconds = daemon.stop(signal.SIGINT)
            assert status == 0
            assert seconds < 2
            if name:
                writer.communicate()

    leaves_no_trace(body)


def test_a_signal_while_it_comes_up_ends_it_cleanly(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path, behaviour="slow") as daemon:
            daemon.wait_for("building slowly")
            status, seconds = daemon.stop()
            assert status == 0
            assert seconds < LIMIT

    leaves_no_trace(body)


def test_an_umount_by_somebody_else_ends_it(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path).ready() as daemon:
            subprocess.run(["umount", SCST_TGT], check=True)
            assert daemon.end() == 0
            assert "was unmounted: stopping" in daemon.log

    leaves_no_trace(body)


@pytest.mark.parametrize("bug", ["service", "tree"])
def test_a_bug_leaves_a_traceback_and_nothing_mounted(tmp_path: Path, bug: str) -> None:
    def body() -> None:
        behaviour = "bug" if bug == "service" else "plain"
        with Daemon(tmp_path, behaviour=behaviour).ready() as daemon:
            if bug == "service":
                daemon.connect().close()
            else:
                with write_in_background(f"{SCST_TGT}/raise") as writer:
                    writer.communicate(timeout=PATIENCE)
            assert daemon.end() == 1
            assert "ZeroDivisionError: toy bug" in daemon.log

    leaves_no_trace(body)


def test_a_bug_beside_a_task_that_hangs_is_told_in_time(tmp_path: Path) -> None:
    def body() -> None:
        with (
            Daemon(tmp_path, behaviour="bug").ready() as daemon,
            write_in_background(f"{SCST_TGT}/thread") as hanging,
        ):
            daemon.wait_for("write to thread")
            started = time.monotonic()
            daemon.connect().close()
            assert daemon.end() == 1
            assert time.monotonic() - started < LIMIT
            assert "ZeroDivisionError: toy bug" in daemon.log
            hanging.communicate(timeout=PATIENCE)

    leaves_no_trace(body)


@pytest.mark.parametrize("how", ["mount", "umount"])
def test_a_killed_daemon_is_cleaned_up_after(tmp_path: Path, how: str) -> None:
    def body() -> None:
        pid_file = tmp_path / "pid"
        with (
            Daemon(tmp_path, "--pid-file", str(pid_file)).ready() as daemon,
            subprocess.Popen(["sleep", "60"], cwd=SCST_TGT) as shell,
        ):
            daemon.kill_all()
            daemon.end()
            shell.kill()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(SCST_TGT)
        if how == "umount":
            assert scstfs("umount")[0] == 0
            assert pid_file.exists()
        else:
            with Daemon(tmp_path, "--pid-file", str(pid_file)).ready() as daemon:
                Path(SCST_TGT, "accept").write_text("x")
                assert daemon.stop()[0] == 0

    leaves_no_trace(body)


def test_the_tree_of_a_killed_daemon_goes_away(tmp_path: Path) -> None:
    def body() -> None:
        pid_file = tmp_path / "pid"
        with (
            Daemon(tmp_path, "--pid-file", str(pid_file)).ready() as daemon,
            subprocess.Popen(["sleep", "60"], cwd=SCST_TGT) as shell,
        ):
            daemon.send(signal.SIGKILL)
            assert daemon.end() == -signal.SIGKILL
            daemon.wait_for("EOF")  # the other process has ended, too
            shell.kill()
        assert f"the daemon has ended: unmounting {SCST_TGT}" in daemon.log
        assert not os.path.exists(SCST_TGT)
        assert not pid_file.exists()

    leaves_no_trace(body)


def test_the_tree_goes_away_though_its_descriptors_are_still_open(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path).ready() as daemon:
            others = daemon.children()
            Path(SCST_TGT, "fork").write_text("x")
            (holder,) = set(daemon.children()) - set(others)
            daemon.send(signal.SIGKILL)
            daemon.process.wait(PATIENCE)
            daemon.wait_for("the daemon has ended: unmounting")
            deadline = time.monotonic() + PATIENCE
            while SCST_TGT in mountinfo():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(holder, signal.SIGKILL)

    leaves_no_trace(body)


def test_only_the_daemons_end_ends_what_unmounts_the_tree(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path, wrapper=["setsid"]).ready() as daemon:
            for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                os.killpg(daemon.process.pid, signum)
            assert daemon.end() == 0
            assert "ERROR" not in daemon.log

    leaves_no_trace(body)


def test_of_two_started_at_once_one_serves(tmp_path: Path) -> None:
    def body() -> None:
        (tmp_path / "1").mkdir()
        with Daemon(tmp_path) as one, Daemon(tmp_path / "1") as other:
            for daemon in (one, other):
                daemon.wait_for("scstfs: ")  # ready, or the mistake
            (served,) = (d for d in (one, other) if ": ready: " in d.log)
            (refused,) = (d for d in (one, other) if d is not served)
            assert refused.end() == 6
            Path(SCST_TGT, "accept").write_text("x")
            assert served.stop()[0] == 0

    leaves_no_trace(body)


def test_a_read_only_sysfs_is_no_obstacle(tmp_path: Path) -> None:
    def body() -> None:
        subprocess.run(["mount", "-o", "remount,bind,ro", "/sys"], check=True)
        with Daemon(tmp_path).ready() as daemon:
            Path(SCST_TGT, "accept").write_text("x")
            assert daemon.stop()[0] == 0
        subprocess.run(["mount", "-o", "remount,bind,rw", "/sys"], check=True)

    leaves_no_trace(body)


def test_any_directory_will_do(tmp_path: Path) -> None:
    def body() -> None:
        place = tmp_path / "tree"
        place.mkdir()
        with Daemon(tmp_path, "--mountpoint", str(place)).ready() as daemon:
            (place / "accept").write_text("x")
            assert not os.path.exists(SCST_TGT)
            assert daemon.stop()[0] == 0

    leaves_no_trace(body)
