"""The daemon's requirements of its machine, checked or claimed before anything is served."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import setproctitle

from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.persist import calls, durable_files
from scstfs.privileges import Account

PROCESS_NAME: Final = "iscsi-scstd"

_FUSE_DEVICE: Final = "/dev/fuse"

_STDOUT: Final = 1
_STDERR: Final = 2


def open_standard_streams() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that our caller closed.

    Otherwise a file opened later, even one of a device, would get their numbers, and C code would
    print into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)
    # Python has no object for a closed one.
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", closefd=False)


def discard_standard_output() -> None:
    """Discard further standard output, including what is still buffered at the end."""
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, _STDOUT)
    os.close(fd)


def check_privileges(mountpoint: str, account: Account | None) -> None:
    """Check that mounting, and a change to the user of `account`, can work.

    Raises:
        UsageError: not root, and this is no directory of the user's own, or the user should change;
            or FUSE cannot be used.
    """
    if os.geteuid() != 0 and account is not None:
        message = f"must be run by root to serve as the user {account.name}"
        raise UsageError(ExitStatus.NOT_PERMITTED, message)
    if os.geteuid() != 0 and not _is_own(mountpoint):
        message = (
            f"must be run by root to mount on {mountpoint}; others can mount on a directory of "
            "theirs (--mountpoint), or use `scstfs sandbox`"
        )
        raise UsageError(ExitStatus.NOT_PERMITTED, message)
    check_fuse()


def _is_own(mountpoint: str) -> bool:
    """Whether an ordinary user may mount there, which fusermount3(1) decides in the end."""
    try:
        os.stat(mountpoint)
    except OSError as error:
        return error.errno == errno.ENOTCONN  # what a killed daemon left
    return os.access(mountpoint, os.W_OK)


def check_fuse() -> None:
    """Refuse to go on where nothing can be mounted by FUSE.

    Raises:
        UsageError: its device is missing or may not be opened.
    """
    try:
        os.close(os.open(_FUSE_DEVICE, os.O_RDWR))
    except OSError as error:
        message = f"cannot use FUSE: {_FUSE_DEVICE}: {reason(error)}"
        raise UsageError(ExitStatus.NO_FUSE, message) from error


def take_name() -> None:
    """Make pidof(1), pgrep(1), ps(1) and killall(1) find us as SCST's iSCSI daemon.

    Some of them use the command line, others the name of the main thread, which must be the calling
    one.
    """
    program, *arguments = sys.argv
    # Some scripts end it by the path that they started (pkill -f).
    is_named = os.path.basename(program) == PROCESS_NAME
    words = (program, *arguments) if is_named else (PROCESS_NAME, "scstfs", *arguments)
    setproctitle.setproctitle(" ".join(words))
    setproctitle.setthreadtitle(PROCESS_NAME)


def raise_file_limit() -> None:
    """Raise the limit of descriptors as far as allowed: each session and device needs some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def state_directory(path: Path) -> Iterator[None]:
    """Own the state directory, which is made if it is missing.

    Two daemons that write the same reservations would lose some. The lock is on the directory
    itself and ends with the process.

    Raises:
        UsageError: it cannot be made or written, or another scstfs uses it.
    """
    with contextlib.ExitStack() as stack:
        try:
            durable_files.make_directory(path)
            fd = calls.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(calls.close, fd)
            calls.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_something(path / f".{os.getpid()}")
        except BlockingIOError:
            message = f"another scstfs uses the state directory {path}"
            raise UsageError(ExitStatus.STATE_DIR, message) from None
        except OSError as error:
            message = f"cannot use the state directory {path}: {reason(error)}"
            raise UsageError(ExitStatus.STATE_DIR, message) from error
        yield


def _write_something(path: Path) -> None:
    """Find out whether files can be made; raises OSError."""
    calls.close(calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    calls.unlink(path)


@contextlib.contextmanager
def pid_file(path: Path, pid: int) -> Iterator[None]:
    """Keep the process id `pid` in the file at `path`, which is removed at the end.

    The file is locked as long as its owner lives, so a number left by a killed daemon is simply
    replaced.

    Raises:
        UsageError: it cannot be written, or belongs to a running daemon.
    """
    with contextlib.ExitStack() as stack:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)  # fails for anything other than a file
            stack.callback(path.unlink, missing_ok=True)
            os.write(fd, f"{pid}\n".encode())
        except BlockingIOError:
            message = f"the pid file {path} belongs to a running daemon"
            raise UsageError(ExitStatus.PID_FILE, message) from None
        except OSError as error:
            message = f"cannot write the pid file {path}: {reason(error)}"
            raise UsageError(ExitStatus.PID_FILE, message) from error
        yield
