"""The build backend (PEP 517): setuptools', with two additions.

Before scstfs is built for an installation it says in one line which packages are missing. The
compiler would need a page for that, and pyfuse3, which is compiled after scstfs, does not know
their names. With SOURCE_DATE_EPOCH set, a source distribution has the same bytes each time, as
wheels of setuptools do.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from setuptools import build_meta

_Settings = Mapping[str, Any] | None

COMPILER: Final = "gcc"
"""Debian's package with the compiler."""

PROGRAMS: Final[Mapping[str, str]] = {"pkg-config": "pkg-config"}
"""Other programs that the build runs, with Debian's package of each."""

HEADERS: Final[Mapping[str, str]] = {
    "Python.h": "python3-dev",
    "fuse3/fuse.h": "libfuse3-dev",
    # Nothing includes it, but the name of the library's own package has its version in it, so this
    # is the package that can be named. Without it there is no pass-through.
    "scsi/sg_lib.h": "libsgutils2-dev",
}
"""Headers of what is compiled or loaded, with Debian's package of each."""

build_wheel = build_meta.build_wheel
build_editable = build_meta.build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable


def get_requires_for_build_wheel(settings: _Settings = None) -> list[str]:
    """Check for what is needed, then ask setuptools. Every installation begins here."""
    _check()
    needed: list[str] = build_meta.get_requires_for_build_wheel(settings)
    return needed


def get_requires_for_build_editable(settings: _Settings = None) -> list[str]:
    """Likewise, for an editable installation."""
    _check()
    needed: list[str] = build_meta.get_requires_for_build_editable(settings)
    return needed


def build_sdist(directory: str, settings: _Settings = None) -> str:
    """Make the source distribution, and return its name."""
    name: str = build_meta.build_sdist(directory, settings)
    if "SOURCE_DATE_EPOCH" in os.environ:
        _normalise(Path(directory, name), int(os.environ["SOURCE_DATE_EPOCH"]))
    return name


def _check() -> None:
    if missing := missing_packages():
        names = " ".join(missing)
        verb = "is" if len(missing) == 1 else "are"
        sys.exit(f"scstfs: {', '.join(missing)} {verb} missing: apt-get install {names}")


def missing_packages() -> list[str]:
    """Return the Debian packages whose contents are not found."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    has_compiler = shutil.which(compiler[0]) is not None
    missing = [] if has_compiler else [COMPILER]
    missing += [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    for header, package in HEADERS.items():
        found = _compiler_finds(compiler, header) if has_compiler else _exists(header)
        if not found:
            missing.append(package)
    return missing


def _compiler_finds(compiler: list[str], header: str) -> bool:
    # FUSE's header wants to be told a version, and shows that in an error only.
    question = f"#if !__has_include(<{header}>)\n#error\n#endif\n"
    argv = [*compiler, "-E", "-I", sysconfig.get_path("include"), "-x", "c", "-"]
    return subprocess.run(argv, input=question.encode(), capture_output=True).returncode == 0


def _exists(header: str) -> bool:
    places = (sysconfig.get_path("include"), "/usr/local/include", "/usr/include")
    return any(Path(place, header).exists() for place in places)


def _normalise(sdist: Path, epoch: int) -> None:
    """Give the members of an archive an order, a time and owners that no build changes."""
    new = sdist.with_name(f"{sdist.name}.new")
    with (
        tarfile.open(sdist) as old,
        new.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as made,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime = epoch
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            member.pax_headers = {}
            made.addfile(member, old.extractfile(member) if member.isfile() else None)
    new.replace(sdist)
