"""A disk in memory that can lose power between any two system calls.

It replaces ``scstfs.persist.calls`` in code that writes files. After a power failure, changes that
were not synchronised may or may not be on the disk: any of a file's writes, the last one in part;
of a directory's changes those up to any of them (a journal keeps them in order).
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scstfs.persist import calls


@dataclass
class _Inode:
    """A file: its durable contents, and the changes since."""

    durable: bytes = b""
    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | None] = field(default_factory=list)
    """Offset and data of writes; None is a truncation."""

    def truncate(self) -> None:
        self.content.clear()
        self.pending.append(None)

    def write(self, offset: int, data: bytes) -> None:
        _apply(self.content, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.pending.clear()

    def lose_power(self, chance: random.Random) -> None:
        content = bytearray(self.durable)
        last = len(self.pending) - 1
        for number, change in enumerate(self.pending):
            if chance.random() < 0.5:
                continue
            if change is None:
                content.clear()
            else:
                offset, data = change
                size = chance.randint(0, len(data)) if number == last else len(data)
                _apply(content, offset, data[:size])
        self.content = content
        self.sync()


def _apply(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


class PowerFailure(BaseException):
    """The machine is off."""


class CrashingFiles:
    """One directory of files; all other calls are real."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._pending: list[Callable[[dict[str, _Inode]], object]] = []
        self._open: dict[int, _Inode | None] = {}
        self._next = 1000
        self.calls: list[tuple[object, ...]] = []
        self.most: int | None = None
        """Bytes that one write takes."""
        self.failing = self._error = 0
        self._full_from: int | None = None
        self.power_fails_at: int | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(calls, name)

    # Faults

    def fail_at(self, number: int, error: int) -> None:
        """Let the call after *number* - 1 more calls fail."""
        self.failing, self._error = len(self.calls) + number, error

    def fills_up_at(self, number: int) -> None:
        """Fail all writes from the call after *number* - 1 more calls on (ENOSPC).

        Calls that need no space still work: names can be changed and removed.
        """
        self._full_from = len(self.calls) + number

    def has_room(self) -> None:
        """Let writes succeed again."""
        self._full_from = None

    def lose_power(self, chance: random.Random) -> None:
        """Restart with the state that has reached the disk."""
        names = dict(self._durable_names)
        for change in self._pending[: chance.randint(0, len(self._pending))]:
            change(names)
        inodes = {id(inode): inode for inode in (*names.values(), *self._names.values())}
        for inode in inodes.values():
            inode.lose_power(chance)
        self._names, self._durable_names = names, dict(names)
        self._pending.clear()
        self._open.clear()
        self.failing, self.power_fails_at = 0, None

    def _call(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if len(self.calls) == self.power_fails_at:
            raise PowerFailure
        if len(self.calls) == self.failing:
            raise OSError(self._error, os.strerror(self._error))

    def _need_room(self) -> None:
        if self._full_from is not None and len(self.calls) >= self._full_from:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # The system calls

    def _change(self, change: Callable[[dict[str, _Inode]], object]) -> None:
        change(self._names)
        self._pending.append(change)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        name = self._name(path)
        self._call("open", name)
        inode: _Inode | None = None
        if name:
            inode = self._names.get(name)
            if inode is None:
                if not flags & os.O_CREAT:
                    raise FileNotFoundError(errno.ENOENT, "no such file")
                new = inode = _Inode()
                self._change(lambda names: names.update({name: new}))
            elif flags & os.O_TRUNC:
                inode.truncate()
        self._next += 1
        self._open[self._next] = inode
        return self._next

    def read(self, fd: int, size: int) -> bytes:
        inode = self._open[fd]
        assert inode is not None
        data = bytes(inode.content)
        # All readers read to the end.
        self._open[fd] = _Inode()
        return data[:size]

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        inode = self._open[fd]
        assert inode is not None
        taken = bytes(data[: self.most])
        self._call("pwrite", self._name_of(inode), len(taken))
        self._need_room()
        inode.write(offset, taken)
        return len(taken)

    def fsync(self, fd: int) -> None:
        inode = self._open[fd]
        self._call("fsync", self._name_of(inode))
        self._need_room()
        if inode is not None:
            inode.sync()
            return
        for change in self._pending:
            change(self._durable_names)
        self._pending.clear()

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)

    def unlink(self, path: Path) -> None:
        name = self._name(path)
        self._call("unlink", name)
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        self._change(lambda names: names.pop(name, None))

    def replace(self, source: Path, target: Path) -> None:
        old, new = self._name(source), self._name(target)
        self._call("replace", old, new)
        if old not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        self._change(lambda names: names.update({new: names.pop(old)}))

    def _name(self, path: Path) -> str:
        return "" if path == self._directory else path.relative_to(self._directory).as_posix()

    def _name_of(self, wanted: _Inode | None) -> str:
        return next((name for name, inode in self._names.items() if inode is wanted), "")
