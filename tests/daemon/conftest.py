"""Fixtures of tests that start daemons."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that all users can reach."""
    directory = Path(tempfile.mkdtemp(prefix="scstfs-place."))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
