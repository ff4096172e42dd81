from __future__ import annotations

import errno

import pytest

from scstfs.sysfs.errors import SysfsError, failed, invalid, removed


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (invalid("Unknown action"), errno.EINVAL, "EINVAL: Unknown action"),
        (removed(), errno.ENODEV, "ENODEV"),
        (
            failed("disk", OSError(errno.ENOSPC, "full")),
            errno.ENOSPC,
            "ENOSPC: disk: full",
        ),
        (failed("disk", OSError("odd")), errno.EIO, "EIO: disk: odd"),
        (SysfsError(errno.EAGAIN), errno.EAGAIN, "EAGAIN"),
        (SysfsError(9999, "odd"), 9999, "9999: odd"),
    ],
)
def test_errno_and_text(error: SysfsError, code: int, text: str) -> None:
    assert error.errno == code
    assert str(error) == text
