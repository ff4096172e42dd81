"""A daemon with disks and targets, set up as an administrator does it: by writing to the tree."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.mounted import Mounted
from tests.support.needs import need_mounts

MIB: Final = 1 << 20
TARGET: Final = "iqn.2005-03.org.example:disk"
SCST_TGT: Final = Path("/sys/kernel/scst_tgt")

_LOCAL: Final = "127.0.0.1:0"
_KILLED: Final = r"scstfs\.mounting: the daemon has ended: unmounting "
_TROUBLE: Final = re.compile(r" (WARNING|ERROR|CRITICAL) |^Traceback ")


class Storage:
    """See the module's text.

    Attributes:
        running: the daemon and its mount.
        portals: where it listens, as URLs write it.
    """

    def __init__(self, running: Mounted) -> None:
        self.running = running
        ready = next(line for line in running.lines if ": ready: " in line)
        self.portals: list[str] = re.findall(r"(?:\[[0-9a-f:]+\]|\d+\.\d+\.\d+\.\d+):\d+", ready)

    @property
    def portal(self) -> str:
        """The first portal."""
        return self.portals[0]

    def write(self, path: str, *texts: str) -> None:
        """Write each text to an attribute, as echo does it; raises OSError."""
        for text in texts:
            self.running.write(path, f"{text}\n")

    def read(self, path: str) -> str:
        """The first line of an attribute."""
        return self.running.read(path).partition("\n")[0]

    def add_disk(self, file: Path, parameters: str = "", *, size: int = 64 * MIB) -> str:
        """Make a vdisk_fileio of a sparse file, named like it; returns the name."""
        if not file.exists():
            with file.open("wb") as opened:
                opened.truncate(size)
        self.add_device("vdisk_fileio", file.name, f"filename={file}; {parameters}".rstrip("; "))
        return file.name

    def add_device(self, handler: str, name: str, parameters: str = "") -> None:
        """Make a device."""
        self.write(f"handlers/{handler}/mgmt", f"add_device {name} {parameters}".rstrip())

    def add_target(self, name: str = TARGET, *devices: str) -> str:
        """Make an enabled iSCSI target with devices as LUNs from 0 on; returns its directory."""
        self.write("targets/iscsi/mgmt", f"add_target {name}")
        directory = f"targets/iscsi/{name}"
        for lun, device in enumerate(devices):
            self.write(f"{directory}/luns/mgmt", f"add {device} {lun}")
        self.write(f"{directory}/enabled", "1")
        self.write("targets/iscsi/enabled", "1")
        return directory

    def url(
        self,
        target: str = TARGET,
        lun: int = 0,
        *,
        portal: str = "",
        login: str = "",
        query: str = "",
    ) -> str:
        """The URL of a LUN; *login* is "user%password", *query* what follows a question mark."""
        where = f"{login}@" * bool(login) + (portal or self.portal)
        return f"iscsi://{where}/{target}/{lun}" + f"?{query}" * bool(query)


@contextmanager
def storage(
    directory: Path,
    *portals: str,
    mountpoint: Path | None = None,
    expected: str = r"(?!)",
    ending: bool = True,
) -> Iterator[Storage]:
    """A daemon with state below *directory*; skips the test where nothing can be mounted.

    It must log no warning that does not match *expected* and, unless *ending* is false, end with
    status 0 when it is stopped.
    """
    need_mounts()
    place = mountpoint or directory / "scst_tgt"
    if mountpoint is None:
        place.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "scstfs", "mount", "--mountpoint", str(place)]
    argv += ["--state-dir", str(directory / "state"), "--pid-file", ""]
    for portal in portals or (_LOCAL,):
        argv += ["--portal", portal]
    with Mounted(argv, place, ready=": ready: ") as running:
        yield Storage(running)
        status = running.stop()
    trouble = [line for line in running.lines if _TROUBLE.search(line)]
    allowed = expected if ending else f"{expected}|{_KILLED}"
    surprises = [line for line in trouble if not re.search(allowed, line)]
    assert not surprises, running.log
    assert status == 0 or not ending, running.log
