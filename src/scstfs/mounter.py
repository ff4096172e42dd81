"""The process that mounts and unmounts the tree for the daemon, so that the daemon need not be
allowed to: the daemon's side.

It is a child of the daemon, forked before that drops its privileges, or a service of its own
(`scstfs mounter`), which the service manager starts for each connection to a socket. The daemon can
only tell it to act, by one byte, not where. The descriptor of /dev/fuse, by which the daemon
answers the kernel, comes back over the socket between them.

When the daemon has ended in any way, the socket is closed; then what is still mounted is unmounted.
So a daemon that was killed leaves no dead tree behind, unless this process is killed with it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from scstfs import mounting
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.mounting import Instruction, Orders

log: Final = logging.getLogger(__name__)

_MOST: Final = 1 << 16  # bytes of an answer
# Seconds for an answer: waiting for another scstfs included. Unmounting must be quick.
_PATIENCE: Final = 30.0
_PATIENCE_AT_END: Final = 2.0
_END_POLL: Final = 0.005


class Mounter:
    """The daemon's side of the process. Made by `forked` or `connected`."""

    def __init__(self, link: socket.socket, pid: int | None = None) -> None:
        """Remember the socket, and the process if it is a child of ours."""
        self._pid = pid
        self._link = link
        self._busy = threading.Lock()
        self._is_attached = False

    def claim(self) -> None:
        """Write the pid file.

        Raises:
            UsageError: it cannot be written, or belongs to a running daemon.
        """
        self._ask(Instruction.CLAIM, _PATIENCE)

    def attach(self) -> tuple[str, int]:
        """Mount the tree.

        Returns:
            The path without symbolic links, and the descriptor by which the kernel's requests are
            answered; it is the caller's.

        Raises:
            UsageError: see `mountpoint.attach`.
        """
        answer, descriptors = self._ask(Instruction.ATTACH, _PATIENCE)
        self._is_attached = True
        return answer["path"], descriptors[0]

    def detach(self) -> None:
        """Unmount the tree. May be called from any thread, and more than once. Never raises."""
        if not self._is_attached:
            return
        try:
            self._ask(Instruction.DETACH, _PATIENCE_AT_END)
        except (OSError, UsageError, RuntimeError) as error:
            log.error("cannot unmount: %s", error)

    def close(self) -> None:
        """End the process, after it has undone everything."""
        self._link.close()
        if self._pid is None:
            return
        deadline = time.monotonic() + _PATIENCE_AT_END
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                log.warning("the process %d, which unmounts the tree, is stuck", self._pid)
                return
            time.sleep(_END_POLL)

    def _ask(self, what: Instruction, patience: float) -> tuple[dict[str, Any], list[int]]:
        if not self._busy.acquire(timeout=patience):
            raise TimeoutError(errno.ETIMEDOUT, "the process that mounts is busy")
        try:
            self._link.settimeout(patience)
            self._link.send(what)
            data, descriptors, _, _ = socket.recv_fds(self._link, _MOST, 1)
        except TimeoutError:
            self._link.close()  # a late answer would be taken for that to the next question
            raise
        finally:
            self._busy.release()
        if not data:
            raise RuntimeError("the process that mounts has ended")
        answer = json.loads(data)
        if "bug" in answer:
            raise RuntimeError(f"the process that mounts has failed: {answer['bug']}")
        if "message" in answer:
            raise UsageError(
                next(s for s in ExitStatus if s == answer["status"]), answer["message"]
            )
        return answer, descriptors


@contextlib.contextmanager
def forked(orders: Orders) -> Iterator[Mounter]:
    """Fork the process; it ends with this context. No other thread may run."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A signal to the whole process group ends the daemon; this process must outlive it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        ours.close()
        mounting.be_child(orders, its, mask)
    its.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    mounter = Mounter(ours, pid)
    try:
        yield mounter
    finally:
        mounter.close()


@contextlib.contextmanager
def connected(path: Path) -> Iterator[Mounter]:
    """Use the service behind the socket at *path*, which knows the mount point.

    Raises:
        UsageError: there is none, or it may not be used.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(str(path))
    except OSError as error:
        link.close()
        message = f"cannot reach the service that mounts: {path}: {reason(error)}"
        raise UsageError(ExitStatus.NOT_PERMITTED, message) from error
    mounter = Mounter(link)
    try:
        yield mounter
    finally:
        mounter.close()
