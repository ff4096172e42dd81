"""Debian machines for tests: directories made by debootstrap, in which systemd can be booted."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CHECK_RELEASE: Final = REPOSITORY / "contrib" / "check-release"

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds. With a network a command may install, or build a package.
_PREPARATION: Final = 1200
_COMMAND: Final = 90
_BOOT: Final = 60
_POLL: Final = 0.1
_HALT: Final = 30


class Failed(Exception):  # noqa: N818 - a command failed
    """A command of a machine failed; the text is its output."""


class Machine:
    """A Debian system in a directory.

    Attributes:
        root: the directory.
    """

    def __init__(self, root: Path, release: str) -> None:
        self.root = root
        self._release = release
        self._first: int | None = None
        """The process id of its systemd, while it runs."""

    @classmethod
    def install(cls, root: Path, release: str) -> Self:
        """Make a system that has nothing but apt."""
        machine = cls(root, release)
        # check-release adds these.
        machine.prepare("apt-get -q -y autoremove --purge git make python3")
        return machine

    def copy(self, root: Path) -> Machine:
        """Make a copy of a system that does not run."""
        subprocess.run(["cp", "-a", "--reflink=auto", self.root, root], check=True)
        return Machine(root, self._release)

    def prepare(self, command: str) -> str:
        """Run a shell command as root while the system is not running, but with a network.

        Raises:
            Failed: it failed.
        """
        wrapped = f"cd /; export DEBIAN_FRONTEND=noninteractive; {command}"
        argv = [str(CHECK_RELEASE), self._release, str(self.root), "sh", "-e", "-c", wrapped]
        return _output(argv, command, _PREPARATION)

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Run systemd in it, without a network but for its own loopback."""
        assert self._first is None
        nspawn = (
            *("systemd-nspawn", "--quiet", "--directory", str(self.root), "--boot"),
            *("--register=no", "--keep-unit", "--private-network", "--console=pipe"),
            *("--bind=/dev/fuse", "--machine=scstfs-test"),
        )
        # With its own processes nothing is left, whatever happens here.
        unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        outer = subprocess.Popen(
            [*unshare, *nspawn], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            self._first = _grandchild(outer.pid)
            self._wait_until_running()
            yield
            self.run("systemctl --no-block poweroff")
            outer.wait(_HALT)
        finally:
            self._first = None
            outer.kill()
            outer.wait()

    def _wait_until_running(self) -> None:
        deadline = time.monotonic() + _BOOT
        while True:
            try:
                state = self.run("systemctl is-system-running || true").strip()
            except Failed:
                state = ""
            if state in ("running", "degraded"):
                return
            assert time.monotonic() < deadline, f"it does not boot: {state}"
            time.sleep(_POLL)

    def inside(self, *argv: str, network_only: bool = False) -> list[str]:
        """Return the arguments that run a program in the running system, or in its network."""
        which = "--net" if network_only else "--all"
        return ["nsenter", "--target", str(self._first), which, *argv]

    def run(self, command: str) -> str:
        """Run a shell command as root in the running system, and return its output.

        Raises:
            Failed: it failed.
        """
        environment = (f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb")
        argv = self.inside("env", "--ignore-environment", *environment, "sh", "-e", "-c", command)
        return _output(argv, command, _COMMAND)

    def path(self, absolute: str) -> Path:
        """Return where a file of the system is for us."""
        return self.root / absolute.lstrip("/")


def _output(argv: list[str], command: str, seconds: float) -> str:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
    )
    if done.returncode:
        raise Failed(f"{command}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def _grandchild(pid: int) -> int:
    """The first child of the first child of a process, when there is one."""
    deadline = time.monotonic() + _BOOT
    for _generation in range(2):
        while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(_POLL)
        pid = int(children[0])
    return pid


def is_root() -> bool:
    """Whether machines can be made."""
    return os.geteuid() == 0
