"""File descriptors that are closed meanwhile."""

from __future__ import annotations

import os

import trio


async def wait_until_closed(fd: int, seconds: float = 5) -> None:
    """Wait for a descriptor to be closed, which its engine does in a thread."""
    with trio.fail_after(seconds):
        while is_open(fd):
            await trio.sleep(0.005)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
