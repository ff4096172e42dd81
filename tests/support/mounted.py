"""A daemon with its own mount, for tests: started in a private mount namespace, and stopped
afterwards.

`Mounted` runs any program that mounts a file system on a directory and then prints a line;
`mounted_tree` runs `tests.support.fuse_child` for the tests' own trees. The test process stays
outside the namespace and reaches the files through ``/proc/PID/root`` (`Mounted.path`); shell
commands run inside it (`Mounted.sh`). Nothing of the host's mount table changes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]


def why_no_mount() -> str:
    """The reason why file systems cannot be mounted here; "" when they can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs /dev/fuse"
    probe = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    return "" if probe.returncode == 0 else "needs unshare --mount"


class Mounted:
    """A running daemon and its mount.

    Attributes:
        pid: of the daemon (unshare(1) executes it in its own place).
        mountpoint: as the daemon and `sh` see it.
        path: the same directory as the test process can open it, while the daemon runs.
        lines: the output of the daemon so far, on standard output and standard error.
    """

    def __init__(self, argv: Sequence[str], mountpoint: Path, ready: str, seconds: float = 30):
        """Start *argv*; wait up to *seconds* for a line that holds *ready*."""
        path = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "src")))
        self.mountpoint = mountpoint
        self.lines: list[str] = []
        self._ready = ready
        self._is_ready = False
        self._ready_or_over = threading.Event()
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            env={**os.environ, "PYTHONPATH": path},
            cwd=REPOSITORY,
        )
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()
        self._ready_or_over.wait(seconds)
        if not self._is_ready:
            self.stop()
            raise RuntimeError(f"{argv[0]} did not get ready:\n" + "\n".join(self.lines))
        self.pid = self._process.pid
        self.path = Path(f"/proc/{self.pid}/root{mountpoint}")

    def _read_lines(self) -> None:
        stream = self._process.stdout
        if stream is not None:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
                if self._ready in line:
                    self._is_ready = True
                    self._ready_or_over.set()
            stream.close()
        self._ready_or_over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM, then SIGKILL after *seconds*; the exit status. `lines` is complete afterwards.

        The namespace, and with it the mount, ends with the daemon and the last process in it.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(seconds)
        return status

    @property
    def log(self) -> str:
        """All that was printed so far."""
        return "\n".join(self.lines)

    def argv_inside(self, *argv: str) -> list[str]:
        """*argv*, to be run inside the namespace."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--", *argv]

    def popen(self, script: str) -> subprocess.Popen[str]:
        """A shell in the root of the mount, running *script*; its standard streams are pipes."""
        return subprocess.Popen(
            self.argv_inside("sh", "-c", f'cd "$0" || exit 99\n{script}', str(self.mountpoint)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env={**os.environ, "LC_ALL": "C"},
        )

    def sh(self, script: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run *script* in a shell in the root of the mount."""
        with self.popen(script) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def read(self, name: str) -> str:
        """The text of the file *name*."""
        return (self.path / name).read_bytes().decode("utf-8", "backslashreplace")

    def write(self, name: str, data: bytes | str) -> int:
        """One write(2) to *name*, as by a shell's redirection; returns the result of write."""
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_TRUNC)
        try:
            return os.write(descriptor, data.encode() if isinstance(data, str) else data)
        finally:
            os.close(descriptor)


@contextmanager
def mounted_tree(factory: str, directory: Path) -> Iterator[Mounted]:
    """Mount the tree that *factory* ("package.module:function") makes, below *directory*.

    The function returns a `Tree` and its root object, which may have an attribute `statistics` for
    `Operations.statistics` to be put into.
    """
    mountpoint = directory / "scst_tgt"
    mountpoint.mkdir()
    argv = [sys.executable, "-m", "tests.support.fuse_child", factory, str(mountpoint)]
    with Mounted(argv, mountpoint, ready="READY") as mounted:
        yield mounted
