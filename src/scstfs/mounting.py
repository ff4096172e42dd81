"""The process that mounts and unmounts the tree for the daemon (`scstfs.mounter`): its side."""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import logging
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import setproctitle

from scstfs import capabilities, mountpoint, mounts, system
from scstfs.capabilities import Capability
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.mountpoint import FUSE_SUBTYPE, MountPoint
from scstfs.mounts import MountFlag
from scstfs.signals import STOP, USER

log: Final = logging.getLogger(__name__)

PROCESS_NAME: Final = "scstfs-mounter"

_FLAGS: Final = {
    "nosuid": MountFlag.NOSUID,
    "nodev": MountFlag.NODEV,
    "noexec": MountFlag.NOEXEC,
}

# What the process keeps: mount(2), and a pid file in a directory of another user.
_KEPT: Final = (Capability.SYS_ADMIN, Capability.DAC_OVERRIDE)

_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Instruction(bytes, enum.Enum):
    """What the daemon can say."""

    CLAIM = b"c"
    ATTACH = b"a"
    DETACH = b"d"


@dataclass(frozen=True, slots=True)
class Orders:
    """What the process knows before the daemon says anything.

    Attributes:
        path: where to mount.
        pid_file: the file for the daemon's process id; None for no file.
        options: FUSE mount options (mount.fuse3(8)) without subtype.
    """

    path: str
    pid_file: Path | None
    options: frozenset[str]


class _Work:
    """What the process can be told to do."""

    def __init__(self, orders: Orders, daemon: int) -> None:
        self._orders = orders
        self._daemon = daemon
        self._claimed = contextlib.ExitStack()
        self._mount: MountPoint | None = None

    def claim(self) -> None:
        """Write the pid file."""
        if self._orders.pid_file is not None:
            self._claimed.enter_context(system.pid_file(self._orders.pid_file, self._daemon))

    def attach(self) -> tuple[str, int]:
        """Mount; return the path and the descriptor."""
        opened: list[int] = []

        def mount(path: str) -> None:
            call = _mount if os.geteuid() == 0 else _mount_by_fusermount
            opened.append(call(path, self._orders.options))

        try:
            self._mount = mountpoint.attach(self._orders.path, mount)
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return self._mount.path, opened[0]

    def detach(self) -> None:
        """Unmount."""
        if self._mount is not None:
            self._mount.detach()
            self._mount = None

    def end(self) -> None:
        """Undo what the daemon left when it ended."""
        if self._mount is not None:
            log.warning("the daemon has ended: unmounting %s", self._mount.path)
            self.detach()
        self._claimed.close()


def be_child(orders: Orders, link: socket.socket, mask: Iterable[int]) -> NoReturn:
    """Be the process, forked by the daemon with all signals blocked; `mask` unblocks them."""
    status: int = ExitStatus.BUG
    try:
        _ignore_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        null = os.open(os.devnull, os.O_RDWR)  # the log has its own descriptor
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)
        serve(orders, link)
        status = ExitStatus.OK
    except BaseException:
        log.critical("unexpected error", exc_info=True)
    finally:
        logging.shutdown()
        os._exit(status)


def serve(orders: Orders, link: socket.socket) -> None:
    """Do what the daemon at the other end of `link` says, until it has ended."""
    _ignore_signals()
    setproctitle.setproctitle(PROCESS_NAME)
    setproctitle.setthreadtitle(PROCESS_NAME)
    if os.geteuid() == 0:  # otherwise fusermount3(1) has the privileges
        capabilities.limit_programs(_KEPT)
        capabilities.limit(_KEPT)
        capabilities.forbid_more()
        capabilities.forbid_dumps()
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    daemon, _, _ = _PEER.unpack(credentials)
    work = _Work(orders, daemon)
    _obey(work, link, daemon)
    work.end()


def _ignore_signals() -> None:
    for number in STOP | USER | {signal.SIGQUIT}:
        signal.signal(number, signal.SIG_IGN)


def _obey(work: _Work, link: socket.socket, daemon: int) -> None:
    """Do what the daemon says, until it has ended, even if others still have its descriptors."""
    try:
        ended = os.pidfd_open(daemon)
    except ProcessLookupError:
        return
    try:
        _obey_until(work, link, ended)
    finally:
        os.close(ended)


def _obey_until(work: _Work, link: socket.socket, ended: int) -> None:
    """Do what is said until the descriptor `ended` is readable, or nothing can be said any more."""
    ours = link.fileno()
    while ours in select.select([ours, ended], [], [])[0] and (told := _receive(link)):
        answer: dict[str, object] = {}
        descriptors: list[int] = []
        try:
            match told:
                case Instruction.CLAIM:
                    work.claim()
                case Instruction.ATTACH:
                    answer["path"], descriptor = work.attach()
                    descriptors.append(descriptor)
                case Instruction.DETACH:
                    work.detach()
        except UsageError as error:
            answer = {"status": error.status, "message": error.message}
        except Exception as error:
            log.error("Internal error", exc_info=error)
            answer = {"bug": str(error)}
        with contextlib.suppress(OSError):  # it has just ended
            socket.send_fds(link, [json.dumps(answer).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(1)
    except ConnectionResetError:
        return b""


def _mount(path: str, options: frozenset[str]) -> int:
    """Mount by mount(2); return the descriptor of /dev/fuse.

    Raises:
        UsageError: the system refuses.
    """
    named = dict(option.split("=", 1) for option in options if "=" in option)
    words = {option for option in options if "=" not in option}
    flags = MountFlag.NONE
    for word in words & _FLAGS.keys():
        flags |= _FLAGS[word]
    descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    data = [f"fd={descriptor}", "rootmode=40000", f"user_id={os.geteuid()}"]
    data += [f"group_id={os.getegid()}", *sorted(words - _FLAGS.keys())]
    try:
        kind = f"fuse.{FUSE_SUBTYPE}"
        mounts.mount(named.get("fsname", FUSE_SUBTYPE), path, kind, flags, ",".join(data))
    except OSError as error:
        os.close(descriptor)
        raise _refused(path, reason(error)) from error
    return descriptor


def _mount_by_fusermount(path: str, options: frozenset[str]) -> int:
    """Have fusermount3(1) mount, which may do so for ordinary users; return the descriptor.

    It sends the descriptor to the socket that $_FUSE_COMMFD names, as for libfuse.

    Raises:
        UsageError: it refuses.
    """
    # It refuses allow_other, unless fuse.conf says otherwise.
    words = sorted({*options, f"subtype={FUSE_SUBTYPE}"} - {"allow_other"})
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, its:
        try:
            done = subprocess.run(
                ["fusermount3", "-o", ",".join(words), "--", path],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "_FUSE_COMMFD": str(its.fileno())},
                pass_fds=(its.fileno(),),
            )
        except FileNotFoundError as error:
            raise _refused(path, "there is no fusermount3(1)") from error
        its.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if done.returncode != 0 or not descriptors:
        lines = done.stderr.splitlines() or [os.strerror(errno.EPERM)]
        raise _refused(path, lines[0].strip())
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _refused(path: str, why: str) -> UsageError:
    return UsageError(ExitStatus.NOT_PERMITTED, f"cannot mount on {path}: {why}")
