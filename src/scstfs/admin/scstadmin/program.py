"""The main function: reads the command line and executes it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

from scstfs.admin import conf, kinds, tree
from scstfs.admin.answer_watch import AnswerWatch
from scstfs.admin.configuration import Item
from scstfs.admin.files import SCST_TGT, Files
from scstfs.admin.scstadmin import options
from scstfs.admin.scstadmin.actions import Actions, Terminal, names
from scstfs.admin.scstadmin.changes import Changes
from scstfs.admin.scstadmin.clear import clear
from scstfs.admin.scstadmin.config_check import ConfigCheck
from scstfs.admin.scstadmin.configure import Configure
from scstfs.admin.scstadmin.dump import dumped
from scstfs.admin.scstadmin.errors import BadOption, Code, Stop, Unavailable, fatal, unreadable
from scstfs.admin.scstadmin.lip import issue_lip
from scstfs.admin.scstadmin.lists import Lists
from scstfs.admin.scstadmin.options import DEFAULT_CONFIG, Arguments, Role
from scstfs.admin.scstadmin.present import working_configuration
from scstfs.admin.scstadmin.tree_lookup import TreeLookup
from scstfs.admin.scstadmin.usage import USAGE, VERSION

TREE: Final = "SCSTFS_TREE"
"""Environment variable with the path of the tree, if it is not /sys/kernel/scst_tgt."""

_OLDEST: Final = (2, 0, 0)
_NO_VERSION: Final = (
    "Failed to obtain SCST version information. Are the SCST modules loaded?\n",
    2,
)
_DIED: Final = 255


class Died(Exception):  # noqa: N818 - Perl's word for it
    """The program cannot begin; the text for standard error, and the exit status."""

    def __init__(self, words: str, status: int = _DIED) -> None:
        super().__init__(words)
        self.words = words
        self.status = status


class ScstadminRun:
    """One run, after the command line was read."""

    def __init__(self, arguments: Arguments, files: Files, terminal: Terminal) -> None:
        self.arguments = arguments
        self.files = files
        self.terminal = terminal
        self.actions = Actions(
            TreeLookup(files),
            terminal,
            debug="debug" in arguments,
            goes_on="cont_on_err" in arguments,
        )
        self.force = "force" in arguments

    def run(self) -> int:
        """Execute the command line; returns the exit status."""
        current = working_configuration(self.actions, self.force)
        status, done = self._file(current), True
        if status is None:
            status, done = self._rest()
        if not done:
            raise Stop("No valid operations specified.\n")
        self.actions.warn(next((code.text for code in Code if code == status), None))
        self.terminal.out("\nAll done.\n")
        return status

    # --- files -----------------------------------------------------------------------------------

    def _file(self, current: Item) -> int | None:
        """Execute the options for configuration files; None if none was given."""
        a = self.arguments
        if "config" in a:
            return self._config(a["config"] or DEFAULT_CONFIG, current)
        if "check_config" in a:
            _, errors = self._checked(a["check_config"] or DEFAULT_CONFIG, current)
            return Code.FAILED if errors else Code.DONE
        if "write_config" in a:
            return self._write(a["write_config"])
        if "clear_config" in a:
            if self.terminal.refuses():
                return Code.DONE
            clear(self.actions, current)
            return issue_lip(self.actions) if "lip" in a else Code.DONE
        return None

    def _read(self, name: str) -> Item:
        try:
            with open(name, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                parsed = conf.parse(file.read())
        except OSError as error:
            why = f"Unable to open configuration file '{name}': {error.strerror}"
            raise fatal(why) from None
        if any(problem.message == conf.FORMER for problem in parsed.problems):
            raise fatal(f"'{name}' is {conf.FORMER}")
        return parsed.configuration

    def _checked(self, name: str, current: Item) -> tuple[Item, int]:
        self.terminal.out(f"-> Checking configuration file '{name}' for errors.\n")
        wanted = self._read(name)
        check = ConfigCheck(self.actions.library, current, wanted)
        for line in check.lines():
            self.terminal.out(line)
        return wanted, check.errors

    def _config(self, name: str, current: Item) -> int:
        wanted, errors = self._checked(name, current)
        status = Code.FAILED if errors else Code.DONE
        if errors:
            self.actions.end_with("Configuration has errors, aborting.")
        if self.force and self.terminal.refuses():
            return status
        changes = Configure(self.actions, wanted, current, force=self.force).apply()
        if changes and "lip" in self.arguments:
            return issue_lip(self.actions)
        return status

    def _write(self, name: str) -> int:
        nonkey = "nonkey" in self.arguments
        try:
            present = tree.settled(self.files, every_attribute=nonkey)
        except OSError as error:
            raise unreadable(error) from None
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        try:
            fd = os.open(name, flags, 0o666)
        except OSError as error:
            self.terminal.out(f"Failed to save configuration to file '{name}': {error.strerror}\n")
            return Code.FAILED
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            self.terminal.out(f"Writing current configuration to file '{name}'.. ")
            file.write(f"# Automatically generated by {VERSION}.\n\n")
            file.write(conf.render(present, complete=False, no_keys=nonkey))
            file.flush()
            _sync(file.fileno())
        return Code.DONE

    # --- everything else -------------------------------------------------------------------------

    def _rest(self) -> tuple[int, bool]:
        """Execute queries, or the one change; returns exit status and whether there were any."""
        queries = self.arguments.given(Role.QUERY)
        lists = Lists(self.actions, self.arguments)
        status: int = Code.DONE
        for option in queries:
            status = lists.show(option)
        for option in self.arguments.given(Role.CHANGE, Role.UNCOUNTED):
            if option == "dumpAttrs":
                self._dump()
                return status, True
            return Changes(self.actions, self.arguments).change(option), True
        return status, bool(queries)

    def _dump(self) -> None:
        library, out = self.actions.library, self.terminal.out
        out(f"SCST attributes:\n{dumped(library.attributes(kinds.ROOT, names()))}")
        for handler in library.handlers():
            for device in sorted(library.devices(handler)):
                found = library.attributes(kinds.DEVICE, names(device=device))
                out(f"Device {device} attributes:\n{dumped(found)}")


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError:
        pass  # a terminal or a pipe, which cannot be synchronised


def _check_version(files: Files) -> None:
    try:
        text = files.text("version").value
    except OSError:
        raise Died(*_NO_VERSION) from None
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise Died(f"Failed to parse SCST version from '{text}'\n", 1)
    if tuple(map(int, match.groups())) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise Died(
            f"This module requires at least SCST version {oldest} and version {match[0]} "
            "was found\n"
        )


def _interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Stop("\n\nAborting immediately.\n")


def run(argv: Sequence[str], terminal: Terminal, root: str = SCST_TGT) -> int:
    """Run with a command line; returns the exit status."""
    try:
        if os.geteuid():
            raise Died("This program must run as root.\n")
        arguments = options.read(argv)
        if "h" in arguments or "help" in arguments:
            terminal.out(USAGE)
            return Code.DONE
        terminal.prompts = "noprompt" not in arguments
        options.check(arguments)
        files = Files(root)
        _check_version(files)
        return ScstadminRun(arguments, files, terminal).run()
    except BadOption as error:
        terminal.err("".join(f"{problem}\n" for problem in error.problems))
        return 1
    except Died as error:
        terminal.err(error.words)
        return error.status
    except Unavailable as error:
        return _stopped(fatal(str(error)), terminal)
    except Stop as error:
        return _stopped(error, terminal)
    except OSError as error:
        if error.filename is None:  # it is not about the tree
            raise
        return _stopped(unreadable(error), terminal)


def _stopped(end: Stop, terminal: Terminal) -> int:
    terminal.out(end.words)
    return end.status


def _give_up(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(Code.FATAL)


def main() -> int:
    """The console script."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    root = os.environ.get(TREE) or SCST_TGT
    terminal = Terminal.standard()
    try:
        with AnswerWatch(root, _give_up, terminal.err):
            return run(sys.argv[1:], terminal, root)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"scstadmin: cannot write the output: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _DIED
