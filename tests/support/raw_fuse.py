"""A file system in memory that answers the kernel's FUSE requests itself, one after the other.

Libraries answer some requests by themselves and know others not at all (fallocate, lseek).  Here
every request has a name and passes one place, ``RawFuse.judge``, so that any of them can wait or
fail.  The protocol is that of linux/fuse.h, version 7.31.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scstfs import mounts

ROOT: Final = 1
_MAJOR, _MINOR = 7, 31
_BUFFER: Final = 1 << 20
_MOST_WRITTEN: Final = 128 << 10
#: ASYNC_READ, BIG_WRITES, PARALLEL_DIROPS, HANDLE_KILLPRIV.
_FLAGS: Final = 1 << 0 | 1 << 5 | 1 << 18 | 1 << 19
_SETS_SIZE: Final = 1 << 3

_IN: Final = struct.Struct("=IIQQIIIHH")
_OUT: Final = struct.Struct("=IiQ")
_INIT_OUT: Final = struct.Struct("=IIIIHHIIHHI28x")
_ATTRIBUTES: Final = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY: Final = struct.Struct("=QQQQII")
_ATTRIBUTES_OUT: Final = struct.Struct("=QII")
_OPEN_OUT: Final = struct.Struct("=QII")
_MOVE: Final = struct.Struct("=QQIIQII")
_STATFS: Final = struct.Struct("=QQQQQIII28x")
_FALLOCATE: Final = struct.Struct("=QQQII")
_LSEEK: Final = struct.Struct("=QQI4x")
_DIRENT: Final = struct.Struct("=QQII")

_INIT, _INTERRUPT = 26, 36
#: Requests by their numbers.
_NAMES: Final = {
    1: "lookup", 3: "getattr", 4: "setattr", 9: "mkdir", 10: "unlink", 12: "rename", 14: "open",
    15: "read", 16: "write", 17: "statfs", 18: "release", 20: "fsync", 25: "flush", 27: "opendir",
    28: "readdir", 29: "releasedir", 30: "fsyncdir", 35: "create", 43: "fallocate", 45: "rename2",
    46: "lseek",
}  # fmt: skip
#: FORGET, INTERRUPT, DESTROY and BATCH_FORGET, which have no answer or need none.
_IGNORED: Final = (2, _INTERRUPT, 38, 42)

CALLS: Final = frozenset(_NAMES.values())


@dataclass
class Node:
    """A file, or a directory if it has ``children``."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    children: dict[bytes, int] | None = None


@dataclass(frozen=True)
class _Request:
    name: str
    unique: int
    node: int
    body: bytes


class RawFuse:
    """The file system, and the requests that wait."""

    def __init__(
        self, judge: Callable[[str, int], int | None], waits: Callable[[str], None]
    ) -> None:
        """``judge`` gets a request's name and node; 0 lets it go on, None has it wait.

        Any other number is the errno with which it fails.  ``waits`` hears once of each that does.
        """
        self._judge = judge
        self._waits = waits
        self.nodes: dict[int, Node] = {ROOT: Node(ROOT, children={})}
        self._waiting: list[_Request] = []
        self._fd = -1

    def add_file(self, parent: int, name: bytes, size: int = 0) -> Node:
        """Make a file of zeros."""
        return self._add(parent, name, Node(len(self.nodes) + 1, bytearray(size)))

    def mount(self, directory: Path) -> None:
        """Mount it, with root's rights."""
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        mounts.mount("troubled", str(directory), "fuse.troubled", mounts.MountFlag(0), options)

    def serve(self) -> None:
        """Answer requests until the file system is gone."""
        while True:
            ready, _, _ = select.select([self._fd], [], [], 0.01 if self._waiting else None)
            if ready and not self._receive():
                return
            waiting, self._waiting = self._waiting, []
            for request in waiting:
                self._consider(request, is_new=False)

    def _receive(self) -> bool:
        try:
            data = os.read(self._fd, _BUFFER)
        except OSError as error:
            return error.errno != errno.ENODEV
        _, opcode, unique, node, *_ = _IN.unpack_from(data)
        body = data[_IN.size :]
        if opcode in _IGNORED:
            return True
        if opcode == _INIT:
            parts = (_MAJOR, _MINOR, _MOST_WRITTEN, _FLAGS, 64, 48, _MOST_WRITTEN, 1, 0, 0, 0)
            self._answer(unique, _INIT_OUT.pack(*parts))
        elif opcode not in _NAMES:
            self._answer(unique, error=errno.ENOSYS)
        else:
            self._consider(_Request(_NAMES[opcode], unique, node, body))
        return True

    def _consider(self, request: _Request, *, is_new: bool = True) -> None:
        verdict = self._judge(request.name, request.node)
        if verdict is None:
            if is_new:
                self._waits(request.name)
            self._waiting.append(request)
            return
        data = b""
        if not verdict:
            try:
                data = getattr(self, f"_{request.name}")(request)
            except OSError as error:
                verdict = error.errno or errno.EIO
        self._answer(request.unique, data, verdict)

    def _answer(self, unique: int, data: bytes = b"", error: int = 0) -> None:
        try:
            os.writev(self._fd, [_OUT.pack(_OUT.size + len(data), -error, unique), data])
        except OSError as failure:
            # Nobody waits for it any more.
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    # Names

    def _children(self, node: int) -> dict[bytes, int]:
        children = self.nodes[node].children
        if children is None:
            raise NotADirectoryError(errno.ENOTDIR, "no directory")
        return children

    def _add(self, parent: int, name: bytes, node: Node) -> Node:
        self.nodes[node.number] = node
        self._children(parent)[name] = node.number
        return node

    def _find(self, parent: int, name: bytes) -> Node:
        number = self._children(parent).get(name)
        if number is None:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return self.nodes[number]

    @staticmethod
    def _attributes(node: Node) -> bytes:
        is_directory = node.children is not None
        mode = stat.S_IFDIR | 0o755 if is_directory else stat.S_IFREG | 0o666
        size, blocks = len(node.data), len(node.data) // 512
        return _ATTRIBUTES.pack(
            node.number, size, blocks, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )

    def _entry(self, node: Node) -> bytes:
        # Nothing may be remembered: every look at a name or at attributes is a request.
        return _ENTRY.pack(node.number, 0, 0, 0, 0, 0) + self._attributes(node)

    # Requests

    def _lookup(self, request: _Request) -> bytes:
        return self._entry(self._find(request.node, request.body.rstrip(b"\0")))

    def _getattr(self, request: _Request) -> bytes:
        return _ATTRIBUTES_OUT.pack(0, 0, 0) + self._attributes(self.nodes[request.node])

    def _setattr(self, request: _Request) -> bytes:
        valid, size = struct.unpack_from("=I12xQ", request.body)
        data = self.nodes[request.node].data
        if valid & _SETS_SIZE:
            del data[size:]
            data.extend(bytes(size - len(data)))
        return self._getattr(request)

    def _mkdir(self, request: _Request) -> bytes:
        new = Node(len(self.nodes) + 1, children={})
        return self._entry(self._add(request.node, request.body[8:].rstrip(b"\0"), new))

    def _create(self, request: _Request) -> bytes:
        name = request.body[16:].rstrip(b"\0")
        number = self._children(request.node).get(name)
        new = self.add_file(request.node, name) if number is None else self.nodes[number]
        return self._entry(new) + _OPEN_OUT.pack(0, 0, 0)

    def _unlink(self, request: _Request) -> bytes:
        name = request.body.rstrip(b"\0")
        self._find(request.node, name)
        del self._children(request.node)[name]
        return b""

    def _rename(self, request: _Request, header: int = 8) -> bytes:
        (directory,) = struct.unpack_from("=Q", request.body)
        old, new = request.body[header:].split(b"\0")[:2]
        self._find(request.node, old)
        self._children(directory)[new] = self._children(request.node).pop(old)
        return b""

    def _rename2(self, request: _Request) -> bytes:
        return self._rename(request, header=16)

    def _open(self, request: _Request) -> bytes:
        return _OPEN_OUT.pack(0, 0, 0)

    _opendir = _open

    def _release(self, request: _Request) -> bytes:
        return b""

    _releasedir = _flush = _fsync = _fsyncdir = _release

    def _readdir(self, request: _Request) -> bytes:
        _, offset, size, *_ = _MOVE.unpack_from(request.body)
        data = b""
        for number, (name, node) in enumerate(self._children(request.node).items(), 1):
            entry = _DIRENT.pack(node, number, len(name), 0) + name + bytes(-len(name) & 7)
            if number > offset and len(data) + len(entry) <= size:
                data += entry
        return data

    def _read(self, request: _Request) -> bytes:
        _, offset, size, *_ = _MOVE.unpack_from(request.body)
        return bytes(self.nodes[request.node].data[offset : offset + size])

    def _write(self, request: _Request) -> bytes:
        _, offset, size, *_ = _MOVE.unpack_from(request.body)
        data = self.nodes[request.node].data
        data.extend(bytes(max(0, offset + size - len(data))))
        data[offset : offset + size] = request.body[_MOVE.size : _MOVE.size + size]
        return struct.pack("=II", size, 0)

    def _fallocate(self, request: _Request) -> bytes:
        _, offset, length, _, _ = _FALLOCATE.unpack_from(request.body)
        data = self.nodes[request.node].data
        end = min(offset + length, len(data))
        data[offset:end] = bytes(max(0, end - offset))
        return b""

    def _lseek(self, request: _Request) -> bytes:
        _, offset, whence = _LSEEK.unpack_from(request.body)
        end = len(self.nodes[request.node].data)
        if offset >= end:
            raise OSError(errno.ENXIO, "behind the end")
        return struct.pack("=Q", end if whence == os.SEEK_HOLE else offset)

    def _statfs(self, request: _Request) -> bytes:
        return _STATFS.pack(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096)
