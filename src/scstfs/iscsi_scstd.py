"""`iscsi-scstd`: starts scstfs with the options of SCST's iSCSI daemon, for scripts that have them.

It mounts and serves like `scstfs mount`, in the background unless `-f` is given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scstfs import __version__, cli
from scstfs.errors import ExitStatus
from scstfs.portals import ANY_HOST, DEFAULT_PORT, ListenPortal

_PROGRAM: Final = "iscsi-scstd"
_CONFIG: Final = Path("/etc/iscsi-scstd.conf")


def _number(text: str) -> int:
    return int(text, 0)


def parser() -> argparse.ArgumentParser:
    """Return the description of the command line, SCST's."""
    top = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="SCST's SCSI target in user space, under the name of SCST's iSCSI daemon.",
        epilog="Everything else is set in the tree: see scstfs --help.",
    )
    top.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help="not read; a warning is printed if it is not empty",
    )
    top.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground and log to stderr"
    )
    top.add_argument(
        "-d", "--debug", metavar="LEVEL", type=_number, default=0, help="above 0: log more"
    )
    for letter, name in ("u", "uid"), ("g", "gid"):
        top.add_argument(
            f"-{letter}",
            f"--{name}",
            metavar="N",
            type=_number,
            default=0,
            help="what to serve as (default: 0, root)",
        )
    top.add_argument(
        "-a",
        "--address",
        metavar="ADDRESSES",
        default="",
        help="where to listen, separated by blanks (default: all addresses)",
    )
    top.add_argument(
        "-p", "--port", type=int, default=DEFAULT_PORT, help="TCP port (default: %(default)s)"
    )
    top.add_argument(
        "-v", "--version", action="version", version=f"{_PROGRAM} version {__version__} (scstfs)"
    )
    return top


def translate(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the equivalent arguments of `scstfs`."""
    yield "mount"
    if not arguments.foreground:
        yield "--background"
    if arguments.debug > 0:
        yield from ("--log-level", "debug")
    if arguments.uid or arguments.gid:
        yield from ("--user", f"{arguments.uid}:{arguments.gid}")
    for host in arguments.address.split() or [ANY_HOST]:
        yield from ("--portal", str(ListenPortal(host, arguments.port)))


def has_content(config: Path) -> bool:
    """Tell whether a configuration file of SCST's daemon has any settings. Raises OSError."""
    lines = config.read_text(errors="replace").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)


def _complain(text: str) -> None:
    print(f"{_PROGRAM}: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status is that of `scstfs`."""
    arguments = parser().parse_args(argv)
    config = arguments.config or _CONFIG
    try:
        if has_content(config):
            _complain(f"{config} is not read: write to the tree, or load scst.conf by scstadmin")
    except OSError as error:
        if arguments.config is not None:
            _complain(f"cannot read {config}: {error.strerror}")
            return ExitStatus.USAGE
    return cli.main(list(translate(arguments)))


if __name__ == "__main__":
    sys.exit(main())
