"""What a write to the tree fails with where the core refuses."""

from __future__ import annotations

import errno

import pytest

from scstfs.core.errors import AlreadyExists, Refused, StillBusy, SystemRefused
from scstfs.tree.core_errors import translate
from tests.support.whole import Whole


@pytest.mark.parametrize(
    ("refused", "number"),
    [
        (Refused("no"), errno.EINVAL),
        (AlreadyExists("no"), errno.EEXIST),
        (StillBusy("no"), errno.EBUSY),
        (SystemRefused("it", OSError(errno.ENOENT, "no")), errno.ENOENT),
        (SystemRefused("it", OSError("no")), errno.EIO),
    ],
)
def test_each_refusal_has_its_errno(refused: Refused, number: int) -> None:
    found = translate(refused)
    assert found is not None
    assert (found.errno, found.reason) == (number, refused.reason)


def test_anything_else_is_a_bug() -> None:
    assert translate(ValueError("a bug")) is None


async def test_a_write_fails_with_it(everything: Whole) -> None:
    await everything.add_null("null")
    directory = await everything.add_target()
    await everything.write(f"{directory}/luns/mgmt", "add null 0\n")
    assert await everything.refusal(f"{directory}/luns/mgmt", "add null 0\n") == "EEXIST"
    assert everything.result == f"-{errno.EEXIST}"
