"""An initiator with a path to each of two nodes, one of which fails."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator

import pytest

from tests.cluster.world import NodeProcess, World, world
from tests.support.initiator import ClosedError, Initiator, LoginError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BLOCK = 512
BLOCKS = 4096
#: After this time without an answer a path has failed, as multipath daemons decide (seconds).
PATH_TIMEOUT = 2.0
LONGEST_GAP = 5.0


class TwoPaths:
    """Writes one block after the other, by whichever path works."""

    def __init__(self, nodes: list[NodeProcess]) -> None:
        self._nodes = nodes
        self._paths: dict[int, Initiator] = {}
        self._current = 0
        self.content: dict[int, bytes] = {}
        self.longest = 0.0

    def _path(self) -> Initiator:
        path = self._paths.get(self._current)
        if path is None:
            node = self._nodes[self._current]
            path = self._paths[self._current] = node.log_in(1, timeout=PATH_TIMEOUT)
        return path

    def _fail(self) -> None:
        path = self._paths.pop(self._current, None)
        if path is not None:
            path.close()
        self._current = 1 - self._current

    def write(self, number: int) -> None:
        """Write a block; try again until that has succeeded."""
        lba = number % BLOCKS
        data = struct.pack(">I", number) * (BLOCK // 4)
        started = time.monotonic()
        while True:
            try:
                cdb = struct.pack(">BxIxHx", 0x2A, lba, 1)
                if self._path().command(cdb, data_out=data).status == 0:
                    break
            except (ClosedError, LoginError, OSError):
                pass
            self._fail()
            assert time.monotonic() - started < 4 * LONGEST_GAP
        self.longest = max(self.longest, time.monotonic() - started)
        self.content[lba] = data

    def verify(self) -> None:
        """Read everything by both paths."""
        for at in (0, 1):
            self._current = at
            path = self._path()
            for lba, data in self.content.items():
                task = path.command(struct.pack(">BxIxHx", 0x28, lba, 1), expect=BLOCK)
                assert (task.status, task.data) == (0, data), lba

    def close(self) -> None:
        for path in self._paths.values():
            path.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("failover"), "a", "b", members=1) as made:
        for node in made.nodes:
            node.start()
        yield made


def fail_over(pair: World, rounds: int) -> float:
    """Let one node fail after the other; the longest time without a completed write."""
    chance, number, longest = random.Random(1), 0, 0.0
    for at in range(rounds):
        for node in pair.nodes:
            node.wait_until_open()
        initiator = TwoPaths(pair.nodes)
        for _ in range(50):
            number += 1
            initiator.write(number)
        # The initiator uses the first path, until that fails.
        victim = pair.nodes[0]
        match at % 3:
            case 0:
                victim.kill()
            case 1:
                victim.pause()
            case 2:
                pair.network.isolate(victim.name)
        end = time.monotonic() + chance.uniform(0.5, 1.5)
        while time.monotonic() < end:
            number += 1
            initiator.write(number)
        pair.mend()
        for node in pair.nodes:
            node.wait_until_open()
        initiator.verify()
        initiator.close()
        longest = max(longest, initiator.longest)
    return longest


def test_no_error_reaches_the_initiator(pair: World) -> None:
    assert fail_over(pair, 3) < LONGEST_GAP


@pytest.mark.full
def test_no_error_in_a_hundred_failures(pair: World) -> None:
    assert fail_over(pair, 100) < LONGEST_GAP
