"""libiscsi's tests with two initiators, each of them at another node."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.world import CLIENT, NodeProcess, World, world
from tests.interop.libiscsi import Outcome, Result, listed, outcomes
from tests.support.needs import need_programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SUITES = ("Prin*", "Prout*", "Reserve6", "MultipathIO")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_programs("iscsi-test-cu")
    with world(tmp_path_factory.mktemp("libiscsi"), "a", "b", members=1) as made:
        for node in made.nodes:
            node.start()
        for node in made.nodes:
            node.wait_until_open()
        yield made


def run(pair: World, test: str, *nodes: NodeProcess) -> Outcome:
    argv = ["iscsi-test-cu", "--dataloss", f"--test={test}", *(node.url for node in nodes)]
    done = subprocess.run(
        pair.network[CLIENT].inside(*argv),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    [outcome] = outcomes(done.stdout)
    return outcome


def test_initiators_at_two_nodes_find_one_unit(pair: World) -> None:
    tests = listed(*(f"ALL.{suite}.*" for suite in SUITES))
    assert len(tests) > 20
    found = [run(pair, test, *pair.nodes) for test in tests]
    assert [one.text for one in found if one.result is Result.FAILED] == []
    skipped = [f"ALL.{one.test}" for one in found if one.result is Result.SKIPPED]
    alone = [run(pair, test, pair.nodes[0]) for test in skipped]
    assert {one.result for one in alone} <= {Result.SKIPPED}
