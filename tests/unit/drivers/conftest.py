from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.target import System, target


@pytest.fixture
async def system(memory_path: Path) -> AsyncIterator[System]:
    async with target(memory_path) as running:
        yield running
