"""Changes of the tree by scstadmin, and its output about them."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Final, TextIO

from scstfs.admin import kinds
from scstfs.admin.attributes import Attributes
from scstfs.admin.files import WAIT_SECONDS
from scstfs.admin.kinds import ENABLED, HARDWARE, HW_TARGET, Kind
from scstfs.admin.scstadmin.attribute_rules import SETTINGS, AttributeRules
from scstfs.admin.scstadmin.errors import Code, Unavailable, fatal
from scstfs.admin.scstadmin.mgmt_commands import COMMANDS, REPLACE_DOUBTS, describe, why
from scstfs.admin.scstadmin.options import Arguments
from scstfs.admin.scstadmin.tree_lookup import Names, TreeLookup, locate

FORCE_CLOSE: Final = "force_close"

_POLL_SECONDS: Final = 0.1

Values = Mapping[str, "str | list[str]"]
"""Attributes to set; several values for instances of one."""


class _Names(dict[str, str]):
    """Names that are not given are empty."""

    def __missing__(self, key: str) -> str:
        return ""


def names(known: Mapping[str, str | None] | None = None, **more: str | None) -> Names:
    """Names for templates; None counts as empty."""
    found = _Names({k: v for k, v in {**(known or {}), **more}.items() if v is not None})
    target, group = f"{found['driver']}/{found['target']}", found["group"]
    holder = f"driver/target/group '{target}/{group}'" if group else f"driver/target '{target}'"
    lun = f"/{group}/" if group else "/"
    lun = f"driver/target{'/group' * bool(group)}/LUN '{target}{lun}{found['lun']}'"
    found.update(target_title=f"driver/target '{target}'")
    found.update(holder=holder, lun_place=lun, lun_title=lun[0].upper() + lun[1:])
    return found


_OPTIONS: Final = {"device_group": "dev_group", "target_group": "tgt_group"}
_NAMED: Final = ("driver", "target", "group", "to", "device", "handler", *_OPTIONS)


def given_names(arguments: Arguments, **more: str) -> Names:
    """The names on a command line, and more."""
    given = {name: arguments.get(_OPTIONS.get(name, name)) for name in _NAMED}
    return names(given, **more)


class Terminal:
    """Standard output, standard error, and answers to questions."""

    def __init__(self, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> None:
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self.prompts = True

    def out(self, text: str) -> None:
        """Print and flush, so that a command's message is visible before it is executed."""
        self._stdout.write(text)
        self._stdout.flush()

    def err(self, text: str) -> None:
        """Print on standard error."""
        self._stderr.write(text)
        self._stderr.flush()

    def refuses(self) -> bool:
        """Ask whether to continue; True if the answer is no."""
        if not self.prompts:
            return False
        self.out(
            "Performing this action may result in lost or corrupt data, "
            "are you sure you wish to continue (y/[n]) ? "
        )
        if self._stdin.readline().rstrip("\n").lower() in ("y", "yes"):
            return False
        self.out("Aborting action.\n")
        return True

    @classmethod
    def standard(cls) -> Terminal:
        """That of the process."""
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
        return cls(sys.stdin, sys.stdout, sys.stderr)


class Actions:
    """Changes the tree.

    Attributes:
        library: look-ups in the tree.
        terminal: for its output.
        debug: only print what would be written.
        goes_on: an error does not end the program (-cont_on_err).
    """

    def __init__(
        self, library: TreeLookup, terminal: Terminal, *, debug: bool = False, goes_on: bool = False
    ) -> None:
        self.library = library
        self.terminal = terminal
        self.debug = debug
        self.goes_on = goes_on

    # --- ends and warnings -----------------------------------------------------------------------

    def end_with(self, message: str | None) -> None:
        """End the program with an error, or only print it if the program continues."""
        if message is None:
            return
        if not self.goes_on:
            raise fatal(message)
        self.terminal.out(f"{message}\n")

    def warn(self, message: str | None) -> bool:
        """Print an error that does not end the program; True if there was one."""
        if message is None:
            return False
        self.terminal.out(f"\n\nWARNING: Received the following error:\n\n\t{message}\n\n")
        return True

    # --- commands --------------------------------------------------------------------------------

    def do(self, name: str, known: Names) -> Code:
        """Execute a command and print that; an error ends the program."""
        code = self.tried(name, known)
        self.end_with(code.text)
        return Code.DONE

    def tried(self, name: str, known: Names) -> Code:
        """Execute a command and print that."""
        self.terminal.out(f"\t-> {COMMANDS[name].told.format_map(known)}: ")
        if name == "remove_target":
            code = self._remove_target(known)
        elif name == "replace_lun":
            code = why(self.library, known, REPLACE_DOUBTS) or self.execute(name, known)
        else:
            code = self.execute(name, known)
        self.terminal.out("done.\n")
        return code

    def execute(self, name: str, known: Names) -> Code:
        """Execute a command silently."""
        command = COMMANDS[name]
        failure = command.failure
        if command.for_group is not None and known["group"]:
            failure = command.for_group
        if not all(known[need] for need in command.needs):
            return Code.DEV_OPEN_FAIL if name == "open_device" else failure
        path, text = describe(command, known)
        number = self._write(path, text, command.debug)
        if not number:
            return Code.DONE
        self.library.files.forget()
        asked = names(known, errno=str(number))
        return why(self.library, asked, command.doubts) or failure

    def _write(self, path: str, text: str, debug: str, **more: str) -> int:
        """Write to a file; returns 0 or the errno. If nothing was written, it fails without an
        errno.
        """
        if self.debug:
            said = debug.format(path=self.library.files.path(path), text=text, **more)
            self.terminal.out(f"DBG({os.getpid()}): {said}\n")
            return 0
        try:
            return 0 if self.library.files.write(path, text) else -1
        except OSError as error:
            # A file that cannot be opened counts as missing; only such an error has a file name.
            return errno.ENOENT if error.filename else error.errno or errno.EIO

    def _remove_target(self, known: Names) -> Code:
        self.set(kinds.TARGET, known, ENABLED, "0")
        closing = set()
        self.library.files.forget()
        for session in self.library.sessions(known):
            where = f"{locate('targets/{driver}/{target}/sessions', known)}/{session}"
            if FORCE_CLOSE in self.library.session(known, session):
                closing.add(session)
                if self._write(f"{where}/{FORCE_CLOSE}", "1", "{text}"):
                    return Code.SESSION_CLOSE_FAIL
        deadline = time.monotonic() + WAIT_SECONDS
        while closing and not self.debug:
            self.library.files.forget()
            closing &= set(self.library.sessions(known))
            if closing and time.monotonic() > deadline:
                return Code.TGT_BUSY
            if closing:
                time.sleep(_POLL_SECONDS)
        return self.execute("remove_target", known)

    # --- attributes that exist -------------------------------------------------------------------

    def set(self, kind: Kind, known: Names, attribute: str, value: str | None) -> Code:
        """Set an attribute silently. None is refused."""
        row = SETTINGS[kind]
        if not attribute or value is None:
            return Code.FAILED
        path = locate(f"{row.directory}/{attribute}", known)
        text = f"{value}\n" if row.newline else value
        number = self._write(path, text, row.debug, attribute=attribute, value=value)
        if not number:
            return Code.DONE
        self.library.files.forget()
        return why(self.library, known, row.doubts) or self._why_not_set(row, path, number)

    def _why_not_set(self, row: AttributeRules, path: str, number: int) -> Code:
        if row.tells_errno:
            self.terminal.err(f"({errno.errorcode.get(number, '0')}) ")
        try:
            writable = self.library.files.is_writable(path)
        except OSError:
            return row.unknown
        return row.failed if writable else row.static

    def set_and_tell(self, kind: Kind, known: Names, attribute: str, value: str | None) -> Code:
        """Set an attribute and print that; for a target an error ends the program."""
        told = SETTINGS[kind].setting
        if attribute == ENABLED and kind in (kinds.DRIVER, kinds.TARGET):
            what = "driver/target '{driver}/{target}'"
            what = what if kind is kinds.TARGET else "driver '{driver}'"
            told = f"{'Enabling' if value not in (None, '', '0') else 'Disabling'} {what}"
        shown = names(known, attribute=attribute, value=value)
        self.terminal.out(f"\t-> {told.format_map(shown)}: ")
        code = self.set(kind, known, attribute, value)
        self.terminal.out("done.\n")
        if kind is kinds.TARGET:
            self.end_with(code.text)
            return Code.DONE
        return code

    def _lacks(self, kind: Kind, known: Names, attribute: str) -> None:
        text = SETTINGS[kind].lacking.format_map(names(known, attribute=attribute))
        self.terminal.out(f"\t-> WARNING: {text}\n\n")

    def set_attributes(
        self, kind: Kind, known: Names, values: Values, tells_set: bool = False
    ) -> int:
        """Set attributes that are not set yet; return their number, 1 if it is unknown."""
        try:
            existing = settable(self.library.attributes(kind, known))
        except Unavailable as error:
            self.warn(str(error))
            return 1
        changes = 0
        for attribute, value in each(values):
            if attribute not in existing:
                self._lacks(kind, known, attribute)
            elif value in existing[attribute]:
                if tells_set:
                    self.terminal.out(
                        f"\t-> Attribute '{attribute}' already set to value '{value}', ignoring.\n"
                    )
            else:
                code = self.set_and_tell(kind, known, attribute, value)
                self.warn(code.text)
                changes += code is Code.DONE
        return changes

    # --- attributes that are added and removed ---------------------------------------------------

    def set_dynamic(self, kind: Kind, known: Names, values: Values, deletes: bool = False) -> int:
        """Change the attributes of a driver or a target; return the number of changes.

        Those that can be added are added; with *deletes*, unwanted ones are removed.
        """
        try:
            existing = settable(self.library.attributes(kind, known))
        except Unavailable as error:
            self.warn(str(error))
            return 0
        dynamic = self._dynamic(kind, known["driver"])
        word = "driver" if kind is kinds.DRIVER else "target"
        changes = 0
        kept: set[tuple[str, str]] = set()
        for attribute, value in each(values):
            if attribute == HW_TARGET and kind is kinds.TARGET:
                continue
            shown = names(known, attribute=attribute, value=value)
            if attribute not in existing and attribute not in dynamic:
                self._lacks(kind, known, attribute)
                continue
            kept.add((attribute, value))
            if value in existing.get(attribute, ()):
                continue
            if attribute in dynamic:
                self.do(f"add_{word}_attribute", shown)
                changes += 1
            else:
                code = self.set_and_tell(kind, known, attribute, value)
                if kind is kinds.DRIVER:
                    self.warn(code.text)
                else:
                    changes += 1
        for attribute in dynamic:
            for value in existing.get(attribute, ()):
                if (attribute, value) in kept:
                    continue
                if deletes:
                    shown = names(known, attribute=attribute, value=value)
                    self.do(f"remove_{word}_attribute", shown)
                    changes += 1
                else:
                    self.terminal.out(
                        f"\t-> {word.capitalize()} dynamic attribute '{attribute}' with value "
                        f"'{value}' is not in configuration. Use -force to remove it.\n"
                    )
        return changes

    def _dynamic(self, kind: Kind, driver: str) -> list[str]:
        if not self.library.takes_targets(driver):
            return []
        try:
            return self.library.dynamic(kind, driver)
        except Unavailable:
            return []

    def change_dynamic(self, kind: Kind, known: Names, values: Values, *, adds: bool) -> Code:
        """Add missing, or remove present, attributes of a driver or a target."""
        try:
            existing = settable(self.library.attributes(kind, known))
        except Unavailable as error:
            self.warn(str(error))
            return Code.FAILED
        word = "driver" if kind is kinds.DRIVER else "target"
        where = "driver '{driver}'" if kind is kinds.DRIVER else "driver/target '{driver}/{target}'"
        where = where.format_map(known)
        for attribute, value in each(values):
            there = value in existing.get(attribute, ())
            if adds and there:
                self.terminal.out(
                    f"\t-> Attribute/value '{attribute}/{value}' already exists for {where}.\n"
                )
            elif not adds and not there:
                self.terminal.out(
                    f"\t-> Attribute/value '{attribute}/{value}' doesn't exist for {where}.\n"
                )
            elif adds or self.library.takes_targets(known["driver"]):
                verb = "add" if adds else "remove"
                self.do(f"{verb}_{word}_attribute", names(known, attribute=attribute, value=value))
        return Code.DONE

    # --- what takes more than a command ----------------------------------------------------------

    def add_target(self, known: Names) -> Code:
        """Make a target, after enabling hardware targets of its driver."""
        driver = known["driver"]
        for target in self.library.targets(driver):
            entries = self.library.files.entries(f"targets/{driver}/{target}")
            if HARDWARE in entries:
                found = self.library.attributes(kinds.TARGET, names(driver=driver, target=target))
                if found[ENABLED].value in (None, "", "0"):
                    self.enable(driver, target, "1")
        return self.tried("add_target", known)

    def enable(self, driver: str, target: str, value: str) -> None:
        """Enable or disable a target."""
        self.set_dynamic(kinds.TARGET, names(driver=driver, target=target), {ENABLED: value})

    def close_device(self, known: Names, force: bool) -> Code:
        """Close a device; one that is in use only with *force*."""
        device = known["device"]
        if not force and self.library.exports(device):
            self._list_exports(device)
            raise fatal(f"Device '{device}' still in use, aborting. Use -force to override.")
        return self.do("close_device", known)

    def _list_exports(self, device: str) -> None:
        rows = self.library.exports(device)
        titles = ("Driver", "Target", "Group")
        widths = [max(len(t), *(len(row[i]) for row in rows)) for i, t in enumerate(titles)]
        out = self.terminal.out
        out(f"Device '{device}' is currently in use by the following:\n\n")
        dashes = ["-" * width for width in widths]
        for row in ((*titles, "Lun"), (*dashes, "----"), *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 4], strict=True)]
            out(f"\t{' '.join(cells)}\n")


def each(values: Values) -> Iterable[tuple[str, str]]:
    """Each attribute with each of its values."""
    for attribute, value in values.items():
        for one in [value] if isinstance(value, str) else value:
            yield attribute, one


def settable(attributes: Attributes) -> dict[str, list[str]]:
    """The values of attributes that can be set; "" if one cannot be read."""
    return {
        name: attribute.values or [""]
        for name, attribute in attributes.items()
        if not attribute.static
    }
