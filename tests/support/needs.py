"""Tests that need something of the machine: skipped without it, but failed where CI is set.

A laptop may lack root or a tool; continuous integration may not, or a test nobody runs would look
like one that passes.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from tests.support.mounted import why_no_mount


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def need_mounts() -> None:
    """The test mounts file systems in a name space of its own."""
    if reason := why_no_mount():
        lacking(reason)


def need_programs(*names: str) -> None:
    """The test runs these programs."""
    if missing := [name for name in names if shutil.which(name) is None]:
        lacking(f"needs {', '.join(missing)}")
