"""What scripts rely on that know SCST's iSCSI daemon: its name, how it is started, its messages."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scstfs import journal
from scstfs.errors import ExitStatus
from scstfs.mounts import MountFlag, mount
from tests.daemon.harness import ENVIRONMENT, PATIENCE, SCST_TGT, Daemon
from tests.daemon.target import TARGET, export, make_disk, manage
from tests.support.initiator import Initiator
from tests.support.iscsi_login import NAME
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts, need_programs
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DAEMON = "iscsi-scstd"
TOOLS = (
    ("pidof", DAEMON),
    ("pgrep", "-x", DAEMON),
    ("ps", "-C", DAEMON, "-o", "pid="),
    ("killall", "-v", "-0", DAEMON),
)


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()
    need_programs("pidof", "pgrep", "ps", "killall")


def found_by(*argv: str) -> set[int]:
    """The processes that a tool finds, whichever it prints them on."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return {int(number) for number in re.findall(r"\b\d+\b", done.stdout + done.stderr)}


def check_found(pid: int) -> None:
    for tool in TOOLS:
        assert pid in found_by(*tool), tool


def test_it_is_found_under_the_name_of_scsts_daemon(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path, behaviour=None).ready() as daemon:
            check_found(daemon.process.pid)
            # Programs that look for the started path find it, too.
            assert daemon.process.pid in found_by("pgrep", "-f", f"scstfs mount .*{tmp_path}")
            assert daemon.stop()[0] == 0

    in_namespace(body)


def start(*options: str) -> subprocess.CompletedProcess[str]:
    """Run `iscsi-scstd`; a service in the background keeps none of its pipes open."""
    return subprocess.run(
        [sys.executable, "-m", "scstfs.iscsi_scstd", *options],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def own_run_and_state(directory: Path) -> socket.socket:
    """Have nothing of the machine's /run and /var/lib; returns the socket of a journal."""
    for place in ("/run", "/var/lib"):
        mount("tests", place, "tmpfs", MountFlag.NONE)
    Path(journal.JOURNAL).parent.mkdir(parents=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(journal.JOURNAL)
    sock.settimeout(PATIENCE)
    return sock


def entry_with(sock: socket.socket, text: str) -> dict[str, str]:
    """The next entry of the journal with a text in its message."""
    while True:
        lines = sock.recv(1 << 16).decode().splitlines()
        fields = dict(line.split("=", 1) for line in lines if "=" in line)
        if text in fields["MESSAGE"]:
            return fields


def test_iscsi_scstd_starts_it_in_the_background(tmp_path: Path) -> None:
    def body() -> None:
        with own_run_and_state(tmp_path) as entries:
            done = start("-a", "127.0.0.1", "-p", "0")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            # It serves as soon as that has returned.
            assert Path(SCST_TGT, "version").read_text()
            pid = int(Path("/run/iscsi-scstd.pid").read_text())
            try:
                check_found(pid)
                assert os.getsid(pid) == pid
                assert os.readlink(f"/proc/{pid}/cwd") == "/"
                assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
                ready = entry_with(entries, "ready: ")["MESSAGE"]
                export(make_disk(tmp_path / "disk1"))
                added = entry_with(entries, "added")
                assert added["SCST_DEVICE"] == "disk1"
                port = int(ready.rpartition(":")[2])
                with Initiator.connect("127.0.0.1", port, timeout=PATIENCE) as initiator:
                    initiator.login(TARGET)
                login = entry_with(entries, "logged in")
                assert login["SCST_TARGET"] == TARGET
                assert login["SCST_INITIATOR"] == NAME
                assert login["PRIORITY"] == "6"
            finally:
                os.kill(pid, signal.SIGTERM)
            entry_with(entries, "stopping: SIGTERM")
            wait_until(lambda: not os.path.exists(SCST_TGT))
            wait_until(lambda: not os.path.exists("/run/iscsi-scstd.pid"))

    in_namespace(body)


def test_a_start_in_the_background_that_fails_says_why(tmp_path: Path) -> None:
    def body() -> None:
        with own_run_and_state(tmp_path), socket.create_server(("127.0.0.1", 0)) as other:
            done = start("-a", "127.0.0.1", "-p", str(other.getsockname()[1]))
            assert done.returncode == ExitStatus.PORTAL
            assert re.fullmatch(
                r"scstfs: cannot listen on .*: Address already in use\n", done.stderr
            )
            assert not os.path.exists(SCST_TGT)

    in_namespace(body)


def test_a_second_start_leaves_the_first_alone(tmp_path: Path) -> None:
    def body() -> None:
        with own_run_and_state(tmp_path):
            assert start("-a", "127.0.0.1", "-p", "0").returncode == 0
            pid = int(Path("/run/iscsi-scstd.pid").read_text())
            try:
                done = start("-a", "127.0.0.1", "-p", "0")
                assert done.returncode == ExitStatus.MOUNTED
                assert done.stderr.startswith("scstfs: ")
                assert Path(SCST_TGT, "version").read_text()
            finally:
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not os.path.exists(SCST_TGT))

    in_namespace(body)


def test_in_the_foreground_it_logs_to_stderr(tmp_path: Path) -> None:
    def body() -> None:
        with (
            own_run_and_state(tmp_path),
            subprocess.Popen(
                [sys.executable, "-m", "scstfs.iscsi_scstd", "-f", "-a", "127.0.0.1", "-p", "0"],
                env=ENVIRONMENT,
                stderr=subprocess.PIPE,
                text=True,
            ) as daemon,
        ):
            assert daemon.stderr is not None
            assert any(": ready: " in line for line in daemon.stderr)
            check_found(daemon.pid)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(PATIENCE) == 0

    in_namespace(body)


def why(file: str) -> tuple[int, str, str]:
    """Ask `scstfs why`; its exit status and what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "scstfs", "why", file],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_why_a_command_was_refused_is_told_without_a_log(tmp_path: Path) -> None:
    def body() -> None:
        with Daemon(tmp_path, behaviour=None).ready() as daemon:
            mgmt = f"{SCST_TGT}/handlers/vdisk_fileio/mgmt"
            assert why(mgmt) == (0, "no command was refused\n", "")
            with pytest.raises(FileNotFoundError):
                manage("handlers/vdisk_fileio/mgmt", f"add_device disk filename={tmp_path}/none")
            with pytest.raises(OSError, match="Invalid argument"):
                manage("targets/iscsi/mgmt", "add_target x y=z")
            status, told, _ = why(mgmt)
            assert status == 0
            assert told.startswith("ENOENT: ")
            assert f"{tmp_path}/none" in told
            assert os.getxattr(mgmt, "user.scst.last_error").decode() == told.rstrip("\n")
            assert why(f"{SCST_TGT}/targets/iscsi/mgmt")[1].startswith("EINVAL: ")
            # The log has the same, and programs that copy files do not see it.
            assert told.rstrip("\n") in daemon.log
            assert os.listxattr(mgmt) == []
            assert why(f"{SCST_TGT}/nothing") == (
                ExitStatus.USAGE,
                "",
                f"scstfs: cannot ask {SCST_TGT}/nothing: No such file or directory\n",
            )
            assert why(str(tmp_path)) == (
                ExitStatus.USAGE,
                "",
                f"scstfs: {tmp_path} is not in a tree of scstfs\n",
            )
            assert daemon.stop()[0] == 0

    in_namespace(body)
