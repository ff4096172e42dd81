"""The process that mounts and unmounts the tree for the daemon, so that the daemon need not be
allowed to.

It is forked before the daemon drops its privileges. It knows the mount point and the pid file from
then on; the daemon can only tell it to act, by one byte, not where. The descriptor of /dev/fuse, by
which the daemon answers the kernel, comes back over the socket between them.

When the daemon has ended in any way, the socket is closed; then what is still mounted is unmounted.
So a daemon that was killed leaves no dead tree behind, unless this process is killed with it.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import setproctitle

from scstfs import capabilities, mountpoint, mounts, system
from scstfs.capabilities import Capability
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.mountpoint import FUSE_SUBTYPE, MountPoint
from scstfs.mounts import MountFlag
from scstfs.signals import STOP, USER

log: Final = logging.getLogger(__name__)

PROCESS_NAME: Final = "scstfs-mounter"

_MOST: Final = 1 << 16  # bytes of an answer
# Seconds for an answer: waiting for another scstfs included. Unmounting must be quick.
_PATIENCE: Final = 30.0
_PATIENCE_AT_END: Final = 2.0
_END_POLL: Final = 0.005

_FLAGS: Final = {
    "nosuid": MountFlag.NOSUID,
    "nodev": MountFlag.NODEV,
    "noexec": MountFlag.NOEXEC,
}


class _Instruction(bytes, enum.Enum):
    """What the daemon can say."""

    CLAIM = b"c"
    ATTACH = b"a"
    DETACH = b"d"


# What the process keeps: mount(2), and a pid file in a directory of another user.
_KEPT: Final = (Capability.SYS_ADMIN, Capability.DAC_OVERRIDE)


class Mounter:
    """The daemon's side of the process. Made by `started`."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        """Remember the process and the socket to it."""
        self._pid = pid
        self._link = link
        self._busy = threading.Lock()
        self._is_attached = False

    def claim(self) -> None:
        """Write the pid file.

        Raises:
            UsageError: it cannot be written, or belongs to a running daemon.
        """
        self._ask(_Instruction.CLAIM, _PATIENCE)

    def attach(self) -> tuple[str, int]:
        """Mount the tree.

        Returns:
            The path without symbolic links, and the descriptor by which the kernel's requests are
            answered; it is the caller's.

        Raises:
            UsageError: see `mountpoint.attach`.
        """
        answer, descriptors = self._ask(_Instruction.ATTACH, _PATIENCE)
        self._is_attached = True
        return answer["path"], descriptors[0]

    def detach(self) -> None:
        """Unmount the tree. May be called from any thread, and more than once. Never raises."""
        if not self._is_attached:
            return
        try:
            self._ask(_Instruction.DETACH, _PATIENCE_AT_END)
        except (OSError, UsageError, RuntimeError) as error:
            log.error("cannot unmount: %s", error)

    def close(self) -> None:
        """End the process, after it has undone everything."""
        self._link.close()
        deadline = time.monotonic() + _PATIENCE_AT_END
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                log.warning("the process %d, which unmounts the tree, is stuck", self._pid)
                return
            time.sleep(_END_POLL)

    def _ask(self, what: _Instruction, patience: float) -> tuple[dict[str, Any], list[int]]:
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
def started(path: str, pid_file: Path | None, options: Iterable[str]) -> Iterator[Mounter]:
    """Fork the process; it ends with this context. No other thread may run.

    Args:
        path: where to mount.
        pid_file: the file for the process id of the caller; None for no file.
        options: FUSE mount options (mount.fuse3(8)) without subtype.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    daemon = os.getpid()
    # A signal to the whole process group ends the daemon; this process must outlive it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_mounter(_Work(path, pid_file, daemon, frozenset(options)), its, mask)
    its.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    mounter = Mounter(pid, ours)
    try:
        yield mounter
    finally:
        mounter.close()


# --- In the process -------------------------------------------------------------------------------


class _Work:
    """What the process can be told to do."""

    def __init__(
        self, path: str, pid_file: Path | None, daemon: int, options: frozenset[str]
    ) -> None:
        self._path = path
        self._pid_file = pid_file
        self._daemon = daemon
        self._options = options
        self._claimed = contextlib.ExitStack()
        self._mount: MountPoint | None = None

    def claim(self) -> None:
        """Write the pid file."""
        if self._pid_file is not None:
            self._claimed.enter_context(system.pid_file(self._pid_file, self._daemon))

    def attach(self) -> tuple[str, int]:
        """Mount; return the path and the descriptor."""
        opened: list[int] = []

        def mount(path: str) -> None:
            call = _mount if os.geteuid() == 0 else _mount_by_fusermount
            opened.append(call(path, self._options))

        try:
            self._mount = mountpoint.attach(self._path, mount)
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


def _be_mounter(work: _Work, link: socket.socket, mask: Iterable[int]) -> NoReturn:
    status: int = ExitStatus.BUG
    try:
        for number in STOP | USER | {signal.SIGQUIT}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _settle()
        _obey(work, link)
        work.end()
        status = ExitStatus.OK
    except BaseException:
        log.critical("unexpected error", exc_info=True)
    finally:
        logging.shutdown()
        os._exit(status)


def _settle() -> None:
    """Become a process of its own, with a name and without what it does not need."""
    setproctitle.setproctitle(PROCESS_NAME)
    setproctitle.setthreadtitle(PROCESS_NAME)
    null = os.open(os.devnull, os.O_RDWR)  # the log has its own descriptor
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
    if os.geteuid() == 0:  # otherwise fusermount3(1) has the privileges
        capabilities.limit_programs(_KEPT)
        capabilities.limit(_KEPT)
        capabilities.forbid_more()
        capabilities.forbid_dumps()


def _obey(work: _Work, link: socket.socket) -> None:
    """Do what the daemon says, until it has ended."""
    while told := _receive(link):
        answer: dict[str, object] = {}
        descriptors: list[int] = []
        try:
            match told:
                case _Instruction.CLAIM:
                    work.claim()
                case _Instruction.ATTACH:
                    answer["path"], descriptor = work.attach()
                    descriptors.append(descriptor)
                case _Instruction.DETACH:
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
