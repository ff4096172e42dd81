"""Runs the daemon with a toy target or the real one, in the caller's mount namespace."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "src"))),
}
SCST_TGT = "/sys/kernel/scst_tgt"

# How long anything may take that takes no time at all on an idle machine.
PATIENCE = 20.0


def mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text()


class Daemon:
    """A running daemon, killed at the end of the context.

    Attributes:
        lines: of its log, so far.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        behaviour: str | None = "plain",
        wrapper: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start it with state below *directory* and no pid file, unless *options* say otherwise.

        *behaviour* is the toy's (`tests.daemon.toy`); None serves the real target.
        """
        self.lines: list[str] = []
        self._news = threading.Condition()
        defaults = ["--state-dir", str(directory / "state"), "--portal", "127.0.0.1:0"]
        defaults += ["--pid-file", ""]
        program = ("scstfs",) if behaviour is None else ("tests.daemon.toy", behaviour)
        self.process = subprocess.Popen(
            [
                *wrapper,
                *(sys.executable, "-m", *program),
                *("mount", *defaults, *options),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append("EOF")
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()

    @property
    def log(self) -> str:
        return "\n".join(line for line in self.lines if line != "EOF")

    def wait_for(self, text: str) -> str:
        """Wait for a log line that holds *text*; return it."""
        with self._news:
            found = self._news.wait_for(
                lambda: any(text in line or line == "EOF" for line in self.lines), PATIENCE
            )
        for line in self.lines:
            if text in line:
                return line
        raise AssertionError(f"no {text!r} {'at all' if found else 'in time'} in:\n{self.log}")

    def ready(self) -> Self:
        """Wait until it is ready; if that fails it is killed, since no context will do it."""
        try:
            self.wait_for(": ready: ")
        except AssertionError:
            self.__exit__()
            raise
        return self

    @property
    def port(self) -> int:
        """The TCP port of its portal, once it is ready."""
        match = re.search(r" on 127\.0\.0\.1:(\d+)", self.wait_for(": ready: "))
        assert match is not None
        return int(match[1])

    def connect(self) -> socket.socket:
        """Connect to its portal."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def send(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def kill_all(self) -> None:
        """SIGKILL it, and first the process that would unmount the tree then."""
        for child in self.children():
            os.kill(child, signal.SIGKILL)
        self.send(signal.SIGKILL)

    def children(self) -> list[int]:
        """The processes that it started."""
        pid = self.process.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self) -> int:
        """Wait for its end; return the exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Stop it; return the exit status and the seconds that took."""
        started = time.monotonic()
        self.send(signum)
        return self.end(), time.monotonic() - started


def scstfs(*arguments: str) -> tuple[int, str]:
    """Run a command to its end; return the exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "scstfs", *arguments],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


def write_in_background(path: str) -> subprocess.Popen[str]:
    """Write to a file of the tree with a shell, which may hang there."""
    return subprocess.Popen(
        ["sh", "-c", f"echo x >{path}"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
