"""The client of the load tests finds blocks that are not what they should be."""

from __future__ import annotations

import pytest

from tests.support.initiator import Initiator
from tests.support.verified_load import BLOCK, REGION_BLOCKS, Client, MismatchError, block_of


def nobody() -> Initiator:
    raise AssertionError("no connection is needed")


@pytest.fixture
def client() -> Client:
    """Its block 5 was written as version 7, and perhaps as version 8."""
    client = Client(1, nobody, seed=1, pause_seconds=0)
    client._possible[5] = {7, 8}
    return client


PLACE = REGION_BLOCKS + 5


@pytest.mark.parametrize(
    "found",
    [
        bytes(BLOCK),
        block_of(1, PLACE, 6),
        block_of(1, PLACE + 1, 7),
        block_of(2, PLACE, 7),
        block_of(1, PLACE, 7)[:512] + block_of(1, PLACE, 8)[512:],
    ],
    ids=["lost", "stale", "misplaced", "another client's", "torn"],
)
def test_a_wrong_block_is_found(client: Client, found: bytes) -> None:
    with pytest.raises(MismatchError):
        client._check(5, found)


@pytest.mark.parametrize(("found", "others"), [(7, 8), (8, 7)])
def test_what_was_open_is_decided_by_the_first_read(
    client: Client, found: int, others: int
) -> None:
    client._check(5, block_of(1, PLACE, found))
    client._check(5, block_of(1, PLACE, found))
    with pytest.raises(MismatchError):
        client._check(5, block_of(1, PLACE, others))
