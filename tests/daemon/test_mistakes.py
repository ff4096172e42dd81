"""Every ordinary mistake: one line, its own exit status, and nothing changed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scstfs.errors import ExitStatus
from scstfs.mounts import MountFlag, mount
from tests.daemon.harness import ENVIRONMENT, SCST_TGT, Daemon, mountinfo, scstfs
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


def refused(daemon: Daemon, status: ExitStatus, text: str) -> None:
    """The daemon must end with *status* and say *text* in its only line."""
    with daemon:
        assert daemon.end() == status, daemon.log
        assert daemon.log.count("\n") == 0, daemon.log
        assert daemon.log.startswith("scstfs: ")
        assert text in daemon.log


def nothing_changes(body: Callable[[], None]) -> None:
    def compare() -> None:
        before = mountinfo()
        body()
        assert mountinfo() == before
        assert not os.path.exists(SCST_TGT)

    in_namespace(compare)


def test_not_root(tmp_path: Path) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv = [*nobody, sys.executable, "-c", "import tests.daemon.toy"]
    if subprocess.run(argv, env=ENVIRONMENT, check=False, capture_output=True).returncode != 0:
        pytest.skip("other users may not read this directory")
    daemon = Daemon(tmp_path, wrapper=nobody)
    refused(daemon, ExitStatus.NOT_PERMITTED, "must be run by root")


def test_root_without_the_right_to_mount(tmp_path: Path) -> None:
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    nothing_changes(
        lambda: refused(
            Daemon(tmp_path, wrapper=powerless),
            ExitStatus.NOT_PERMITTED,
            f"cannot use {SCST_TGT}: ",
        )
    )


def test_libfuse_is_refused_the_mount(tmp_path: Path) -> None:
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    place = tmp_path / "tree"
    place.mkdir()
    nothing_changes(
        lambda: refused(
            Daemon(tmp_path, "--mountpoint", str(place), wrapper=powerless),
            ExitStatus.NOT_PERMITTED,
            f"cannot mount on {place}: ",
        )
    )


def test_no_fuse(tmp_path: Path) -> None:
    def body() -> None:
        mount("empty", "/dev", "tmpfs", MountFlag.NONE)
        os.mknod("/dev/null", 0o666 | 0o020000, os.makedev(1, 3))
        os.mknod("/dev/urandom", 0o666 | 0o020000, os.makedev(1, 9))
        refused(Daemon(tmp_path), ExitStatus.NO_FUSE, "/dev/fuse: No such file or directory")

    in_namespace(body)


def test_the_port_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        portal = f"127.0.0.1:{other.getsockname()[1]}"
        nothing_changes(
            lambda: refused(
                Daemon(tmp_path, "--portal", portal),
                ExitStatus.PORTAL,
                f"cannot listen on {portal}: Address already in use",
            )
        )


def test_another_one_is_serving(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path).ready() as daemon:
            refused(Daemon(tmp_path), ExitStatus.MOUNTED, "already served by a running scstfs")
            status, text = scstfs("umount")
            assert status == ExitStatus.MOUNTED
            assert text == f"scstfs: {SCST_TGT} is already served by a running scstfs\n"
            Path(SCST_TGT, "accept").write_text("x")
            assert daemon.stop()[0] == 0

    nothing_changes(body)


def test_the_kernels_scst_is_loaded(tmp_path: Path) -> None:
    def body() -> None:
        mount("modules", "/sys/module", "tmpfs", MountFlag.NONE)
        os.mkdir("/sys/module/scst")
        refused(Daemon(tmp_path), ExitStatus.REAL_SCST, "kernel module is loaded")

    in_namespace(body)


def test_the_mount_point_is_missing(tmp_path: Path) -> None:
    place = str(tmp_path / "missing")
    nothing_changes(
        lambda: refused(
            Daemon(tmp_path, "--mountpoint", place), ExitStatus.MOUNTPOINT, "does not exist"
        )
    )


def test_the_state_directory_is_unusable_or_in_use(tmp_path: Path) -> None:
    def body() -> None:
        refused(
            Daemon(tmp_path, "--state-dir", "/proc/self/x"),
            ExitStatus.STATE_DIR,
            "cannot use the state directory",
        )
        place = tmp_path / "tree"
        place.mkdir()
        with Daemon(tmp_path, "--mountpoint", str(place)).ready() as daemon:
            refused(Daemon(tmp_path), ExitStatus.STATE_DIR, "another scstfs uses")
            assert daemon.stop()[0] == 0

    nothing_changes(body)


def test_a_place_for_state_is_taken_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pr").touch()
    nothing_changes(
        lambda: refused(Daemon(tmp_path, behaviour=None), ExitStatus.STATE_DIR, "/pr: File exists")
    )


def test_the_pid_file_belongs_to_another_daemon(tmp_path: Path) -> None:
    def body() -> None:
        (tmp_path / "1").mkdir()
        place = tmp_path / "tree"
        place.mkdir()
        options = ["--pid-file", str(tmp_path / "pid")]
        with Daemon(tmp_path, "--mountpoint", str(place), *options).ready() as daemon:
            refused(Daemon(tmp_path / "1", *options), ExitStatus.PID_FILE, "a running daemon")
            assert (tmp_path / "pid").read_text() == f"{daemon.process.pid}\n"
            assert daemon.stop()[0] == 0

    nothing_changes(body)


def test_nothing_to_clean_up() -> None:
    def body() -> None:
        status, text = scstfs("umount")
        assert status == ExitStatus.OK
        assert "nothing to clean up" in text

    nothing_changes(body)
