from __future__ import annotations

from scstfs.core.taskset import Claim
from scstfs.drivers.copying.block_copy import Piece, claims_of
from tests.support.target import System


async def test_claims_that_adjoin_are_taken_together(system: System) -> None:
    one = await system.add_disk("one")
    two = await system.add_disk("two", blocksize=4096)
    pieces = [
        Piece(one, 8 * 512, two, 4096, 4096, 0),
        Piece(one, 16 * 512, two, 4 * 4096, 4096, 1),
        Piece(one, 0, two, 2 * 4096, 4096, 2),
        Piece(None, 0, one, 100 * 512, 512, 3),
        Piece(one, 0, two, 0, 0, 4),
    ]
    assert set(claims_of(pieces)) == {
        (one.tasks, Claim(0, 24, writes=False, exclusive=True)),
        (one.tasks, Claim(100, 101, writes=True, exclusive=True)),
        (two.tasks, Claim(1, 3, writes=True, exclusive=True)),
        (two.tasks, Claim(4, 5, writes=True, exclusive=True)),
    }


def test_a_copy_of_nothing_claims_nothing() -> None:
    assert claims_of([]) == ()
