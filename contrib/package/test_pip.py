"""`pip install` of the source distribution and of the wheel, on a machine that lacks everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contrib.package.backend import COMPILER, HEADERS, PROGRAMS
from contrib.package.conftest import Builds
from contrib.package.machine import Failed, Machine
from scstfs import __version__

CONSTRAINTS = "-c /scstfs/constraints.txt"


@pytest.fixture(scope="module")
def machine(directory: Path, bare: Machine, builds: Builds) -> Machine:
    """A machine that has pip, and nothing that is needed to compile."""
    machine = bare.copy(directory / "pip")
    for file in builds.sdist, builds.wheel:
        machine.path("/root").joinpath(file.name).write_bytes(file.read_bytes())
    machine.prepare(
        "apt-get -q -y install --no-install-recommends python3-venv; python3 -m venv /venv"
    )
    return machine


def test_it_names_all_that_is_missing_in_one_line_and_works_with_that(
    machine: Machine, builds: Builds
) -> None:
    install = f"/venv/bin/pip install {CONSTRAINTS} /root/{builds.sdist.name}"
    with pytest.raises(Failed) as failed:
        machine.prepare(install)
    packages = [COMPILER, *PROGRAMS.values(), *HEADERS.values()]
    line = f"scstfs: {', '.join(packages)} are missing: apt-get install {' '.join(packages)}"
    assert len(re.findall(r"^ *scstfs: .*$", str(failed.value), re.MULTILINE)) == 1
    assert line in str(failed.value)
    assert "Traceback" not in str(failed.value)
    machine.prepare(line.rpartition(": ")[2].replace("install", "install -q -y"))
    machine.prepare(install)
    assert machine.prepare("/venv/bin/scstfs --version").split()[:2] == ["scstfs", __version__]


@pytest.mark.parametrize("package", ["libfuse3-dev", "libsgutils2-dev"])
def test_it_names_a_header_that_is_missing(machine: Machine, builds: Builds, package: str) -> None:
    machine.prepare(f"apt-get -q -y remove {package}")
    with pytest.raises(Failed) as failed:
        machine.prepare(f"/venv/bin/pip install --force-reinstall /root/{builds.sdist.name}")
    assert f"scstfs: {package} is missing: apt-get install {package}\n" in str(failed.value)
    machine.prepare(f"apt-get -q -y install {package}")


def test_the_wheel_works_where_the_compiler_and_the_headers_are(
    machine: Machine, builds: Builds
) -> None:
    machine.prepare("python3 -m venv --clear /venv")
    machine.prepare(f"/venv/bin/pip install {CONSTRAINTS} /root/{builds.wheel.name}")
    assert machine.prepare("/venv/bin/scstfs --version").split()[:2] == ["scstfs", __version__]
    for page in "man1/scstadmin.1", "man8/scstfs.8":
        assert machine.path(f"/venv/share/man/{page}").exists()
