"""Disks to copy between."""

from __future__ import annotations

import pytest

from scstfs.handlers.vdisk import VdiskDevice
from tests.support.copies import DATA
from tests.support.target import System


@pytest.fixture
async def disks(system: System) -> tuple[VdiskDevice, VdiskDevice]:
    """A source with 64 blocks of random data, and an empty destination."""
    source = await system.add_disk("source", thin_provisioned=1)
    destination = await system.add_disk("destination", thin_provisioned=1)
    with (system.directory / "source").open("r+b") as file:
        file.write(DATA)
    return source, destination
