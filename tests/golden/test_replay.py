"""Recordings of SCST 3.10's tree, replayed: every answer, entry, mode, link and byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.machine import need_machine, on_recorded_machine
from tests.support.replay import SCSI_DEVICES, SCST_USER, Replay, differences, load
from tests.support.whole import whole

RECORDINGS = Path(__file__).parents[1] / "data" / "oracle"

SCENARIOS = [
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

LEFT_OUT = [SCST_USER, SCSI_DEVICES]


async def replay(name: str) -> list[str]:
    lines = (RECORDINGS / f"{name}.txt").read_text().splitlines()
    async with whole(Path("/var/lib/scst")) as everything:
        actual = await Replay(everything.tree).run(lines)
    return differences(load(RECORDINGS / f"{name}.jsonl"), actual, LEFT_OUT)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_tree_answers_as_recorded(name: str) -> None:
    need_machine()

    def body() -> None:
        found = trio.run(replay, name)
        assert not found, "\n".join(found[:60]) + f"\n{len(found)} differences"

    on_recorded_machine(body)
