"""`scstfs mount --config` and resuming: the configuration before the first login."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from scstfs.admin import conf, tree
from scstfs.admin.apply import apply
from scstfs.admin.configuration import Item
from scstfs.admin.files import Files
from scstfs.errors import ExitStatus
from tests.support.admin import essence
from tests.support.configurations import MIB, backing_files, random_text
from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID
from tests.support.mounted import REPOSITORY, Mounted
from tests.support.needs import need_mounts, need_programs

ROUNDS: Final = int(os.environ.get("SCSTFS_CONFIGURATION_CRASH_ROUNDS", "8"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 30 * ROUNDS)]

HOST: Final = "127.0.0.1"
TARGET: Final = "iqn.2005-03.org.example:disk"
USER: Final = "joe 12charsecret"

CONFIGURATION: Final = f"""
HANDLER vdisk_fileio {{
    DEVICE disk {{
        filename @/disk0
        usn 0123abcd
    }}
}}
TARGET_DRIVER iscsi {{
    enabled 1
    TARGET {TARGET} {{
        LUN 0 disk
        enabled 1
    }}
    TARGET iqn.2005-03.org.example:other {{
        IncomingUser "{USER}"
    }}
}}
"""


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    backing_files(tmp_path)
    file = tmp_path / "scst.conf"
    file.write_text(CONFIGURATION.replace("@/", f"{tmp_path}/"))
    return file


def command(directory: Path, *options: str, port: int = 0) -> list[str]:
    argv = [sys.executable, "-m", "scstfs", "mount", "--mountpoint", str(directory / "scst_tgt")]
    argv += ["--state-dir", str(directory / "state"), "--pid-file", ""]
    return [*argv, "--portal", f"{HOST}:{port}", *options]


@contextlib.contextmanager
def running(directory: Path, *options: str, port: int = 0) -> Iterator[Mounted]:
    """A daemon that must always end without a traceback."""
    mountpoint = directory / "scst_tgt"
    mountpoint.mkdir(exist_ok=True)
    with Mounted(command(directory, *options, port=port), mountpoint, ready=": ready: ") as daemon:
        yield daemon
    assert "Traceback" not in daemon.log, daemon.log


def kill(daemon: Mounted) -> None:
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.stop()


def look(daemon: Mounted) -> Item:
    return tree.walk(Files(str(daemon.path)))


def mistakes(directory: Path, *options: str) -> tuple[int, list[str]]:
    """The exit status of a daemon that does not even start, and what it says."""
    (directory / "scst_tgt").mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *command(directory, *options)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("scstfs: ")]
    return done.returncode, lines


def test_a_file_is_applied_before_the_first_login(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config)) as daemon:
        assert essence(look(daemon)) == essence(conf.parse(config.read_text()).configuration)
        port = int(daemon.log.rpartition(f" on {HOST}:")[2].split()[0])
        with Initiator.connect(HOST, port, isid=ISID) as initiator:
            initiator.login(TARGET)
            initiator.command("000000000000")
            assert initiator.command("12000000240000", expect=36).status == 0
        assert daemon.stop() == 0


def test_all_mistakes_are_told_and_nothing_is_served(tmp_path: Path, config: Path) -> None:
    text = config.read_text()
    config.write_text(
        text.replace("/disk0", "/nodisk")
        .replace("usn", "unsn")
        .replace("12charsecret", "short")
        .replace("LUN 0 disk", "LUN 0 dusk")
    )
    status, lines = mistakes(tmp_path, "--config", str(config))
    assert status == ExitStatus.CONFIG
    said = [line.removeprefix(f"scstfs: {config}:") for line in lines]
    assert said == [
        f"4:9: error: {tmp_path}/nodisk: No such file or directory",
        "5:9: error: DEVICE has no attribute unsn; did you mean usn?",
        "11:9: error: there is no device dusk; did you mean disk?",
        "15:9: error: the secret of IncomingUser joe has fewer than 12 bytes",
    ]
    assert not (tmp_path / "state" / "running").exists()


def test_a_file_without_end_is_told(tmp_path: Path) -> None:
    status, lines = mistakes(tmp_path, "--config", "/dev/zero")
    assert status == ExitStatus.CONFIG
    assert lines == ["scstfs: /dev/zero: too large for a configuration"]


def test_what_the_target_refuses_is_told_by_line(tmp_path: Path, config: Path) -> None:
    text = config.read_text().replace("usn 0123abcd", "blocksize 7")
    config.write_text(text.replace(f'IncomingUser "{USER}"', "MaxBurstLength never"))
    status, lines = mistakes(tmp_path, "--config", str(config))
    assert status == ExitStatus.CONFIG
    assert [line.split(": ")[1].removeprefix(str(config)) for line in lines] == [":3", ":15"]
    assert all(": Invalid argument (" in line for line in lines)


def test_a_file_may_be_missing_only_with_a_dash(tmp_path: Path) -> None:
    missing = tmp_path / "missing.conf"
    assert mistakes(tmp_path, "--config", str(missing)) == (
        ExitStatus.CONFIG,
        [f"scstfs: {missing}: No such file or directory"],
    )
    with running(tmp_path, f"--config=-{missing}") as daemon:
        assert daemon.stop() == 0


def test_after_a_kill_it_is_as_it_was_and_after_an_end_as_the_file_says(
    tmp_path: Path, config: Path
) -> None:
    options = ("--config", str(config))
    with running(tmp_path, *options) as daemon:
        as_loaded = essence(look(daemon))
        daemon.write("targets/iscsi/mgmt", f"add_target_attribute {TARGET} IncomingUser {USER}\n")
        daemon.write(f"targets/iscsi/{TARGET}/IncomingUser", "jim 12charsecret\n")
        daemon.write("max_tasklet_cmd", "11\n")
        daemon.write("suspend", "0\n")  # is no configuration
        daemon.write("suspend", "-1\n")
        changed = essence(look(daemon))
        assert changed != as_loaded
        kill(daemon)
    assert stat.S_IMODE((tmp_path / "state" / "running").stat().st_mode) == 0o600
    with running(tmp_path, *options) as daemon:
        assert essence(look(daemon)) == changed
        assert daemon.stop() == 0
    with running(tmp_path, *options) as daemon:
        assert essence(look(daemon)) == as_loaded
        assert daemon.stop() == 0
    with running(tmp_path, "--resume", "always") as daemon:
        assert essence(look(daemon)) == as_loaded
        kill(daemon)
    with running(tmp_path, "--resume", "never") as daemon:
        assert os.listdir(daemon.path / "devices") == []
        assert daemon.stop() == 0


def test_what_cannot_be_resumed_stays(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config)) as daemon:
        before = essence(look(daemon))
        kill(daemon)
    disk, away = tmp_path / "disk0", tmp_path / "away"
    disk.rename(away)
    status, lines = mistakes(tmp_path)
    assert status == ExitStatus.RESUME
    assert "add_device disk filename=" in lines[0]
    assert ": No such file or directory" in lines[0]
    away.rename(disk)
    with running(tmp_path) as daemon:
        assert essence(look(daemon)) == before
        assert daemon.stop() == 0


def test_a_line_that_was_cut_off_is_none(tmp_path: Path, config: Path) -> None:
    with running(tmp_path, "--config", str(config)) as daemon:
        before = essence(look(daemon))
        kill(daemon)
    kept = tmp_path / "state" / "running"
    with kept.open("ab") as file:
        file.write(b'["targets/iscsi/mgmt", "add_tar')
    with running(tmp_path) as daemon:
        assert essence(look(daemon)) == before
        kill(daemon)
    kept.write_bytes(b"nonsense\n" + kept.read_bytes())
    status, lines = mistakes(tmp_path)
    assert status == ExitStatus.RESUME
    assert f"{kept}:1: no command" in lines[0]


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def test_after_each_of_many_kills_it_is_what_was_last_acknowledged(tmp_path: Path) -> None:
    """``SCSTFS_CONFIGURATION_CRASH_ROUNDS`` (8) rounds of changes, beside an initiator at work."""
    need_programs("qemu-img")
    backing_files(tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(64 * MIB))
    chance = random.Random("kills")
    port = free_port()
    base = f"""
        HANDLER vdisk_fileio {{
            DEVICE disk {{
                filename {disk}
            }}
        }}
        TARGET_DRIVER iscsi {{
            enabled 1
            TARGET {TARGET} {{
                LUN 0 disk
                rel_tgt_id 77
                enabled 1
            }}
        }}
    """
    file = tmp_path / "base.conf"
    file.write_text(base)
    options = ["--config", str(file)]
    with running(tmp_path, *options, port=port) as daemon, at_work(port) as work:
        possible = changes_until_killed(daemon, chance, tmp_path, base)
        for rounds_left in reversed(range(ROUNDS)):
            with running(tmp_path, *options, port=port) as again:
                assert essence(look(again)) in possible
                if rounds_left:
                    possible = changes_until_killed(again, chance, tmp_path, base)
                else:
                    wait_for_writes(again)
            assert work.poll() is None, work.communicate()[0]


@contextlib.contextmanager
def at_work(port: int) -> Iterator[subprocess.Popen[str]]:
    """An initiator that writes until the end and must see no error; it logs in again when
    necessary.
    """
    bench = ["qemu-img", "bench", "-f", "raw", "-t", "none", "-w", "-c", "100000000", "-d", "4"]
    with subprocess.Popen(
        [*bench, f"iscsi://{HOST}:{port}/{TARGET}/0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            output = process.communicate()[0]
        assert "error" not in output.lower(), output


class Killed(BaseException):
    """The daemon is dead."""


class Deadly(Files):
    """Kills the daemon while one of the writes is under way, or just before or after it.

    Attributes:
        possible: what the tree may be afterwards.
    """

    def __init__(self, daemon: Mounted, chance: random.Random, directory: Path) -> None:
        super().__init__(str(daemon.path))
        self.daemon = daemon
        self.directory = directory
        self.writes_left = chance.randint(0, 60)
        self.delay = chance.uniform(0, 0.004)
        self.possible: list[object] = []

    def write(self, name: str, data: str) -> int:
        if self.possible:  # dead: nothing is written any more, and nothing undone
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.writes_left -= 1
        if self.writes_left >= 0:
            return super().write(name, data)
        self.possible.append(essence(look(self.daemon)))
        kept = (self.directory / "state" / "running").read_bytes()
        killer = subprocess.Popen(["sh", "-c", f"sleep {self.delay}; kill -9 {self.daemon.pid}"])
        acknowledged = False
        with contextlib.suppress(OSError):
            super().write(name, data)
            acknowledged = True
        killer.wait()
        self.daemon.stop()
        after = self.after(kept, name, data)
        self.possible = [after] if acknowledged else [*self.possible, after]
        raise Killed

    def after(self, kept: bytes, name: str, data: str) -> object:
        """What the tree is after that write, seen in a daemon that is not killed."""
        with tempfile.TemporaryDirectory(dir=self.directory) as elsewhere:
            state = Path(elsewhere, "state")
            state.mkdir()
            (state / "running").write_bytes(kept)
            with running(Path(elsewhere)) as twin:
                with contextlib.suppress(OSError):
                    Files(str(twin.path)).write(name, data)
                return essence(look(twin))


def changes_until_killed(
    daemon: Mounted, chance: random.Random, directory: Path, base: str
) -> list[object]:
    """Apply random configurations until the daemon is killed; what may be there afterwards."""
    files = Deadly(daemon, chance, directory)
    with contextlib.suppress(Killed):
        while True:
            wanted = conf.parse(random_text(chance.randrange(1 << 30), directory))
            merged = conf.parse(base + conf.render(wanted.configuration)).configuration
            add(merged, conf.parse(base).configuration)
            files.forget()
            apply(look(daemon), merged, files)
    return files.possible


def add(configuration: Item, base: Item) -> None:
    """Add the contents of *base* to a configuration."""
    for kind, items in base.items.items():
        for name, item in items.items():
            parent = configuration.item(kind, name) or configuration.add(kind, name)
            parent.settings |= item.settings
            for child_kind, children in item.items.items():
                for child_name, child in children.items():
                    child.parent = parent
                    parent.items.setdefault(child_kind, {})[child_name] = child


def wait_for_writes(daemon: Mounted, seconds: float = 10) -> None:
    """Until an initiator writes again."""
    deadline = time.monotonic() + seconds
    counter = f"targets/iscsi/{TARGET}/write_cmd_count"
    while int(daemon.read(counter)) == 0:
        assert time.monotonic() < deadline, "no initiator came back"
        time.sleep(0.05)
