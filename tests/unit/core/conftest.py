from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scstfs.handlers.vdisk import VdiskDevice
from tests.support.nexuses import Nexuses
from tests.support.target import System, target


@pytest.fixture
async def system(memory_path: Path) -> AsyncIterator[System]:
    """A core with a target; see `tests.support.target`."""
    async with target(memory_path) as running:
        yield running


@pytest.fixture
async def disk(system: System) -> VdiskDevice:
    """A disk, LUN 0 for all initiators."""
    return await system.add_disk("disk")


@pytest.fixture
def nexuses(system: System, disk: VdiskDevice) -> Nexuses:
    """Initiators to be registered with the disk."""
    return Nexuses(system, disk)
