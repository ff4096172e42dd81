"""Debian machines for tests: directories made by debootstrap, in which systemd can be booted."""

from __future__ import annotations

import contextlib
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
_BOOT: Final = 120
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
            self._wait_until_running(outer.pid)
            yield
            self.run("systemctl --no-block poweroff")
            outer.wait(_HALT)
        finally:
            self._first = None
            outer.kill()
            outer.wait()

    def _wait_until_running(self, outer: int) -> None:
        deadline = time.monotonic() + _BOOT
        state = ""
        while state not in ("running", "degraded"):
            assert time.monotonic() < deadline, f"it does not boot: {state}"
            time.sleep(_POLL)
            # The first child of nspawn is not the last one.
            self._first = next(_children(next(_children(outer), 0)), None)
            if self._first is not None:
                with contextlib.suppress(Failed):
                    state = self.run("systemctl is-system-running || true").strip()

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


def _children(pid: int) -> Iterator[int]:
    """The processes that a process has started; none if there is no such process."""
    with contextlib.suppress(OSError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def is_root() -> bool:
    """Whether machines can be made."""
    return os.geteuid() == 0
