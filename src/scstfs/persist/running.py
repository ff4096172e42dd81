"""The running configuration, kept as the commands that produce it.

It is a file of lines, each a JSON array of a path in the tree and the text written there. It is
replaced as a whole, durably, or appended to. While the target runs, its name is ``running``; after
a clean end it is ``running.stopped``. So the next start can tell whether the end was clean.

The commands contain secrets, so only root can read the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from scstfs.persist import calls, durable_files

TreeWrite: TypeAlias = tuple[str, str]
"""A path in the tree and the text written to it; bytes that are not UTF-8 are surrogates."""

_MOST: Final = 1 << 30
_MODE: Final = 0o600


class DamagedCommands(Exception):  # noqa: N818 - it describes the file
    """A line is not a command, and not the cut-off end of the last write."""


class RunningFile:
    """The file below a state directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "running"
        self.stopped = directory / "running.stopped"
        self._fd: int | None = None

    @property
    def is_unclean(self) -> bool:
        """Whether the last target that ran here did not end cleanly."""
        return calls.kind(self.path) is not None

    def load(self) -> list[TreeWrite] | None:
        """The commands that are kept, None if there are none.

        Raises OSError, DamagedCommands.
        """
        for path in (self.path, self.stopped):
            data = durable_files.read(path, _MOST)
            if data is not None:
                return _decode(path, data)
        return None

    def replace(self, commands: Iterable[TreeWrite]) -> None:
        """Replace the commands, durably. Raises OSError with the old ones in place."""
        self.close()
        durable_files.write(self.path, b"".join(map(_encode, commands)), mode=_MODE)
        durable_files.remove(self.stopped)

    def restart(self) -> None:
        """Continue with the saved commands, also after a clean end. Raises OSError."""
        if calls.kind(self.path) is None:
            durable_files.move(self.stopped, self.path)

    def append(self, commands: Iterable[TreeWrite]) -> None:
        """Append commands, so that they outlast this process; see `synchronise`.

        Raises OSError; none of them is kept then.
        """
        if self._fd is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = calls.open(self.path, flags, _MODE)
        end = calls.size(self._fd)
        try:
            view = memoryview(b"".join(map(_encode, commands)))
            while view:
                view = view[calls.pwrite(self._fd, view, end) :]
        except OSError:
            # The next line must not continue half a line.
            calls.ftruncate(self._fd, end)
            raise

    def duplicate(self) -> int | None:
        """A descriptor for `synchronise`; None if there is nothing to synchronise."""
        return None if self._fd is None else calls.dup(self._fd)

    def stop(self) -> None:
        """Record a clean end. Raises OSError."""
        if self._fd is not None:
            calls.fdatasync(self._fd)
        self.close()
        if calls.kind(self.path) is not None:
            durable_files.move(self.path, self.stopped)

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd is not None:
            calls.close(self._fd)
            self._fd = None


def synchronise(fd: int) -> None:
    """Make appended commands durable; closes *fd*. Raises OSError."""
    try:
        calls.fdatasync(fd)
    finally:
        calls.close(fd)


def _encode(command: TreeWrite) -> bytes:
    return json.dumps(command).encode() + b"\n"


def _decode(path: Path, data: bytes) -> list[TreeWrite]:
    *lines, _cut = data.split(b"\n")  # a line without an end was never acknowledged
    commands = []
    for number, line in enumerate(lines, 1):
        try:
            name, written = json.loads(line)
        except ValueError as error:
            raise DamagedCommands(f"{path}:{number}: no command") from error
        if not isinstance(name, str) or not isinstance(written, str):
            raise DamagedCommands(f"{path}:{number}: no command")
        commands.append((name, written))
    return commands
