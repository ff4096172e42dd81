"""Why commands were refused, kept by file."""

from __future__ import annotations

import errno

from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.refusals import MOST, Refusals


def test_the_last_refusal_of_each_file_is_kept() -> None:
    refusals = Refusals()
    refusals.note("a/mgmt", invalid("one"))
    refusals.note("a/mgmt", SysfsError(errno.EEXIST, "two"))
    refusals.note("b/mgmt", SysfsError(errno.ENODEV))
    assert refusals.last("a/mgmt") == "EEXIST: two"
    assert refusals.last("b/mgmt") == "ENODEV"
    assert refusals.last("c/mgmt") is None


def test_the_oldest_are_forgotten() -> None:
    refusals = Refusals()
    for number in range(MOST):
        refusals.note(f"{number}/mgmt", invalid("x"))
    refusals.note("0/mgmt", invalid("again"))
    refusals.note("new/mgmt", invalid("x"))
    assert refusals.last("1/mgmt") is None
    assert refusals.last("0/mgmt") == "EINVAL: again"
    assert refusals.last("2/mgmt") == refusals.last("new/mgmt") == "EINVAL: x"
