"""Loop devices for tests of vdisk_blockio."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import lacking, need_programs


@contextmanager
def loop_device(file: Path, *, sector: int = 512) -> Iterator[str]:
    """Attach ``file`` to a free loop device and return its path; skips the test without one.

    ``sector`` is its logical block size (bytes).
    """
    need_programs("losetup")
    command = ("losetup", "--find", "--show", "--sector-size", str(sector), str(file))
    attached = subprocess.run(command, capture_output=True, text=True, check=False)
    if attached.returncode:
        lacking(f"needs a loop device: {attached.stderr.strip()}")
    device = attached.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(("losetup", "--detach", device), check=True)
