"""The daemon, and the process that mounts for it, confined as by their units."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scstfs.options import IoEngine
from tests.daemon.harness import ENVIRONMENT, PATIENCE, SCST_TGT, Daemon, mountinfo
from tests.daemon.target import (
    CHUNK,
    TARGET,
    Writer,
    export,
    log_in,
    make_disk,
    manage,
    read,
    settle,
    synchronize,
    write,
)
from tests.support.confined import allowed_calls, service
from tests.support.loop import loop_device
from tests.support.namespace import MS_SHARED, fork, unshare
from tests.support.needs import need_mounts, need_programs
from tests.support.service_manager import MOUNTER, confined, mounter_socket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

UNIT = "scst.service"


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()
    need_programs("systemd-analyze")


def on_a_shared_machine(body: Callable[[], None]) -> None:
    """Run *body* in a namespace whose mounts propagate to others, as on a machine with systemd."""

    def run() -> None:
        unshare(MS_SHARED)
        before = mountinfo()
        body()
        assert mountinfo() == before

    assert fork(run)() == ""


def start(directory: Path, socket: Path, *options: str) -> Daemon:
    return Daemon(
        directory,
        *("--mounter", str(socket), *options),
        behaviour=None,
        wrapper=confined(UNIT),
    ).ready()


@pytest.mark.parametrize("engine", [engine for engine in IoEngine if engine != IoEngine.BEST])
def test_everything_works_under_the_units(tmp_path: Path, engine: IoEngine) -> None:
    """A system call that the filter does not allow would end the process."""
    disk = make_disk(tmp_path / "disk", 8 * CHUNK)
    socket, pid_file = tmp_path / "mounter", tmp_path / "pid"

    def body() -> None:
        with (
            loop_device(make_disk(tmp_path / "block")) as device,
            mounter_socket(socket, "--pid-file", str(pid_file)) as mounters,
            start(tmp_path, socket, "--io-engine", engine) as daemon,
        ):
            (mounter,) = mounters
            assert pid_file.read_text() == f"{daemon.process.pid}\n"
            for process, unit in ((daemon.process, UNIT), (mounter, MOUNTER)):
                status = Path(f"/proc/{process.pid}/status").read_text()
                assert "\nSeccomp:\t2\n" in status, unit
            export(disk)
            manage("handlers/vdisk_blockio/mgmt", f"add_device block filename={device}")
            manage(f"targets/iscsi/{TARGET}/luns/mgmt", "add block 1")
            manage("devices/disk/threads_num", "3")
            with log_in(daemon) as initiator:
                settle(initiator)
                writer = Writer(initiator, 8)
                for generation in writer.rounds():
                    if generation == 3:
                        break
                task = initiator.wait(write(initiator, 0, b"\5" * (64 << 10)))
                assert task.status == 0
                assert read(initiator, 0, 128).data == b"\5" * (64 << 10)
                settle(initiator, 1)
                assert initiator.wait(write(initiator, 0, b"\6" * 4096, 1)).status == 0
                assert synchronize(initiator, 1).status == 0
                assert read(initiator, 0, 8, 1).data == b"\6" * 4096
                register = initiator.command(
                    bytes.fromhex("5f000000000000001800"),
                    data_out=bytes(8) + b"\1" * 8 + b"\0\0\0\0\1\0\0\0",
                )
                assert register.status == 0  # with APTPL: saved
            scstfs = [sys.executable, "-m", "scstfs"]
            subprocess.run(
                [*scstfs, "config", "apply", "--quiet", "/dev/null"], env=ENVIRONMENT, check=True
            )
            assert os.listdir(f"{SCST_TGT}/devices") == []
            for signum in (signal.SIGUSR1, signal.SIGUSR2):
                daemon.send(signum)
            assert daemon.stop()[0] == 0, daemon.log
            assert "Traceback" not in daemon.log
            assert mounter.wait(PATIENCE) == 0
            assert not pid_file.exists()

    on_a_shared_machine(body)


def test_the_tree_of_a_killed_daemon_goes_away_under_the_units(tmp_path: Path) -> None:
    socket = tmp_path / "mounter"

    def body() -> None:
        with mounter_socket(socket, "--pid-file", "") as mounters:
            with start(tmp_path, socket) as daemon:
                daemon.send(signal.SIGKILL)
                daemon.end()
            assert mounters[0].wait(PATIENCE) == 0
            assert not os.path.exists(SCST_TGT)
            with start(tmp_path, socket) as daemon:
                mounters[1].send_signal(signal.SIGTERM)  # as at the end of the machine
                time.sleep(0.2)
                assert os.listdir(f"{SCST_TGT}/targets")
                assert daemon.stop()[0] == 0
            assert mounters[1].wait(PATIENCE) == 0

    on_a_shared_machine(body)


def test_there_is_no_mounter(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--mounter", str(tmp_path / "nothing"), behaviour=None) as daemon:
        assert daemon.end() == 3
        expected = f"scstfs: cannot reach the service that mounts: {tmp_path}/nothing: No such file"
        assert daemon.log.startswith(expected)


def test_a_call_that_is_not_allowed_ends_a_process_under_the_units() -> None:
    """Otherwise the tests above would show nothing."""

    def ended(unit: str, code: str) -> int:
        argv = [*confined(unit), sys.executable, "-c", code]
        return subprocess.run(argv, env=ENVIRONMENT, check=False).returncode

    assert ended(UNIT, "import os") == 0
    swap = "import ctypes; ctypes.CDLL(None).swapoff(b'/nonesuch')"
    mount = "import ctypes; ctypes.CDLL(None).mount(b'a', b'/tmp', b'tmpfs', 0, None)"
    packets = "import socket; socket.socket(socket.AF_PACKET)"
    namespace = "import ctypes; ctypes.CDLL(None).unshare(0x20000000)"
    for code in (swap, mount, packets, namespace):
        assert ended(UNIT, code) == -signal.SIGSYS, code
    for code in (swap, packets, "import socket; socket.socket()", "import os; os.setuid(1)"):
        assert ended(MOUNTER, code) == -signal.SIGSYS, code
    assert ended(UNIT, "open('/etc/scstfs-test', 'w')") == 1
    assert not os.path.exists("/etc/scstfs-test")


def test_disks_may_use_asynchronous_io() -> None:
    allowed = allowed_calls(service(UNIT)["SystemCallFilter"])
    assert {
        *("io_uring_setup", "io_uring_enter", "io_uring_register", "eventfd2"),
        *("io_setup", "io_submit", "io_getevents", "io_destroy"),
    } <= allowed
