"""The toy tree, really mounted: one for tests that leave it alone, one for each other test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounted import Mounted, mounted_tree
from tests.support.needs import need_mounts

TOY = "tests.support.toytree:build"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A toy tree whose devices, modes and counts no test changes."""
    need_mounts()
    with mounted_tree(TOY, tmp_path_factory.mktemp("shared")) as mounted:
        yield mounted


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Mounted]:
    """A toy tree of one's own."""
    need_mounts()
    with mounted_tree(TOY, tmp_path) as mounted:
        yield mounted
