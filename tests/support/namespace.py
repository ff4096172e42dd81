"""Runs a function in a child process with its own mount namespace.

The mount table can be changed freely there, without effect on the host's. A fork of the test
process is much cheaper than a new interpreter.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable

from scstfs.mounts import MountFlag, mount

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS = 0x20000
MS_SHARED = MountFlag(1 << 20)
MS_SLAVE = MountFlag(1 << 19)


def unshare(propagation: MountFlag = MountFlag.PRIVATE) -> None:
    """Move the calling process into a new mount namespace, a copy of its present one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("", "/", "", MountFlag.REC | propagation)


def fork(function: Callable[[], None]) -> Callable[[], str]:
    """Run *function* in a child process; returns a function that waits for its end.

    The returned function returns the traceback of the child, "" if it succeeded.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            # A test that ends by its time-out must not leave processes behind.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.close(reader)
            try:
                function()
            except BaseException:
                os.write(writer, traceback.format_exc()[-60000:].encode())
        finally:
            os._exit(0)
    os.close(writer)

    def wait() -> str:
        with open(reader, errors="replace") as file:
            text = file.read()
        os.waitpid(pid, 0)
        return text

    return wait


def in_namespace(function: Callable[[], None]) -> None:
    """Run *function* in a child process in a private mount namespace; fail if it fails."""

    def body() -> None:
        unshare()
        function()

    failure = fork(body)()
    if failure:
        raise AssertionError(failure)
