"""SCST's own management program, scstadmin, on the mount: unmodified, from a copy of its sources.

The environment variable SCSTADMIN names the copy: SCST's sources or the contents of their directory
``scstadmin/scstadmin.sysfs``. Without it the tests are skipped. Ours can take its place, in front
of SCST's tests, too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.interop.storage import SCST_TGT, Storage, storage
from tests.support.mounted import REPOSITORY
from tests.support.needs import lacking, need_programs

_SECONDS: Final = 280

# What it and its tests write to beside the tree: they get directories that look like the machine's.
_PRIVATE: Final = """
import os, sys
from scstfs import mountpoint, mounts
state, copies, *places = sys.argv[1:]
for number, place in enumerate(places):
    copy = os.path.join(copies, str(number))
    os.makedirs(copy)
    mountpoint.mirror(place, copy)
    if place == "/var/lib":
        os.makedirs(os.path.join(copy, "scst"), exist_ok=True)
        mounts.bind(state, os.path.join(copy, "scst"))
    mounts.bind(copy, place)
"""
_PLACES: Final = ("/dev", "/tmp", "/var/lib")

PERL: Final = "perl"
OURS: Final = "ours"
PROGRAMS: Final = (PERL, OURS)

_OURS: Final = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(REPOSITORY / "src")!r})
from scstfs.admin.scstadmin.program import main
sys.exit(main())
"""

_CHECK: Final = re.compile(r"^(not )?ok (\d+)", re.MULTILINE)
_PLAN: Final = re.compile(r"^1\.\.(\d+)$", re.MULTILINE)


def sources() -> Path:
    """The directory of scstadmin's sources; skips the test when SCSTADMIN names none."""
    named = os.environ.get("SCSTADMIN")
    if not named:
        pytest.skip("SCSTADMIN names no copy of scstadmin")
    for below in ("", "scstadmin.sysfs", "scstadmin/scstadmin.sysfs"):
        if (found := Path(named, below)).joinpath("scst-1.0.0").is_dir():
            return found
    return lacking(f"no scstadmin in {named}")


class Scstadmin:
    """scstadmin with its own daemon; SCST's program or ours."""

    def __init__(self, served: Storage, directory: Path, program: str) -> None:
        self.served = served
        self._sources = directory / "scstadmin.sysfs"
        self._program = self._sources / "scstadmin"
        self._theirs = self._program.rename(self._sources / "theirs")
        self._program.write_text(_OURS)
        self._program.chmod(0o755)
        if program == PERL:
            self._theirs = self._theirs.rename(self._program)
        self._library = self._sources / "scst-1.0.0" / "lib"
        # Its tests are written for GNU awk, and Debian's awk is another one.
        self._programs = directory / "bin"
        self._programs.mkdir()
        (self._programs / "awk").symlink_to(shutil.which("gawk") or "")

    def run(self, *argv: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program where the tree is mounted; it reads *answer*."""
        environment = {
            **os.environ,
            "LC_ALL": "C",
            "PERL5LIB": str(self._library),
            "PATH": f"{self._programs}:{os.environ['PATH']}",
        }
        return subprocess.run(
            self.served.running.argv_inside(*argv),
            input=answer,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env=environment,
            timeout=_SECONDS,
            check=False,
        )

    def theirs(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run SCST's program, even where ours is in its place."""
        return self.run("perl", str(self._theirs), *options)

    def ask(self, *options: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run scstadmin."""
        return self.run(str(self._program), *options, answer=answer)

    def __call__(self, *options: str) -> str:
        """Run scstadmin, which must succeed; return what it printed."""
        done = self.ask("-noprompt", *options)
        assert done.returncode == 0, f"{options}\n{done.stdout}{done.stderr}"
        return done.stdout

    def test(self, name: str) -> tuple[int, set[int], str]:
        """Run one of its own tests; return the number of its checks, the failed ones, and its
        output.

        Checks that were not come to are failed.
        """
        script = next((self._sources / "scst-1.0.0" / "t").glob(f"{name}-*.t"))
        done = self.run("perl", str(script))
        plan = _PLAN.search(done.stdout)
        assert plan is not None, done.stdout + done.stderr
        passed = {int(number) for failed, number in _CHECK.findall(done.stdout) if not failed}
        planned = int(plan[1])
        return planned, set(range(1, planned + 1)) - passed, done.stdout + done.stderr


@contextmanager
def scstadmin(directory: Path, program: str = PERL) -> Iterator[Scstadmin]:
    """A daemon on the usual mount point, and scstadmin beside it."""
    original = sources()
    need_programs("perl", "gawk", "diff", "nsenter")
    shutil.copytree(original, directory / "scstadmin.sysfs")
    with storage(directory, mountpoint=SCST_TGT) as served:
        argv = [sys.executable, "-c", _PRIVATE]
        argv += [str(directory / "state"), str(directory / "places"), *_PLACES]
        subprocess.run(served.running.argv_inside(*argv), check=True, cwd=REPOSITORY)
        yield Scstadmin(served, directory, program)
