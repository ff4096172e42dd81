"""Persistent reservations survive any end of the process, at any instant.

After each restart there is what the last acknowledged command left, or the one under way: nothing
older, nothing damaged, and never a device that does not come up.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import trio

from scstfs.mounts import MountFlag, mount
from scstfs.persist import reservations as file_format
from scstfs.persist.reservations import DamagedFile
from tests.support import reservation_child
from tests.support.model_reservations import ModelReservations
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts
from tests.support.reservation_child import Child, Command
from tests.support.reservation_rounds import NOT_SAVED, Seen, Step, step
from tests.support.reservations import (
    APTPL,
    FULL_STATUS,
    IGNORE,
    KEYS,
    RESERVATION,
    RESERVE,
    WE,
    pr_in,
    pr_out,
)
from tests.support.target import GOOD, target

ROUNDS = int(os.environ.get("SCSTFS_CRASH_ROUNDS", "200"))
PIECES = 8


def see(child: Child) -> Seen:
    answers = [
        child.execute(Command(0, pr_in(action), data_in=4096))
        for action in (KEYS, RESERVATION, FULL_STATUS)
    ]
    return Seen.decode(*(answer.data for answer in answers if answer is not None))


def one_of_two_is_valid(state: Path) -> bool:
    """NAME can be read or does not exist, or else NAME.1 can be read."""
    for path in (state / "pr" / "disk", state / "pr" / "disk.1"):
        try:
            file_format.decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except DamagedFile:
            return False
    return True


def crash(chance: random.Random, child: Child, planned: Step) -> bool:
    """Kill the child while it is at a command; returns whether that was answered all the same."""
    if chance.random() < 0.6:
        # In place of one of the system calls that saving consists of.
        command = Command(
            planned.initiator, planned.cdb, planned.data, killed_at=chance.randint(1, 12)
        )
        child.send(command)
    else:
        child.send(Command(planned.initiator, planned.cdb, planned.data))
        time.sleep(chance.uniform(0, 0.02))
        child.process.kill()
    answer = child.answer()
    child.kill()
    if answer is not None:
        assert (answer.status, answer.triple) == (planned.status, planned.sense)
    return answer is not None


def play(directory: Path, chance: random.Random, rounds: int) -> dict[str, int]:
    """Crash again and again; returns how often what happened."""
    seen = dict.fromkeys(("acknowledged", "lost", "done", "not saved", "kept"), 0)
    possible = [ModelReservations()]
    for number in range(rounds):
        assert one_of_two_is_valid(directory / "state"), number
        child = reservation_child.start(directory)
        try:
            assert child.refusal == "", number
            found = see(child)
            left = [model.restarted() for model in possible]
            matching = [model for model in left if Seen.of(model) == found]
            assert matching, (number, found, [Seen.of(model) for model in left])
            model = matching[0]
            if len(left) > 1 and Seen.of(left[0]) != Seen.of(left[1]):
                seen["lost" if model is left[0] else "done"] += 1
            seen["kept"] += bool(model.keys)
            for _ in range(chance.randint(0, 4)):
                planned = step(chance, model)
                full_at = chance.randint(1, 12) if chance.random() < 0.3 else 0
                answer = child.execute(
                    Command(planned.initiator, planned.cdb, planned.data, full_at=full_at)
                )
                assert answer is not None
                if full_at and answer.triple == NOT_SAVED:
                    seen["not saved"] += 1
                else:
                    assert (answer.status, answer.triple) == (planned.status, planned.sense)
                    model = planned.after
                assert see(child) == Seen.of(model), number
            planned = step(chance, model)
            answered = crash(chance, child, planned)
            seen["acknowledged"] += answered
            possible = [planned.after] if answered else [model, planned.after]
        finally:
            child.kill()
    return seen


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PIECES))
def test_a_killed_process_loses_nothing(tmp_path: Path, part: int) -> None:
    """``SCSTFS_CRASH_ROUNDS`` (200) rounds in all parts together."""
    seed = f"{part} {os.environ.get('SCSTFS_CRASH_SEED', 'crash')}"
    seen = play(tmp_path, random.Random(seed), ROUNDS // PIECES)
    # It did meet what it is about.
    assert min(seen["kept"], seen["not saved"], seen["lost"] + seen["done"]) > 0, seen


def test_a_state_directory_that_is_really_full(tmp_path: Path) -> None:
    need_mounts()
    state = tmp_path / "state"
    state.mkdir()

    async def body() -> None:
        async with target(tmp_path) as system:
            disk = await system.add_disk("disk")
            one = system.initiator("one")
            assert await one.execute(*pr_out(IGNORE, new=1, flags=APTPL)) == GOOD
            path = state / "pr" / "disk"
            before = path.read_bytes()
            with (state / "filler").open("wb", buffering=0) as filler:
                try:
                    while True:
                        filler.write(bytes(4096))
                except OSError:
                    pass
            for command in (pr_out(RESERVE, WE, key=1), pr_out(IGNORE, new=2, flags=APTPL)):
                refused = await one.execute(*command)
                assert refused.triple == NOT_SAVED
                assert disk.pr.reservation is None
                assert [r.key for r in disk.pr.registrants] == [1]
                assert path.read_bytes() == before
            (state / "filler").unlink()
            assert await one.execute(*pr_out(RESERVE, WE, key=1)) == GOOD
            assert file_format.decode(path.read_bytes()).reservation == (WE, 0)

    def in_small_space() -> None:
        mount("tmpfs", str(state), "tmpfs", MountFlag(0), "size=32k")
        trio.run(body)

    in_namespace(in_small_space)
