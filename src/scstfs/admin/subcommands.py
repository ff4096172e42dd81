"""The command line of `scstfs config`, `scstfs status`, `scstfs top` and `scstfs watch`.

The modules of a subcommand are imported when it runs, so that others start fast.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from scstfs.admin.files import SCST_TGT
from scstfs.admin.status import options as status
from scstfs.admin.top import options as top
from scstfs.admin.watch import options as watch

DEFAULT_FILE: Final = "/etc/scst.conf"

Add = Callable[..., argparse.ArgumentParser]


def add_commands(commands: Any) -> None:
    """Add this package's subcommands to the program's (argparse)."""
    config = commands.add_parser(
        "config",
        help="show, check, compare, apply and save configurations",
        description="Show, check, compare, apply and save configurations (scst.conf(5)).",
    )
    kinds = config.add_subparsers(metavar="COMMAND", required=True, dest="config_command")
    _show(kinds.add_parser)
    _check(kinds.add_parser)
    _diff(kinds.add_parser)
    _apply(kinds.add_parser)
    _save(kinds.add_parser)
    _edit(kinds.add_parser)
    _status(commands.add_parser)
    _top(commands.add_parser)
    _watch(commands.add_parser)


def add_tree(parser: argparse.ArgumentParser) -> None:
    """The option for the path of the tree."""
    parser.add_argument(
        "--mountpoint",
        metavar="DIR",
        default=SCST_TGT,
        help="path of the tree (default: %(default)s)",
    )


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _file(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        type=_path,
        nargs="?" if optional else None,
        help="in the format of scst.conf; - is standard input" if not optional else "",
    )


def _secrets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--show-secrets", action="store_true", help="print secrets, too, instead of asterisks"
    )


def _runs(parser: argparse.ArgumentParser, name: str) -> None:
    def run(arguments: argparse.Namespace) -> None:
        from scstfs.admin import config_commands

        getattr(config_commands, name)(arguments)

    parser.set_defaults(client=run)


def _show(add: Add) -> None:
    parser = add(
        "show",
        help="print what runs",
        description="Print the running configuration, in the format of scst.conf.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--all", action="store_true", help="include attributes that need not be saved"
    )
    _secrets(parser)
    add_tree(parser)
    _runs(parser, "show")


def _check(add: Add) -> None:
    parser = add(
        "check",
        help="find mistakes in a file",
        description="Find mistakes in a file; if a tree is running, compare with it, too.",
    )
    _file(parser)
    add_tree(parser)
    _runs(parser, "check")


def _diff(add: Add) -> None:
    parser = add(
        "diff",
        help="print what a file would change",
        description="Print what would change if a file were applied. Changes nothing.",
    )
    _file(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--commands", action="store_true", help="as shell commands")
    _secrets(parser)
    add_tree(parser)
    _runs(parser, "diff")


def _apply(add: Add) -> None:
    parser = add(
        "apply",
        help="apply a file",
        description="Change the running configuration to that of a file: all of it, or nothing.",
    )
    _file(parser)
    parser.add_argument("--dry-run", action="store_true", help="only print what would change")
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    _secrets(parser)
    add_tree(parser)
    _runs(parser, "apply")


def _save(add: Add) -> None:
    parser = add(
        "save",
        help="save the running configuration",
        description="Save the running configuration to a file, atomically. Comments and order of "
        "an existing file are kept if possible.",
    )
    _file(parser)
    add_tree(parser)
    _runs(parser, "save")


def _edit(add: Add) -> None:
    parser = add(
        "edit",
        help="edit the running configuration, or a file",
        description="Open a file in $VISUAL or $EDITOR, check and apply the changes, then save "
        "them. Without FILE, edit the running configuration.",
    )
    _file(parser, optional=True)
    add_tree(parser)
    _runs(parser, "edit")


def _status(add: Add) -> None:
    parser = add(
        "status",
        help="show what runs, and problems",
        description="Show what runs: targets with LUNs and groups, sessions with addresses, "
        "devices with backing files, device groups; problems come first.",
    )
    status.add_options(parser)
    add_tree(parser)
    _runs_program(parser, "status")


def _top(add: Add) -> None:
    parser = add(
        "top",
        help="show the activity of sessions, LUNs and devices",
        description="Show rates, queue depths and latencies by session, LUN, device or target. On "
        "a terminal until q is pressed; elsewhere a list for each interval, until stopped.",
    )
    top.add_options(parser)
    add_tree(parser)
    _runs_program(parser, "top")


def _watch(add: Add) -> None:
    parser = add(
        "watch",
        help="print what happens, one line for each event",
        description="Print logins, logouts, changes of the configuration, reservations, errors "
        "and changes of media, one line each, until stopped.",
    )
    watch.add_options(parser)
    add_tree(parser)
    _runs_program(parser, "watch")


def _runs_program(parser: argparse.ArgumentParser, package: str) -> None:
    def run(arguments: argparse.Namespace) -> None:
        import_module(f"scstfs.admin.{package}.program").run(arguments)

    parser.set_defaults(client=run)
