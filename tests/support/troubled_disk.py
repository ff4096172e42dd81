"""A file system whose calls stop being answered, or fail, as the test says.

`troubled_disk` runs ``python -m tests.support.troubled_disk MOUNTPOINT CONTROL`` in a mount
namespace of its own.  It cannot be asked not to wait (RWF_NOWAIT), and keeps nothing in the page
cache that it was not asked for, like many network file systems.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scstfs import capabilities
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts
from tests.support.raw_fuse import CALLS, ROOT, RawFuse

SIZE = 16 << 20
DISK = b"disk"


class _Control:
    """Which requests wait or fail: files that the test makes say it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def judge(self, call: str, node: int) -> int | None:
        """Wait for as long as ``hang-CALL`` exists, fail with the errno in ``fail-CALL``."""
        if call == "getattr" and node == ROOT:
            # That the directory is there is known.
            return 0
        if (self._directory / f"hang-{call}").exists():
            return None
        fail = self._directory / f"fail-{call}"
        return int(fail.read_text()) if fail.exists() else 0

    def waits(self, call: str) -> None:
        """Tell the test of one more request that waits."""
        with (self._directory / f"hung-{call}").open("ab") as file:
            file.write(b".")


class TroubledDisk(Mounted):
    """The file system and its switches.

    Attributes:
        disk: its file, as the test process can open it.
    """

    def __init__(self, directory: Path) -> None:
        """Everything it writes goes below *directory*."""
        mountpoint, self._control = directory / "troubled", directory / "control"
        mountpoint.mkdir()
        self._control.mkdir()
        argv = [sys.executable, "-m", __name__, str(mountpoint), str(self._control)]
        super().__init__(argv, mountpoint, ready="READY")
        self.disk = self.path / DISK.decode()

    def hang(self, *calls: str) -> None:
        """Let these calls wait until ``answer``."""
        for call in calls:
            assert call in CALLS
            (self._control / f"hang-{call}").touch()

    def answer(self) -> None:
        """Nothing waits or fails any more."""
        for pattern in ("hang-*", "hung-*", "fail-*"):
            for file in self._control.glob(pattern):
                file.unlink()

    def fail(self, call: str, error: int) -> None:
        """Let a call fail with this errno."""
        file = self._control / "new"
        file.write_text(str(error))
        file.rename(self._control / f"fail-{call}")

    def hanging(self, call: str) -> int:
        """How many calls of this name have come to wait."""
        try:
            return (self._control / f"hung-{call}").stat().st_size
        except FileNotFoundError:
            return 0

    def wait_until_hanging(self, call: str, count: int = 1, seconds: float = 10) -> None:
        """Wait for that many calls to wait."""
        wait_until(lambda: self.hanging(call) >= count, seconds)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Look again and again, for a limited time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@contextmanager
def troubled_disk(directory: Path) -> Iterator[TroubledDisk]:
    """Mount it below *directory*; whatever hangs in the end fails when it is gone."""
    need_mounts()
    with TroubledDisk(directory) as disk:
        yield disk


def main(mountpoint: str, control: str) -> None:
    """Mount and serve until killed."""
    rules = _Control(Path(control))
    files = RawFuse(rules.judge, rules.waits)
    files.add_file(ROOT, DISK, SIZE)
    files.mount(Path(mountpoint))
    # Whoever gave up capabilities may look into the namespaces only of those that have no more.
    capabilities.limit(())
    print("READY", flush=True)
    files.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
