"""The command line: what `admin` adds, and `scstfs mount`, `umount`, `why` and `sandbox`.

The daemon is imported when it is started: the other commands must not wait for that.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import socket
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

from scstfs import __version__, background, system
from scstfs import log as logs
from scstfs.admin import subcommands as admin
from scstfs.admin.answer_watch import AnswerWatch
from scstfs.admin.files import ENTRIES
from scstfs.admin.initial_file import OPTIONAL, InitialFile
from scstfs.admin.mistakes import Mistake, MistakeKind
from scstfs.capabilities import Capability
from scstfs.cluster.cluster_config import DEFAULT_TTL, ClusterConfig, EtcdAccess
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.exporter import options as exporter_options
from scstfs.options import Config, IoEngine, Resume
from scstfs.portals import ListenPortal
from scstfs.printable import printable
from scstfs.privileges import USES, Account
from scstfs.sysfs.refusals import XATTR

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

log: Final = logging.getLogger(__name__)

_PROGRAM: Final = "scstfs"
_DEFAULTS: Final = Config.of_user()
#: Of a node's lease (seconds).
_LONGEST_TTL: Final = 60
_STATUS: Final[Mapping[MistakeKind, ExitStatus]] = {
    MistakeKind.USAGE: ExitStatus.USAGE,
    MistakeKind.CONFIG: ExitStatus.CONFIG,
    MistakeKind.NO_TREE: ExitStatus.NO_TREE,
    MistakeKind.PERMISSION: ExitStatus.NOT_PERMITTED,
    MistakeKind.ATTENTION: ExitStatus.ATTENTION,
    MistakeKind.PORT: ExitStatus.PORTAL,
}


def exit_status_help() -> str:
    """Return the table of exit statuses, one line each."""
    return "\n".join(f"  {status.value:2}  {status.meaning}" for status in ExitStatus)


class _OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(ExitStatus.USAGE, f"{message} (see '{self.prog} --help')")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # From Python 3.12 on, argparse is silent about output that cannot be written.
        print(message, end="", file=file or sys.stderr)


def _portal(text: str) -> ListenPortal:
    """Parse a portal for argparse, which wants its own kind of error."""
    try:
        return ListenPortal.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _path(text: str) -> str:
    """Refuse an empty path, for example from an unset variable, which would mean the working
    directory.
    """
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return os.path.abspath(text)


def _config(text: str) -> str:
    """A path with an optional - in front."""
    dash = OPTIONAL if text.startswith(OPTIONAL) else ""
    return dash + _path(text.removeprefix(OPTIONAL))


def _account(text: str) -> Account:
    try:
        return Account.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _capabilities(text: str) -> frozenset[Capability]:
    known = {capability.name.lower(): capability for capability in USES}
    words = [word for word in text.lower().split(",") if word]
    for word in words:
        if word.removeprefix("cap_") not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return frozenset(known[word.removeprefix("cap_")] for word in words)


def _optional_path(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def parser() -> argparse.ArgumentParser:
    """Return the description of the command line."""
    top = _OneLineParser(
        prog=_PROGRAM,
        description="SCST's SCSI target in user space.",
        epilog="exit status:\n" + exit_status_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, dest="command")

    mount = commands.add_parser(
        "mount",
        help="mount the tree and serve initiators",
        description=textwrap.fill(
            "Mount the tree and serve initiators. SIGTERM, SIGINT and SIGHUP "
            "close all sessions and unmount; SIGUSR1 suspends logins, SIGUSR2 resumes them."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    umount = commands.add_parser(
        "umount",
        help="clean up after a daemon that was killed",
        description="Remove the mount that a killed daemon left. A running one is not touched.",
    )
    mounter = commands.add_parser(
        "mounter",
        help="mount for a server that may not (for service managers)",
        description="Mount and unmount the tree for the server at the other end of the socket on "
        "standard input, until it ends. Service managers start this for `mount --mounter`.",
    )
    for command in (mount, umount, mounter):
        command.add_argument(
            "--mountpoint",
            metavar="DIR",
            type=_path,
            default=_DEFAULTS.mountpoint,
            help="directory to mount the tree on (default: %(default)s)",
        )
        _add_log_level(command, "least important messages to log on stderr")
    mount.add_argument(
        "--state-dir",
        metavar="DIR",
        type=_path,
        default=_DEFAULTS.state_dir,
        help="directory of persistent reservations and mode pages (default: %(default)s)",
    )
    mount.add_argument(
        "--portal",
        metavar="HOST:PORT",
        dest="portals",
        type=_portal,
        action="append",
        default=[],
        help="where to listen, may be repeated, e.g. 192.0.2.1:3260, [::1]:3260 or *:3260 "
        "(default: all addresses, port 3260)",
    )
    mount.add_argument(
        "--background",
        action="store_true",
        help="continue in the background when all is up, and log to the journal or to syslog",
    )
    for command in (mount, mounter):
        command.add_argument(
            "--pid-file",
            metavar="FILE",
            type=_optional_path,
            default=_DEFAULTS.pid_file,
            help="file for the daemon's process id; '' for none (default: %(default)s)",
        )
    mount.add_argument(
        "--config",
        metavar="FILE",
        type=_config,
        help="apply this configuration before serving initiators; with a - in front of its "
        "name the file may be missing",
    )
    mount.add_argument(
        "--resume",
        choices=tuple(resume.value for resume in Resume),
        default=_DEFAULTS.resume.value,
        help="resume the last running configuration: after a crash (auto), also after a clean end "
        "(always), or never; FILE is then ignored (default: %(default)s)",
    )
    mount.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        type=_portal,
        help="serve metrics and a page there, on a loopback address (see scstfs exporter)",
    )
    mount.add_argument(
        "--io-engine",
        choices=tuple(engine.value for engine in IoEngine),
        default=_DEFAULTS.io_engine.value,
        help="what executes disk I/O; for tests (default: %(default)s, or what SCSTFS_IO_ENGINE "
        "says)",
    )
    mount.add_argument(
        "--user",
        metavar="NAME[:GROUP]",
        type=_account,
        help="open files and serve initiators as this user, without capabilities; the tree, and "
        "the mount, stay root's",
    )
    mount.add_argument(
        "--mounter",
        metavar="SOCKET",
        type=_optional_path,
        help="have the service that listens there mount the tree and write the pid file "
        "(default: a child process)",
    )
    mount.add_argument(
        "--capabilities",
        metavar="LIST",
        type=_capabilities,
        help="capabilities to keep, separated by commas, '' for none: "
        + "; ".join(f"{capability.name.lower()} {use}" for capability, use in USES.items())
        + " (default: all of these for root, none with --user)",
    )
    _add_cluster(mount)
    why = commands.add_parser(
        "why",
        help="show why a command was refused",
        description="Show why the last refused command that was written to a file of the tree, for "
        "instance to a mgmt file, was refused.",
    )
    why.add_argument("file", metavar="FILE", type=_path)
    _add_sandbox(commands)
    mount.set_defaults(run=_mount)
    umount.set_defaults(run=_umount, background=False)
    mounter.set_defaults(run=_mounter, background=False)
    why.set_defaults(client=_why)
    admin.add_commands(commands)
    _add_exporter(commands)
    return top


def _add_cluster(mount: argparse.ArgumentParser) -> None:
    cluster = mount.add_argument_group("several nodes that serve the same units")
    cluster.add_argument(
        "--etcd",
        metavar="URL[,URL...]",
        type=_urls,
        default=(),
        help="members of the etcd that keeps what the nodes share, e.g. https://192.0.2.1:2379",
    )
    cluster.add_argument(
        "--node",
        metavar="NAME",
        default=socket.gethostname(),
        help="name of this node, which no other one has (default: %(default)s)",
    )
    cluster.add_argument(
        "--lease-ttl",
        metavar="SECONDS",
        type=_ttl,
        default=DEFAULT_TTL,
        help="how long a node may be silent before the others go on without it "
        "(default: %(default)s)",
    )
    for name, text in (
        ("ca", "certificates of the authorities that may have signed etcd's"),
        ("cert", "certificate of this node for etcd"),
        ("key", "private key of that certificate"),
        ("password-file", "file whose first line is the password for etcd"),
    ):
        cluster.add_argument(f"--etcd-{name}", metavar="FILE", type=_optional_path, help=text)
    cluster.add_argument("--etcd-user", metavar="NAME", help="user name for etcd")


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(url.strip().rstrip("/") for url in text.split(",") if url.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise argparse.ArgumentTypeError(f"no URL of an etcd member: {url}")
    return urls


def _ttl(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= _LONGEST_TTL:
        raise argparse.ArgumentTypeError(f"not from 2 to {_LONGEST_TTL} seconds: {text}")
    return int(text)


def _cluster(arguments: argparse.Namespace) -> ClusterConfig | None:
    """What other nodes are found by, if the command line names any."""
    for_tls = ("etcd_ca", "etcd_cert", "etcd_key")
    if not arguments.etcd:
        _refuse_options(arguments, (*for_tls, "etcd_user", "etcd_password_file"), "without --etcd")
        return None
    if not any(url.startswith("https:") for url in arguments.etcd):
        _refuse_options(arguments, for_tls, "without an https URL of --etcd")
    if not arguments.node:
        raise UsageError(ExitStatus.USAGE, "--node must not be empty")
    return ClusterConfig(
        etcd=EtcdAccess(
            urls=arguments.etcd,
            ca=arguments.etcd_ca,
            cert=arguments.etcd_cert,
            key=arguments.etcd_key,
            user=arguments.etcd_user,
            password_file=arguments.etcd_password_file,
        ),
        node=arguments.node,
        ttl=arguments.lease_ttl,
    )


def _refuse_options(arguments: argparse.Namespace, names: Sequence[str], why: str) -> None:
    for name in names:
        if getattr(arguments, name) is not None:
            raise UsageError(ExitStatus.USAGE, f"--{name.replace('_', '-')} {why}")


def _add_log_level(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument(
        "--log-level",
        choices=tuple(logs.LEVELS),
        default="info",
        help=f"{text} (default: %(default)s)",
    )


def _add_sandbox(commands: argparse._SubParsersAction[_OneLineParser]) -> None:
    sandbox = commands.add_parser(
        "sandbox",
        help="run a command, or a shell, with its own running target",
        description=textwrap.fill(
            "Run COMMAND, or a shell, with its own running target at /sys/kernel/scst_tgt. This "
            "needs no privileges. When COMMAND ends, only what it wrote to files of the machine "
            "remains. $SCSTFS_PORTAL is the address and port for initiators, and $SCSTFS_LOG is "
            "the path of the log."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sandbox.add_argument(
        "--keep",
        metavar="DIR",
        type=_optional_path,
        help="directory for configuration, state and log, which the next sandbox resumes",
    )
    _add_log_level(sandbox, "least important messages in the log")
    sandbox.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    sandbox.set_defaults(client=_sandbox)


def _add_exporter(commands: argparse._SubParsersAction[_OneLineParser]) -> None:
    exporter = commands.add_parser(
        "exporter",
        help="serve metrics for Prometheus, and a page that shows what runs",
        description=textwrap.fill(
            "Serve metrics for Prometheus at /metrics and a page at /, both read-only. It needs "
            "only a tree, that of the kernel's SCST will do."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    exporter_options.add_options(exporter)
    admin.add_tree(exporter)
    exporter.set_defaults(client=_exporter)


def _exporter(arguments: argparse.Namespace) -> None:
    from scstfs.exporter import program

    program.run(arguments)


def _sandbox(arguments: argparse.Namespace) -> int:
    from scstfs import sandbox

    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    return sandbox.run(
        sandbox.Sandbox(command=words, keep=arguments.keep, log_level=arguments.log_level)
    )


def _mount(
    arguments: argparse.Namespace, output: logs.Log, waiting: background.Background | None
) -> None:
    from scstfs import daemon

    config = Config(
        mountpoint=arguments.mountpoint,
        state_dir=Path(arguments.state_dir),
        portals=tuple(arguments.portals),
        pid_file=arguments.pid_file,
        config=None if arguments.config is None else InitialFile.read(arguments.config),
        resume=Resume(arguments.resume),
        cluster=_cluster(arguments),
        metrics=arguments.metrics,
        io_engine=IoEngine(arguments.io_engine),
        mounter=arguments.mounter,
        account=arguments.user,
        kept=arguments.capabilities,
    )

    def announce(text: str) -> None:
        output.announce(text)
        if waiting is not None:
            waiting.ready()

    daemon.run(config, announce)


def _mounter(
    arguments: argparse.Namespace, _output: logs.Log, _waiting: background.Background | None
) -> None:
    from scstfs import mounting
    from scstfs.fuse.operations import MOUNT_OPTIONS

    orders = mounting.Orders(arguments.mountpoint, arguments.pid_file, MOUNT_OPTIONS)
    try:
        link = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    except OSError as error:
        message = f"standard input is not the socket of a server: {reason(error)}"
        raise UsageError(ExitStatus.USAGE, message) from error
    with link:
        mounting.serve(orders, link)


def _umount(
    arguments: argparse.Namespace, output: logs.Log, _waiting: background.Background | None
) -> None:
    from scstfs import mountpoint

    if not mountpoint.clean(arguments.mountpoint):
        output.announce(f"nothing to clean up at {arguments.mountpoint}")


def _why(arguments: argparse.Namespace) -> None:
    try:
        print(os.getxattr(arguments.file, XATTR).decode(errors="backslashreplace"))
    except OSError as error:
        if error.errno == errno.ENODATA:
            if not _is_served(arguments.file):
                message = f"{arguments.file} is not in a tree of scstfs"
                raise UsageError(ExitStatus.USAGE, message) from None
            print("no command was refused")
            return
        message = f"cannot ask {arguments.file}: {reason(error)}"
        raise UsageError(ExitStatus.USAGE, message) from error


def _is_served(path: str) -> bool:
    """Whether scstfs serves *path*: its directories have an attribute with their entries."""
    directory = path if os.path.isdir(path) else os.path.dirname(path)
    try:
        os.getxattr(directory, ENTRIES)
    except OSError:
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own by default.

    Returns:
        The exit status, a value of `ExitStatus`.
    """
    system.open_standard_streams()
    try:
        arguments = parser().parse_args(argv)
    except UsageError as error:
        return _complain(error)
    except OSError as error:  # of printing the help
        return _cannot_print(error)
    if "client" in arguments:
        return _client(arguments)
    waiting = background.detach() if arguments.background else None
    setup = logs.setup if waiting is None else logs.setup_for_background
    output = setup(logs.LEVELS[arguments.log_level])
    try:
        arguments.run(arguments, output, waiting)
    except UsageError as error:
        output.close()
        return _complain(error)
    except Exception:  # the outermost guard: a bug of ours must at least leave its traceback
        log.critical("unexpected error", exc_info=True)
        status = ExitStatus.BUG
    else:
        status = ExitStatus.OK
    output.close()
    if arguments.run is _mount:
        from scstfs.aio import apart

        apart.leave_behind()
    return status


def _client(arguments: argparse.Namespace) -> int:
    """Run a command that is not the daemon."""
    status: int | None = None
    try:
        with _answer_watch(arguments):
            status = arguments.client(arguments)
        sys.stdout.flush()
    except UsageError as error:
        return _complain(error)
    except Mistake as mistake:
        for message in mistake.messages:
            _tell(message)
        return _STATUS[mistake.kind]
    except OSError as error:
        return _cannot_print(error)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return ExitStatus.OK if status is None else status


@contextlib.contextmanager
def _answer_watch(arguments: argparse.Namespace) -> Iterator[None]:
    """End a command that waits for a tree that does not answer."""
    found = vars(arguments)
    place = found.get("mountpoint") or found.get("file")
    if place is None:  # the command uses no tree
        yield
        return

    def give_up(message: str) -> None:
        _tell(message)
        os._exit(ExitStatus.NO_TREE)

    with AnswerWatch(place, give_up, _tell) as arguments.answer_watch:
        yield


def _cannot_print(error: OSError) -> ExitStatus:
    system.discard_standard_output()
    if isinstance(error, BrokenPipeError):  # the reader of the output has closed it
        return ExitStatus.OK
    what = error.filename or "standard output"
    return _complain(UsageError(ExitStatus.BUG, f"cannot go on: {what}: {reason(error)}"))


def _complain(error: UsageError) -> ExitStatus:
    for line in error.message.splitlines():
        _tell(line)
    return error.status


def _tell(message: str) -> None:
    print(f"{_PROGRAM}: {printable(message)}", file=sys.stderr, flush=True)
