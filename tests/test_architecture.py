"""The shape of the source: layers as drawn, modules of a readable size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LONGEST = 600

# Modules that are longer, each with the reason.
LONG: dict[str, str] = {}


@pytest.mark.slow
def test_imports_follow_the_layers() -> None:
    """The contracts in pyproject.toml, which say which package may import which."""
    pytest.importorskip("importlinter", reason="needs import-linter")
    # In a process of its own: it reconfigures logging for the whole process it runs in.
    script = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_longer_than_anybody_wants_to_read() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): path.read_text().count("\n")
        for directory in ("src", "tests", "bench", "contrib", "fuzz")
        for path in (REPOSITORY / directory).rglob("*.py")
    }
    assert lengths
    long = {path: lines for path, lines in lengths.items() if lines > LONGEST}
    assert set(long) == set(LONG), long


def test_every_module_says_what_it_is() -> None:
    for path in (REPOSITORY / "src").rglob("*.py"):
        text = path.read_text()
        assert not text or text.startswith(('"""', 'r"""')), path
        if re.search(r"^(import|from|class|def|async) ", text, re.MULTILINE):
            assert "\nfrom __future__ import annotations\n" in text, path


def test_dependencies_are_pinned_exactly() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        pins += extra
    pins += [
        line
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(pin.count("==") == 1 for pin in pins), pins
