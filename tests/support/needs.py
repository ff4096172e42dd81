"""Requirements of tests on the machine: a test without them is skipped, or failed if CI is set.

A laptop may lack root or a tool. Continuous integration must not, or tests that never run would
look like tests that pass.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from tests.support.mounted import why_no_mount


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it if CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need_mounts() -> None:
    """The test mounts file systems in its own namespace."""
    if reason := why_no_mount():
        lacking(reason)


def need_programs(*names: str) -> None:
    """The test runs these programs."""
    if missing := [name for name in names if shutil.which(name) is None]:
        lacking(f"needs {', '.join(missing)}")
