"""Recordings of SCST 3.10, replayed on the mount of a real daemon.

Compared are every outcome, entry, mode, link and byte, and in the scenarios with initiators every
status, sense, residual, asynchronous message and byte of data. Scenarios without initiators are
replayed in this process, too: there the whole tree can be compared each time it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.support.machine import need_machine, on_recorded_machine
from tests.support.recordings import differences, load, scenario
from tests.support.replay import Replay
from tests.support.replay_mount import LEFT_OUT, replay_on_mount
from tests.support.whole import whole

TREES = [
    "01_boot",
    "02_vdisk",
    "03_device_attributes",
    "04_targets",
    "05_luns_and_groups",
    "06_iscsi_attributes",
    "07_root_attributes",
    "08_device_groups",
    "fuzz1",
    "fuzz2",
    "fuzz3",
]
INITIATORS = ["io1", "io2", "io3"]

# Seconds: some five where nothing else runs, but a busy machine takes longer.
TIMEOUT = 240


def check(replay: Callable[[], list[str]]) -> None:
    """Replay on the machine of the recordings and find no differences."""
    need_machine()

    def body() -> None:
        found = replay()
        assert not found, "\n".join(found[:60]) + f"\n{len(found)} differences"

    on_recorded_machine(body)


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
def test_the_tree_is_as_recorded(name: str) -> None:
    async def replay() -> list[str]:
        async with whole(Path("/var/lib/scst")) as everything:
            actual = await Replay(everything.tree).run(scenario(name))
        return differences(load(name), actual, LEFT_OUT)

    check(lambda: trio.run(replay))


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("name", TREES)
def test_the_daemon_answers_as_recorded(name: str) -> None:
    check(lambda: replay_on_mount(name, every_dump=False))


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("name", INITIATORS)
def test_initiators_are_answered_as_recorded(name: str) -> None:
    check(lambda: replay_on_mount(name))
