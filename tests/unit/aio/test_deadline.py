"""Requests that the system must not get after a deadline."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scstfs.aio import RequestKind
from scstfs.aio.deadline import Deadline
from tests.unit.aio.conftest import Disk, Open, Pending, aligned

SIZE = 1 << 20
BLOCK = 4096
KINDS = (RequestKind.READ, RequestKind.WRITE, RequestKind.FLUSH, RequestKind.ZERO)


@pytest.fixture(params=["buffered", "direct"])
async def disk(
    request: pytest.FixtureRequest, tmp_path: Path, open_disk: Open
) -> AsyncIterator[Disk]:
    path = tmp_path / "disk"
    path.write_bytes(b"o" * SIZE)
    disk = open_disk(path, direct=request.param == "direct")
    yield disk
    assert await disk.close() == 0


def begin(disk: Disk, kind: RequestKind, deadline: Deadline) -> Pending:
    memory = None
    if kind in (RequestKind.READ, RequestKind.WRITE):
        memory = aligned(BLOCK)
        memory[:] = b"n" * BLOCK
    return disk.begin(kind, 0, memory, length=0 if memory else BLOCK, deadline=deadline.address)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_in_time_is_done(disk: Disk, kind: RequestKind) -> None:
    deadline = Deadline()
    for seconds in (time.clock_gettime(time.CLOCK_BOOTTIME) + 60, math.inf):
        deadline.set(seconds)
        assert await begin(disk, kind, deadline).error() == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_too_late_is_not_done(disk: Disk, kind: RequestKind) -> None:
    deadline = Deadline()
    for seconds in (-math.inf, time.clock_gettime(time.CLOCK_BOOTTIME) - 1):
        deadline.set(seconds)
        assert await begin(disk, kind, deadline).error() == errno.ETIME
    assert await disk.read(0, BLOCK) == b"o" * BLOCK


async def test_what_was_in_time_when_it_was_submitted_may_be_late_when_it_is_handed_over(
    disk: Disk,
) -> None:
    deadline = Deadline()
    deadline.set(math.inf)
    disk.engine.hold()
    late = begin(disk, RequestKind.WRITE, deadline)
    deadline.set(-math.inf)
    disk.engine.release()
    assert await late.error() == errno.ETIME
    assert await disk.read(0, BLOCK) == b"o" * BLOCK
