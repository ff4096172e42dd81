"""`scstfs mount` with a target, and its resources: for tests of the whole process.

The tree is mounted in a private namespace (`tests.support.mounted`), the portal is a free port of
loopback. Initiators are those of `tests.support.initiator`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID
from tests.support.loop_watch import loop_watched
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts

HOST = "127.0.0.1"
TARGET = "iqn.2005-03.org.example:disk"
DIRECTORY = f"targets/iscsi/{TARGET}"

_RESET_PEAK = "5"
"""Written to /proc/PID/clear_refs (proc(5))."""


SETTLE_SECONDS = 10.0
STEADY_LOOKS = 15


def isid_of(number: int) -> bytes:
    """The ISID of an initiator port."""
    return ISID[:4] + number.to_bytes(2, "big")


class Served(Mounted):
    """A running daemon, its tree and its portal."""

    def __init__(self, directory: Path, state: Path | None = None) -> None:
        """All of its files are below *directory*, but for its state if *state* says where."""
        mountpoint = directory / "scst_tgt"
        mountpoint.mkdir()
        argv = [sys.executable, "-m", "scstfs", "mount", "--mountpoint", str(mountpoint)]
        argv += ["--state-dir", str(state or directory / "state"), "--pid-file", ""]
        argv += ["--portal", f"{HOST}:0"]
        super().__init__(argv, mountpoint, ready=": ready: ")
        self.directory = directory
        match = re.search(rf" on {HOST}:(\d+)", self.log)
        assert match is not None, self.log
        self.port = int(match[1])

    def add_target(self, *, size: int, luns: int = 1) -> None:
        """Make an enabled target with sparse disks of *size* bytes."""
        self.write("targets/iscsi/mgmt", f"add_target {TARGET}\n")
        for lun in range(luns):
            path = self.directory / f"disk{lun}"
            with path.open("wb") as file:
                file.truncate(size)
            add = f"add_device {path.name} filename={path}\n"
            self.write("handlers/vdisk_fileio/mgmt", add)
            self.write(f"{DIRECTORY}/luns/mgmt", f"add {path.name} {lun}\n")
        self.write(f"{DIRECTORY}/enabled", "1\n")
        self.write("targets/iscsi/enabled", "1\n")

    def log_in(self, number: int = 1, *, timeout: float = 20.0, **options: Any) -> Initiator:
        """A new initiator port in full-feature phase, without a pending unit attention."""
        initiator = Initiator.connect(HOST, self.port, isid=isid_of(number), timeout=timeout)
        try:
            initiator.login(TARGET, **options)
            initiator.command("000000000000")
        except BaseException:
            initiator.close()
            raise
        return initiator

    # Its resources

    @property
    def descriptors(self) -> int:
        """File descriptors that are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert match is not None
        return int(match[1]) << 10

    @property
    def memory(self) -> int:
        """Resident memory (bytes)."""
        return self._status("VmRSS")

    @property
    def peak_memory(self) -> int:
        """The peak of resident memory since `reset_peak` (bytes)."""
        return self._status("VmHWM")

    def reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text(_RESET_PEAK)

    def settled_descriptors(self, expected: int | None = None) -> int:
        """`descriptors` when all sessions have ended and the expected number is left."""
        deadline = time.monotonic() + SETTLE_SECONDS
        steady, seen = 0, -1
        # A session is gone before its socket is.
        while steady < STEADY_LOOKS and time.monotonic() < deadline:
            now = self.descriptors
            is_steady = now == (expected or seen) and not self.sessions()
            steady, seen = steady + 1 if is_steady else 0, now
            time.sleep(0.02)
        return self.descriptors

    def sessions(self) -> list[str]:
        return os.listdir(self.path / DIRECTORY / "sessions")


@contextmanager
def served(directory: Path, state: Path | None = None) -> Iterator[Served]:
    """A daemon without a target that must end cleanly and without a traceback.

    Its event loop must not wait for anything but its events.
    """
    need_mounts()
    with Served(directory, state) as daemon:
        with loop_watched(daemon.pid):
            yield daemon
        assert daemon.stop() == 0, daemon.log
    assert "Traceback" not in daemon.log, daemon.log
