"""Completion in real shells: bash and zsh at a terminal, fish by `complete -C`.

To get a shell's completions, a key inserts all of them into the line, which is then passed to
printf.
"""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.support.mounted import REPOSITORY
from tests.support.needs import lacking, need_programs

COMPLETIONS: Final = REPOSITORY / "contrib" / "completions"
_BASH_COMPLETION: Final = Path("/usr/share/bash-completion/bash_completion")
_SECONDS: Final = 20.0

_START_OF_LINE, _END_OF_LINE = "\x01", "\x05"
_INSERT_ALL: Final = "\x18*"

_BASH: Final = f"""
bind '"\\C-x*": insert-completions'
bind 'set completion-query-items 0'
source {_BASH_COMPLETION}
source {COMPLETIONS}/bash/scstadmin
source {COMPLETIONS}/bash/scstfs
"""

_ZSH: Final = f"""
bindkey -e
fpath=({COMPLETIONS}/zsh $fpath)
autoload -Uz compinit; compinit -u -D
zle -C all-matches complete-word _generic
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
bindkey '^X*' all-matches
"""


class Shell(Protocol):
    """A shell that completes."""

    def offers(self, line: str) -> list[str]:
        """Its completions for the last word of *line*."""
        ...


class _Interactive:
    """A shell at a terminal."""

    def __init__(self, terminal: int, directory: Path) -> None:
        self._terminal = terminal
        self._result, self._done = directory / "words", directory / "done"
        self._screen: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def run(self, command: str) -> None:
        """Run a command line and wait for its end."""
        self._type(f" {command}; touch {self._done}\n")
        self._wait()

    def offers(self, line: str) -> list[str]:
        self._type(f"{line}{_INSERT_ALL}{_START_OF_LINE} printf '%s\\n' {_END_OF_LINE}")
        self._type(f" >{self._result}; touch {self._done}\n")
        self._wait()
        before = line.rpartition(" ")[0].split()
        words = self._result.read_text().splitlines()
        assert words[: len(before)] == before, words
        return [word for word in words[len(before) :] if word]

    def close(self) -> None:
        """The shell has ended."""
        self._reader.join(_SECONDS)
        os.close(self._terminal)

    def _type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _wait(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while not self._done.exists():
            screen = b"".join(self._screen).decode(errors="replace")
            assert time.monotonic() < deadline, f"the shell does not answer:\n{screen}"
            time.sleep(0.01)
        self._done.unlink()

    def _read(self) -> None:
        try:
            while data := os.read(self._terminal, 65536):
                self._screen.append(data)
        except OSError:
            pass  # a terminal reports so that no process has it open any more


@contextmanager
def _interactive(argv: Sequence[str], setup: str, directory: Path) -> Iterator[Shell]:
    script = directory / "setup"
    script.write_text(setup)
    terminal, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "1000", "HISTFILE": "/dev/null"}
    with subprocess.Popen(
        argv, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True
    ) as process:
        os.close(other)
        started = _Interactive(terminal, directory)
        try:
            started.run(f". {script}")
            yield started
        finally:
            process.kill()
            started.close()


class _Fish:
    """Fish, which completes on request."""

    def __init__(self, inside: Sequence[str]) -> None:
        self._inside = inside

    def offers(self, line: str) -> list[str]:
        files = "; ".join(f"source {path}" for path in (COMPLETIONS / "fish").iterdir())
        script = f"{files}; complete -C {shlex.quote(line)}"
        argv = [*self._inside, "fish", "--no-config", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=_SECONDS)
        assert not done.stderr, done.stderr
        return [row.partition("\t")[0] for row in done.stdout.splitlines()]


@contextmanager
def shell(name: str, inside: Sequence[str], directory: Path) -> Iterator[Shell]:
    """The shell *name* with the project's completions, run by the command *inside*.

    Skips the test if the shell is missing.
    """
    need_programs(name)
    if name == "fish":
        yield _Fish(inside)
        return
    if name == "bash" and not _BASH_COMPLETION.exists():
        lacking("needs bash-completion")
    argv = {"bash": ["bash", "--noprofile", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}[name]
    setup = {"bash": _BASH, "zsh": _ZSH}[name]
    with _interactive([*inside, *argv], setup, directory) as started:
        yield started
