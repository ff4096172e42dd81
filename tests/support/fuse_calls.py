"""Calling the handlers of `Operations` as pyfuse3 does, without a mount."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pyfuse3
import pytest
import trio

from scstfs.fuse.operations import Operations

ROOT = pyfuse3.ROOT_INODE
Handler = Coroutine[Any, Any, Any]
Call = Callable[..., Handler]


def ctx(uid: int = 0, gid: int = 0) -> Any:
    return SimpleNamespace(uid=uid, gid=gid, pid=1, umask=0o022)


def run(call: Call, *arguments: Any) -> Any:
    return trio.run(call, *arguments)


def code_of(call: Call, *arguments: Any) -> str:
    with pytest.raises(pyfuse3.FUSEError) as error:
        trio.run(call, *arguments)
    return errno.errorcode[error.value.errno]


def find(operations: Operations, path: str) -> int:
    number = int(ROOT)
    for part in path.split("/"):
        number = run(operations.lookup, number, part.encode(), ctx()).st_ino
    return number


def open_file(operations: Operations, path: str, flags: int = os.O_RDONLY) -> int:
    return int(run(operations.open, find(operations, path), flags, ctx()).fh)


class Reader:
    """Takes entries as the kernel does: a number at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.entries: list[tuple[str, int, int]] = []
        self.next_id = 0

    def reply(self, name: bytes, entry: pyfuse3.EntryAttributes, next_id: int) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.entries.append((name.decode(), entry.st_ino, entry.st_mode))
        self.next_id = next_id
        return True


def read_some(operations: Operations, handle: int, reader: Reader, room: int) -> int:
    """Take the next entries; return their number."""
    directory = operations._directories[handle]
    if reader.next_id == 0:
        directory.listing = operations._list(directory.inode)
    before = len(reader.entries)
    reader.room = room
    operations._reply_entries(directory, reader.next_id, reader.reply)
    return len(reader.entries) - before
