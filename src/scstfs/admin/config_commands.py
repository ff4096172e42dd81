"""The subcommands of `scstfs config`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Final

from scstfs.admin import conf, data, describe, storing
from scstfs.admin.alone import alone
from scstfs.admin.apply import Failed, ReportProgress
from scstfs.admin.apply import apply as apply_all
from scstfs.admin.check import check as find_mistakes
from scstfs.admin.conf import Parsed
from scstfs.admin.configuration import Item, without_internal
from scstfs.admin.files import Files
from scstfs.admin.interruption import interrupted_once
from scstfs.admin.mistakes import Mistake, MistakeKind, at, limited, no_tree
from scstfs.admin.plan import Impossible, plan
from scstfs.admin.steps import Plan, Step
from scstfs.printable import printable

_STANDARD_INPUT: Final = "-"
_EDITOR: Final = "vi"


def _print(text: str) -> None:
    sys.stdout.write(text)


def _warn(text: str) -> None:
    sys.stderr.write(f"{printable(text)}\n")


def show(arguments: Namespace) -> None:
    """Print the running configuration."""
    files = Files(arguments.mountpoint)
    found = without_internal(storing.present(files, every_attribute=arguments.all))
    shown = found if arguments.show_secrets else data.without_secrets(found)
    if arguments.json:
        _print(json.dumps(data.as_data(shown), indent=2, ensure_ascii=False) + "\n")
    else:
        _print(conf.render(shown, no_keys=arguments.all).lstrip("\n"))


def _read(name: str) -> Parsed:
    if name == _STANDARD_INPUT:
        return conf.parse(storing.read_text(sys.stdin.fileno(), name))
    return storing.read(name)


def _checked(name: str, parsed: Parsed, current: Item | None) -> None:
    """Print warnings; raise Mistake with all errors."""
    errors = []
    for finding in find_mistakes(parsed, current):
        if finding.is_error:
            errors.append(finding.at(name))
        else:
            _warn(finding.at(name))
    if errors:
        raise Mistake(MistakeKind.CONFIG, *limited(errors))


def check(arguments: Namespace) -> None:
    """Find mistakes in a file."""
    parsed = _read(arguments.file)
    try:
        current: Item | None = storing.present(Files(arguments.mountpoint))
    except Mistake as mistake:
        _warn(f"{mistake}: only the file itself is checked")
        current = None
    _checked(arguments.file, parsed, current)
    _print(f"{arguments.file}: no errors\n")


def _planned(arguments: Namespace, files: Files) -> tuple[Item, Item, Plan]:
    """The running configuration, the new one, and the plan between them."""
    parsed = _read(arguments.file)
    current = storing.present(files)
    _checked(arguments.file, parsed, current)
    try:
        made = plan(current, parsed.configuration)
    except Impossible as error:
        raise Mistake(MistakeKind.CONFIG, at(arguments.file, error.line, error.message)) from None
    return current, parsed.configuration, made


def _tell(made: Plan, arguments: Namespace) -> None:
    for step in made.steps:
        _print(printable(describe.line(step, show_secrets=arguments.show_secrets)) + "\n")
    if not made.steps:
        _print("nothing to do\n")


def diff(arguments: Namespace) -> None:
    """Print what a file would change."""
    files = Files(arguments.mountpoint)
    _, _, made = _planned(arguments, files)
    secrets = arguments.show_secrets
    if arguments.json:
        found = [describe.data(step, show_secrets=secrets) for step in made.steps]
        _print(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    elif arguments.commands:
        for step in made.steps:
            for command in describe.commands(step, files.root, show_secrets=secrets):
                _print(f"{command}\n")
    else:
        _tell(made, arguments)
    for note in made.notes:
        _warn(note)


def apply(arguments: Namespace) -> None:
    """Apply a file."""
    files = Files(arguments.mountpoint)
    if arguments.dry_run:
        _tell(_planned(arguments, files)[2], arguments)
        return
    with alone(files.root, _warn):
        current, wanted, _ = _planned(arguments, files)
        with arguments.answer_watch.waiting():
            done = _apply(arguments.file, current, wanted, files)
    if not arguments.quiet:
        _tell(done, arguments)
    for note in done.notes:
        _warn(note)


def _apply(name: str, current: Item, wanted: Item, files: Files) -> Plan:
    try:
        with interrupted_once(), _progress() as progress:
            return apply_all(current, wanted, files, progress)
    except (KeyboardInterrupt, SystemExit) as interruption:
        for words in _what_is_left("interrupted", getattr(interruption, "__notes__", [])):
            _warn(words)
        raise
    except Impossible as error:
        raise Mistake(MistakeKind.CONFIG, at(name, error.line, error.message)) from None
    except OSError as error:  # there is no tree any more
        gone = no_tree(files.root, error)
        raise Mistake(gone.kind, *gone.messages, "the file is applied in part") from None
    except Failed as error:
        refused = at(name, error.line, error.message)
        raise Mistake(MistakeKind.CONFIG, *_what_is_left(refused, error.left)) from None


def _what_is_left(why: str, left: Sequence[str]) -> list[str]:
    """Why a configuration is not applied, and the changes that remain."""
    if left:
        return [why, "not all changes could be undone:", *limited(left)]
    return [why, "nothing was changed"]


class _progress:  # noqa: N801 - used like a function
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        self._bar: Callable[[int, int], None] | None = None
        self._end: Callable[[], None] = lambda: None

    def __enter__(self) -> ReportProgress | None:
        if not sys.stderr.isatty():
            return None
        from scstfs.admin.progress import bar

        self._bar, self._end = bar()
        shown = self._bar

        def progress(done: int, total: int, _step: Step) -> None:
            shown(done, total)

        return progress

    def __exit__(self, *_: object) -> None:
        self._end()


def save(arguments: Namespace) -> None:
    """Save the running configuration to a file."""
    found = without_internal(storing.present(Files(arguments.mountpoint)))
    if arguments.file == _STANDARD_INPUT:
        raise Mistake(MistakeKind.USAGE, "use 'scstfs config show' to print to standard output")
    if not storing.save(arguments.file, found):
        _warn(f"{arguments.file}: comments could not be kept")


def edit(arguments: Namespace) -> None:
    """Change a configuration with an editor, and apply it."""
    if arguments.file == _STANDARD_INPUT:
        raise Mistake(MistakeKind.USAGE, "standard input cannot be edited")
    with arguments.answer_watch.waiting():
        _edit(arguments)


def _edit(arguments: Namespace) -> None:
    files = Files(arguments.mountpoint)
    name = arguments.file
    old = conf.render(without_internal(storing.present(files))).lstrip("\n")
    before = None if name is None else storing.present_file(name)
    if name is not None and before is not None:
        old = storing.read_text(name, name)
    with tempfile.TemporaryDirectory(prefix="scstfs-") as directory:
        copy = os.path.join(directory, os.path.basename(name or "scst.conf"))
        storing.write_text(copy, old)
        while True:
            _run_editor(copy)
            new = storing.read_text(copy, copy)
            if new == old:
                _print("no changes\n")
                return
            try:
                with alone(files.root, _warn):
                    _apply_edited(name or copy, new, files)
                break
            except Mistake as mistake:
                for message in mistake.messages:
                    _warn(message)
                if not _asks("edit again"):
                    raise Mistake(MistakeKind.CONFIG, "the edited text is discarded") from None
    if name is not None:
        storing.write_text(os.path.realpath(name), new, before)


def _apply_edited(name: str, text: str, files: Files) -> None:
    parsed = conf.parse(text)
    current = storing.present(files)
    _checked(name, parsed, current)
    done = _apply(name, current, parsed.configuration, files)
    for step in done.steps:
        _print(printable(describe.line(step)) + "\n")


def _run_editor(path: str) -> None:
    chosen = (os.environ.get(name, "").strip() for name in ("VISUAL", "EDITOR"))
    editor = next(filter(None, chosen), _EDITOR)
    try:
        status = subprocess.run([*shlex.split(editor), path], check=False).returncode
    except OSError as error:
        raise Mistake(MistakeKind.USAGE, f"cannot run {editor}: {error.strerror}") from None
    except ValueError as error:  # unbalanced quotes
        raise Mistake(MistakeKind.USAGE, f"cannot run {editor}: {error}") from None
    if status:
        raise Mistake(
            MistakeKind.CONFIG, f"{editor} ended with status {status}: nothing is changed"
        )


def _asks(what: str) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{what} (y/[n])? ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
