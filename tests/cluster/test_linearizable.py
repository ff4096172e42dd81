"""Random commands under faults: the answers are those of one unit."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.history import ModelUnit, Operation, longest_explained
from tests.cluster.nemesis import run_history
from tests.cluster.world import World, world
from tests.support.model_reservations import ModelReservations
from tests.support.reservations import CLEAR, IGNORE, KEYS, pr_in, pr_out, read_keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FIRST = int(os.environ.get("SCSTFS_FIRST_HISTORY", "0"))
SHORT, FULL = 5, 500
LONGEST_SHORT, LONGEST_FULL = 1.0, 20.0


@pytest.fixture(scope="module")
def trio_of_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("histories"), "a", "b", "c") as made:
        # One machine is older than the others, and its clock is wrong.
        made.nodes[2].clock = ("unshare", "--time", "--boottime", "1000000")
        for node in made.nodes:
            node.start()
        yield made


def begin(whole: World) -> ModelUnit:
    """A unit without registrants, and its model."""
    for node in whole.nodes:
        node.wait_until_open()
    initiator = whole.nodes[0].log_in(99)
    for cdb, data in (pr_out(IGNORE, new=99), pr_out(CLEAR, key=99)):
        assert initiator.command(cdb, data_out=data).status == 0
    zeros = initiator.command(b"\x2a" + bytes(7) + b"\x01\0", data_out=bytes(512))
    assert zeros.status == 0
    generation, keys = read_keys(initiator.command(pr_in(KEYS), expect=4096).data)
    assert keys == []
    initiator.close()
    return ModelUnit(ModelReservations(generation=generation))


def show(operations: list[Operation]) -> str:
    return "\n".join(map(str, sorted(operations, key=lambda one: one.invoked)))


def check(whole: World, seed: int, faults: int, longest: float) -> None:
    unit = begin(whole)
    operations = run_history(whole, seed, faults, longest)
    assert len(operations) > 20
    explained = longest_explained(operations, unit)
    assert explained is None, f"history {seed}:\n{show(operations)}\nexplained:\n" + "\n".join(
        map(str, explained)
    )


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SHORT))
def test_a_few_histories(trio_of_nodes: World, seed: int) -> None:
    check(trio_of_nodes, seed, 1, LONGEST_SHORT)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(FIRST + SHORT, FIRST + FULL))
def test_many_histories(trio_of_nodes: World, seed: int) -> None:
    check(trio_of_nodes, seed, 2, LONGEST_FULL if seed % 10 == 0 else 4.0)
