from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.whole import Whole, whole


@pytest.fixture
async def everything(tmp_path: Path) -> AsyncIterator[Whole]:
    """All of scstfs in this process, except for sockets; see `tests.support.whole`."""
    async with whole(tmp_path / "state") as running:
        yield running
