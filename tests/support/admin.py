"""The management programs for a daemon, run by the test process on the daemon's mount."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from scstfs.admin import tree
from scstfs.admin.configuration import Item, devices, without_internal
from scstfs.admin.files import Files
from scstfs.admin.kinds import ALUA, DRIVER, ENABLED, HANDLER, LUN, TARGET
from tests.interop.storage import Storage, storage
from tests.support.mounted import REPOSITORY

SECONDS: Final = 60

SCSTADMIN: Final = (
    "import sys; from scstfs.admin.scstadmin.program import main; sys.exit(main())",
)


class Admin:
    """`scstfs` and `scstadmin` for one daemon.

    Attributes:
        served: the daemon.
        files: its tree.
        root: the path of its mount, as this process reaches it.
    """

    def __init__(self, served: Storage) -> None:
        self.served = served
        self.root = str(served.running.path)
        self.files = Files(self.root)

    def _run(
        self, *argv: str, answer: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY)))
        return subprocess.run(
            [sys.executable, *argv],
            input=answer,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            timeout=SECONDS,
            check=False,
        )

    def scstadmin(self, *options: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run scstadmin."""
        environment = {"SCSTFS_TREE": self.root}
        return self._run("-c", *SCSTADMIN, *options, answer=answer, environment=environment)

    def config(
        self, command: str, *arguments: str, answer: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `scstfs config`."""
        argv = ("-m", "scstfs", "config", command, *arguments, "--mountpoint", self.root)
        return self._run(*argv, answer=answer, environment=environment)

    def look(self) -> Item:
        """The running configuration."""
        self.files.forget()
        return tree.walk(self.files)


@contextmanager
def administered(directory: Path, **options: Any) -> Iterator[Admin]:
    """A daemon, and the programs for it."""
    with storage(directory, **options) as served:
        yield Admin(served)


def essence(configuration: Item) -> dict[str, tuple[str, str, dict[str, list[str]]]]:
    """A configuration in a form in which a file can be compared with the running one.

    It is without SCST's own additions: measured sizes, identifiers of targets that are enabled
    without one, and marks that a LUN has from its device.
    """
    known = devices(configuration)
    found = {}
    for item in without_internal(configuration).walk():
        settings = {name: sorted(s.values) for name, s in item.settings.items()}
        if settings.get(ENABLED) == ["0"]:
            del settings[ENABLED]
        settings.pop("size", None)
        if item.kind is TARGET and ENABLED in settings:
            settings.pop("rel_tgt_id", None)
        if item.kind is LUN and _is_read_only(known.get(item.device)):
            settings.pop("read_only", None)
        is_there_anyway = item.kind in (HANDLER, DRIVER, ALUA)
        if settings or not is_there_anyway:
            found[item.path] = (item.kind.name, item.device, settings)
    return found


def _is_read_only(device: Item | None) -> bool:
    if device is None or device.parent is None:
        return False
    return "read_only" in device.settings or device.parent.name == "vcdrom"
