"""`scstfs sandbox`: runs a command, or a shell, with its own target.

It needs no privileges and changes nothing on the machine. A user namespace makes its user root
over a mount namespace, where the tree is mounted at its usual place, and over a PID namespace.
The first process in the PID namespace is ours. It starts the daemon and the command. When it ends,
the kernel kills all other processes there, and with the last process all mounts are gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from scstfs import mountpoint, mounts, namespaces, system
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.mounts import MountFlag
from scstfs.namespaces import NameSpace
from scstfs.options import Config, Resume

PORTAL_VARIABLE: Final = "SCSTFS_PORTAL"
"""The environment variable that has the portal's address and port."""

LOG_VARIABLE: Final = "SCSTFS_LOG"
"""The environment variable that has the path of the daemon's log."""

_PLACE: Final = Path("/run/scstfs")
_TREE: Final = Config().mountpoint
_PID_FILE: Final = str(Config().pid_file)
_SHELL: Final = "/bin/sh"

# Seconds.
_START: Final = 60.0
_START_POLL: Final = 0.1
_STOP: Final = 6.0
_STOP_POLL: Final = 0.02

# A shell's exit status for a command that a signal ended.
_BY_SIGNAL: Final = 128
_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126

_FORBIDDING: Final[Mapping[str, tuple[str, str]]] = {
    "kernel.unprivileged_userns_clone": ("0", "forbids them to ordinary users"),
    "kernel.apparmor_restrict_unprivileged_userns": (
        "1",
        "has AppArmor allow them only to programs that have a profile for it",
    ),
}
"""Sysctls: the value that forbids ordinary users namespaces, and what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The options of a sandbox.

    Attributes:
        command: the command to run; an interactive shell if it is empty.
        keep: the directory of state and log; None to keep nothing.
        log_level: least important messages in the daemon's log.
    """

    command: list[str]
    keep: Path | None
    log_level: str

    @property
    def place(self) -> Path:
        """The directory of the state and the log, as seen inside."""
        return self.keep or _PLACE


class _Stopped(BaseException):
    """A stop signal arrived."""


def run(sandbox: Sandbox) -> int:
    """Run the command of a sandbox.

    Returns:
        The command's exit status, or 128 and the number of the signal that ended it.

    Raises:
        UsageError: a sandbox is impossible; nothing is left behind.
    """
    system.check_fuse()
    if sandbox.keep is not None:
        try:
            sandbox.keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot use the directory {sandbox.keep}: {reason(error)}"
            raise UsageError(ExitStatus.STATE_DIR, message) from error
    _leave_the_machine()
    watched, held = os.pipe()  # closed when we end
    first = os.fork()
    if first == 0:
        os.close(held)
        _be_first(sandbox, watched)
    os.close(watched)
    # The terminal sends its signals to all processes; the first process handles them.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(first, number))
    _, status = os.waitpid(first, 0)
    return _exit_status(status)


def _exit_status(wait_status: int) -> int:
    status = os.waitstatus_to_exitcode(wait_status)
    return status if status >= 0 else _BY_SIGNAL - status


def _leave_the_machine() -> None:
    """Enter new namespaces, as their root.

    Raises:
        UsageError: the system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            namespaces.unshare(NameSpace.MOUNT | NameSpace.PID)
        else:
            namespaces.unshare(NameSpace.USER | NameSpace.MOUNT | NameSpace.PID)
            namespaces.become_root(user, group)
        mounts.make_private("/")
    except OSError as error:
        message = f"cannot make namespaces for a sandbox: {reason(error)}; {_what_forbids(error)}"
        raise UsageError(ExitStatus.NOT_PERMITTED, message) from error


def _what_forbids(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the sysctl user.max_user_namespaces allows no more of them"
    for name, (value, effect) in _FORBIDDING.items():
        with contextlib.suppress(OSError):
            if Path("/proc/sys", name.replace(".", "/")).read_text().strip() == value:
                return f"the sysctl {name}={value} {effect}"
    return "in a container, its seccomp profile or missing capabilities may forbid them"


# --- The first process inside ---------------------------------------------------------------------


def _be_first(sandbox: Sandbox, watched: int) -> NoReturn:
    """Be the first process of the sandbox; when it ends, all others do."""
    status: int = ExitStatus.BUG
    try:
        status = _serve_and_run(sandbox, watched)
    except UsageError as error:
        print(f"scstfs: {error.message}", file=sys.stderr)
        status = error.status
    except _Stopped as stopped:
        status = _BY_SIGNAL + stopped.args[0]
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _stop(number: int, _frame: object) -> None:
    raise _Stopped(number)


def _serve_and_run(sandbox: Sandbox, watched: int) -> int:
    namespaces.end_with_parent()
    if select.select([watched], [], [], 0)[0]:  # it ended before that
        raise _Stopped(signal.SIGKILL)
    # Handlers, unlike ignored signals, are reset by exec(2), so the command has the defaults.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    _furnish()
    with _served(sandbox) as (portal, daemon):
        try:
            command = _start_command(sandbox, portal)
        except OSError as error:
            print(f"scstfs: {error.filename}: {reason(error)}", file=sys.stderr)
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUN
        return _wait_for(command, daemon)


def _furnish() -> None:
    """Mount a /proc for the sandbox's processes, a writable /run, and a place for the tree."""
    # A container that hides parts of /proc cannot mount another one. Nothing needs it.
    with contextlib.suppress(OSError):
        mounts.mount("proc", "/proc", "proc", MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
    place = "/run"
    try:
        _cover(place)
        # It may exist: this may be a sandbox in another one.
        _PLACE.mkdir(exist_ok=True)
        _mount_empty(str(_PLACE))
        place = _TREE
        _hide_the_machines_target()
    except OSError as error:
        message = f"cannot make a {place} for a sandbox: {reason(error)}; {_what_forbids(error)}"
        raise UsageError(ExitStatus.NOT_PERMITTED, message) from error


def _cover(directory: str) -> None:
    """Put a writable directory with the same entries over a directory."""
    # /tmp exists; its contents are hidden for a moment.
    _mount_empty("/tmp")
    mountpoint.mirror(directory, "/tmp")
    mounts.bind("/tmp", directory)
    mounts.detach("/tmp")


def _mount_empty(directory: str) -> None:
    flags = MountFlag.NOSUID | MountFlag.NODEV
    mounts.mount("scstfs-sandbox", directory, "tmpfs", flags, "mode=0755")


def _hide_the_machines_target() -> None:
    """Take away the pid file of a target that the machine runs, and empty its tree.

    Its daemon has put a directory of its own over /sys/kernel, which is covered as well: without
    the tree it would look as if the daemon had been killed.
    """
    if os.path.exists(_PID_FILE):
        mounts.detach(_PID_FILE)
        os.unlink(_PID_FILE)
    try:
        if mounts.mount_at(_TREE) is None:
            return
    except FileNotFoundError:
        return
    _cover(os.path.dirname(_TREE))
    mounts.detach(_TREE)


@contextlib.contextmanager
def _served(sandbox: Sandbox) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the daemon; yield the address of its portal."""
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = str(_PLACE / "notify")
    notices.bind(address)
    log = sandbox.place / "log"
    with log.open("ab") as output:
        begin = output.tell()
        daemon = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "scstfs", "mount", "--portal", "127.0.0.1:0"),
                *("--state-dir", str(sandbox.place / "state")),
                *("--resume", Resume.ALWAYS if sandbox.keep else Resume.NEVER),
                *("--log-level", sandbox.log_level),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "NOTIFY_SOCKET": address},
            start_new_session=True,  # the terminal's signals are for the command
        )
    try:
        yield _portal_when_ready(notices, daemon, log, begin), daemon
    finally:
        notices.close()
        _end_all(daemon)


def _portal_when_ready(
    notices: socket.socket, daemon: subprocess.Popen[bytes], log: Path, begin: int
) -> str:
    """Wait for the daemon, and return its portal.

    Raises:
        UsageError: it does not start. The message is the daemon's.
    """
    notices.settimeout(_START_POLL)
    deadline = time.monotonic() + _START
    while daemon.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            told = dict(line.split("=", 1) for line in notices.recv(4096).decode().splitlines())
            if told.get("READY"):
                return told["STATUS"].rpartition(" ")[2]
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    message = lines[-1].removeprefix("scstfs: ") if lines else "it said nothing"
    status = next((s for s in ExitStatus if s == daemon.returncode), ExitStatus.BUG)
    raise UsageError(status, f"the daemon of the sandbox did not start: {message}")


def _start_command(sandbox: Sandbox, portal: str) -> int:
    """Start the command, and return its process id.

    Raises:
        OSError: it cannot be run.
    """
    path = f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', os.defpath)}"
    environment = {
        **os.environ,
        "PATH": path,
        PORTAL_VARIABLE: portal,
        LOG_VARIABLE: str(sandbox.place / "log"),
    }
    command = sandbox.command
    if not command:
        command = [os.environ.get("SHELL") or _SHELL]
        print(
            f"scstfs: /sys/kernel/scst_tgt is served on {portal}; `exit` ends it", file=sys.stderr
        )
    # Not posix_spawnp(3): a directory in PATH that may not be searched would fail it.
    program = shutil.which(command[0], path=path) or command[0]
    if not os.path.exists(program):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    # Python ignores these two, and ignored signals stay ignored.
    usual = (signal.SIGPIPE, signal.SIGXFSZ)
    return os.posix_spawn(program, command, environment, setsigdef=usual)


def _wait_for(command: int, daemon: subprocess.Popen[bytes]) -> int:
    """Wait for the command, and reap all orphans meanwhile, as a first process must."""
    while True:
        pid, status = os.wait()
        if pid == command:
            return _exit_status(status)
        if pid == daemon.pid:
            daemon.returncode = os.waitstatus_to_exitcode(status)
            print("scstfs: the daemon of the sandbox has ended", file=sys.stderr)


def _end_all(daemon: subprocess.Popen[bytes]) -> None:
    """Stop the daemon, and ask all other processes here to end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    deadline = time.monotonic() + _STOP
    while daemon.returncode is None and time.monotonic() < deadline:
        pid, status = os.waitpid(daemon.pid, os.WNOHANG)
        if pid:
            daemon.returncode = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(_STOP_POLL)
