from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Nodes, nodes_of
from tests.support.etcd import Member, one_member

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """A running etcd; each test has a cluster of its own there."""
    with one_member(tmp_path_factory.mktemp("etcd")) as member:
        yield member


@pytest.fixture
async def nodes(tmp_path: Path, etcd: Member) -> AsyncIterator[Nodes]:
    """Two nodes that serve one disk."""
    async with nodes_of(tmp_path, etcd.url, f"test {next(_NUMBERS)}", 2) as running:
        yield running
