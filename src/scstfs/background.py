"""Going to the background, as daemons do when a script starts them.

The starting process waits until the service is up, and exits with its status if it fails.
"""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

from scstfs.errors import ExitStatus

_STDERR: Final = 2


class Background:
    """The process in the background; it still has the standard streams of the waiting process."""

    def __init__(self, told: int) -> None:
        """`told` is the write end of a pipe that the waiting process reads."""
        self._told = told

    def ready(self) -> None:
        """Release the waiting process, and leave the terminal to it."""
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(_STDERR + 1):
            os.dup2(null, fd)
        os.close(null)
        os.write(self._told, b"ready")
        os.close(self._told)


def detach() -> Background:
    """Continue in a new process, in its own session and in the root directory.

    The calling process never returns: it exits when the new one is `ready`, or with the new one's
    exit status. No other thread may run.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        _wait(pid, reader)
    os.close(reader)
    os.setsid()
    os.chdir("/")
    return Background(writer)


def _wait(pid: int, reader: int) -> NoReturn:
    status: int = ExitStatus.OK
    if not os.read(reader, 1):
        _, wait_status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(wait_status)
        status = code if code >= 0 else ExitStatus.BUG
    os._exit(status)
