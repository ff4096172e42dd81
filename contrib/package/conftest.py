"""What the tests of the package share: machines, and the packages that are tested."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from contrib.package.machine import REPOSITORY, Machine, is_root
from scstfs import __version__

NEWER = f"{__version__}.post1"
"""The version of the second build."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--release", default="bookworm", help="Debian's release (default: bookworm)")
    parser.addoption("--reuse", metavar="DIR", help="keep what is built in DIR, and use it again")


@dataclass(frozen=True)
class Builds:
    """What is built of this repository: as it is, and as a newer version."""

    sdist: Path
    wheel: Path
    deb: Path
    newer_deb: Path


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--release"))


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """For machines, which may change."""
    if not is_root():
        pytest.fail("machines are made by root")
    with TemporaryDirectory(prefix="scstfs-package.") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest, directory: Path) -> Path:
    """For what the tests do not change."""
    kept = Path(request.config.getoption("--reuse") or directory).absolute()
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@pytest.fixture(scope="session")
def bare(kept: Path, release: str) -> Machine:
    """A system with nothing but apt."""
    if (kept / "bare").exists():
        return Machine(kept / "bare", release)
    return Machine.install(kept / "bare", release)


@pytest.fixture(scope="session")
def builds(directory: Path, kept: Path, bare: Machine) -> Builds:
    """The packages, built in a system that has only what the build asks for."""
    if not (kept / "newer").exists():
        builder = bare.copy(directory / "builder")
        _build(builder, REPOSITORY, kept / "builds")
        source = directory / "source"
        source.mkdir()
        subprocess.run([REPOSITORY / "contrib" / "package" / "export", source], check=True)
        _edit(source / "src/scstfs/__init__.py", f'"{__version__}"', f'"{NEWER}"')
        _edit(source / "contrib/debian/changelog", r"\(([^)]*)\)", r"(\1.post1)")
        _build(builder, source, kept / "newer")
    return Builds(
        sdist=_only(kept / "builds", "*.tar.gz"),
        wheel=_only(kept / "builds", "*.whl"),
        deb=_only(kept / "builds", "*.deb"),
        newer_deb=_only(kept / "newer", "*.deb"),
    )


def _build(builder: Machine, source: Path, output: Path) -> None:
    """Make all packages of *source*; *output* appears when they are complete."""
    place = builder.path("/out")
    script = source / "contrib" / "package" / "build-dist"
    subprocess.run([script, sys.executable, place], check=True, stdout=subprocess.DEVNULL)
    builder.prepare(f"/scstfs/contrib/package/build-deb /out/{_only(place, '*.tar.gz').name} /out")
    shutil.move(place, output)


def _only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found


def _edit(file: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, file.read_text(), count=1)
    assert count == 1, file
    file.write_text(text)
