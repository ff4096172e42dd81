"""Counts and events."""

from __future__ import annotations

import os
from pathlib import Path

from scstfs.core.statistics import LONGEST_TEXT, MOST_BYTES, Statistics
from scstfs.scsi.status import Status
from tests.support.target import target

RESERVE = bytes.fromhex("160000000000")
READ_10 = bytes.fromhex("28000000000000000100")
UNKNOWN = bytes.fromhex("ff" + "00" * 15)


def kinds(statistics: Statistics) -> list[tuple[str, str]]:
    return [(event["kind"], event["text"]) for event in statistics.events.values]


def test_events_are_numbered_and_the_oldest_are_forgotten() -> None:
    now = 1000.0
    statistics = Statistics(lambda: now)
    for number in range(1000):
        now += 1.0
        statistics.note("login", str(number), target="t")
    assert 0.9 * MOST_BYTES < len(statistics.events.text) <= MOST_BYTES
    last = {"number": 1000, "time": 2000.0, "kind": "login", "text": "999", "target": "t"}
    assert statistics.events.values[-1] == last


def test_a_flood_of_events_is_cut_off_for_a_while_and_texts_are_cut() -> None:
    now = 1000.0
    statistics = Statistics(lambda: now)
    for _ in range(100):
        statistics.note("error", "x" * 1000)
    statistics.note("login", "someone")
    assert [event["number"] for event in statistics.events.values] == [*range(1, 21), 101]
    assert len(statistics.events.values[0]["text"]) == LONGEST_TEXT
    now += 6.0
    statistics.note("error", "again")
    assert statistics.events.values[-1]["number"] == 102


def test_a_clock_that_was_set_back_does_not_silence_events() -> None:
    now = 1000.0
    statistics = Statistics(lambda: now)
    for _ in range(30):
        statistics.note("error", "x")
    now = 10.0
    statistics.note("error", "y")
    assert statistics.events.values[-1]["text"] == "y"


async def test_what_commands_cause(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        device = await system.add_disk()
        alice, bob = system.initiator("alice"), system.initiator("bob")
        statistics = system.scst.env.statistics
        await alice.execute(RESERVE)
        assert ("reservation", "disk: RESERVE of alice") in kinds(statistics)
        conflict = await bob.execute(READ_10, data_in=4096)
        assert conflict.status is Status.RESERVATION_CONFLICT
        await alice.execute(UNKNOWN)
        assert device.outcomes == {"reservation_conflict": 1, "illegal_request": 1}
        await bob.end()
        assert kinds(statistics)[-1] == ("logout", "bob has left target")
        assert ("login", "bob logged in to target") in kinds(statistics)


async def test_a_fault_of_the_store_is_an_event(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        device = await system.add_disk(blocksize=512)
        initiator = system.initiator()
        os.truncate(tmp_path / "disk", 0)
        await initiator.execute(READ_10, data_in=512)
        assert device.outcomes["medium_error"] == 1
        (event,) = (e for e in system.scst.env.statistics.events.values if e["kind"] == "error")
        assert event["text"].startswith("disk: medium error (")
        assert (event["target"], event["initiator"], event["device"]) == (
            "target",
            "initiator",
            "disk",
        )
