"""Replays a scenario against a tree, one in this process or a mounted one.

Scenario lines: ``W PATH|DATA`` write a line, ``N PATH|DATA`` write without a newline, ``R PATH``
read, ``L PATH`` list, ``S COMMAND`` run a shell command, ``D`` dump what changed in the whole tree,
``#`` comment; DATA has Python's escapes. The lines ``I E C T A X`` are an initiator's
(`tests.support.replay_initiators`). The outcome of each is a record, a JSON object, as in the
recordings that ship with the tests.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, TypeAlias

import trio.testing

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind, Tree
from scstfs.sysfs.text import PAGE_SIZE
from tests.support.recordings import Record

Shell: TypeAlias = Callable[[str], Awaitable[Record]]

_MOST_LINKS: Final = 40
_INITIATOR_LINES: Final = frozenset("IECTAX")


class Files(Protocol):
    """A tree for replaying a scenario."""

    def read(self, path: str) -> Record:
        """Open and read a file."""

    async def write(self, path: str, data: bytes) -> Record:
        """Open and write to a file."""

    def listing(self, path: str) -> Record:
        """The names in a directory."""

    async def snapshot(self) -> dict[str, Record]:
        """Every entry by path: mode of a directory, text of a link, mode and text of a file."""


class Initiators(Protocol):
    """Executes the lines of initiators."""

    def perform(self, kind: str, argument: str) -> Record:
        """The outcome of one line."""


def _errno_name(error: SysfsError) -> str:
    return errno.errorcode[error.errno]


def follow(tree: Tree, path: str) -> Node:
    """The node at *path* as open(2) finds it, through links; raises SysfsError."""
    todo = [part for part in path.split("/") if part not in ("", ".")]
    node, links = tree.root, 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            if node.parent is None:
                raise SysfsError(errno.ENOENT)
            node = node.parent
            continue
        child = node.lookup(part)
        if child is None:
            raise SysfsError(errno.ENOENT)
        if child.kind is NodeKind.LINK:
            links += 1
            text = child.readlink()
            if links > _MOST_LINKS or text.startswith("/"):
                raise SysfsError(errno.ENOENT)
            todo = [*text.split("/"), *todo]
        else:
            node = child
    return node


def _open(tree: Tree, path: str, bits: int) -> Node:
    node = follow(tree, path)
    if node.kind is NodeKind.DIRECTORY:
        raise SysfsError(errno.EISDIR)
    if not node.mode & bits:
        raise SysfsError(errno.EACCES)
    return node


def read(tree: Tree, path: str) -> Record:
    """Open and read a file."""
    try:
        return {"text": _open(tree, path, 0o444).read().decode("utf-8", "backslashreplace")}
    except SysfsError as error:
        return {"errno": _errno_name(error)}


async def write(tree: Tree, path: str, data: bytes) -> Record:
    """Open and write to a file."""
    try:
        node = _open(tree, path, 0o222)
    except SysfsError as error:
        return {"errno": _errno_name(error), "at": "open"}
    try:
        return {"written": await node.write(data)}
    except SysfsError as error:
        return {"errno": _errno_name(error)}


def listing(tree: Tree, path: str) -> Record:
    """The names in a directory."""
    try:
        return {"names": sorted(follow(tree, path).listdir())}
    except SysfsError as error:
        return {"errno": _errno_name(error)}


def snapshot(tree: Tree) -> dict[str, Record]:
    """Every entry by path: mode of a directory, text of a link, mode and text of a file."""
    return {node.path: _describe(node) for node in tree.walk() if node.path}


def _describe(node: Node) -> Record:
    if node.kind is NodeKind.LINK:
        return {"link": node.readlink()}
    if node.kind is NodeKind.DIRECTORY:
        return {"dir": oct(node.mode)}
    entry: Record = {"file": oct(node.mode), "size": PAGE_SIZE}
    if node.mode & 0o444:
        try:
            entry["text"] = node.read().decode("utf-8", "backslashreplace")
        except SysfsError as error:
            entry["errno"] = _errno_name(error)
    return entry


class TreeFiles:
    """A tree in this process."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def read(self, path: str) -> Record:
        """See Files."""
        return read(self._tree, path)

    async def write(self, path: str, data: bytes) -> Record:
        """See Files."""
        return await write(self._tree, path, data)

    def listing(self, path: str) -> Record:
        """See Files."""
        return listing(self._tree, path)

    async def snapshot(self) -> dict[str, Record]:
        """See Files; waits for background work."""
        await trio.testing.wait_all_tasks_blocked()
        return snapshot(self._tree)


async def run_shell(command: str) -> Record:
    """Run a command, except for sleeps."""
    if command.startswith("sleep "):
        return {"rc": 0, "out": "", "err": ""}
    done = await trio.run_process(
        command, shell=True, capture_stdout=True, capture_stderr=True, check=False
    )
    return {"rc": done.returncode, "out": done.stdout.decode(), "err": done.stderr.decode()}


class Replay:
    """One run of a scenario."""

    def __init__(
        self,
        files: Files | Tree,
        shell: Shell = run_shell,
        initiators: Initiators | None = None,
        *,
        every_dump: bool = True,
    ) -> None:
        """Without *every_dump* only the last dump of a scenario is made: they take long."""
        self._files = TreeFiles(files) if isinstance(files, Tree) else files
        self._shell = shell
        self._initiators = initiators
        self._every_dump = every_dump
        self._last: dict[str, Record] = {}

    async def run(self, lines: Iterable[str]) -> list[Record]:
        """The records of all lines."""
        lines = [line.rstrip("\n") for line in lines]
        last = max((at for at, line in enumerate(lines) if line == "D"), default=0)
        records: list[Record] = []
        for at, line in enumerate(lines):
            skipped = line == "D" and at != last and not self._every_dump
            record = {"op": "dump", "skipped": True} if skipped else await self._line(line)
            if record is not None:
                records.append(record)
        return records

    async def _line(self, line: str) -> Record | None:
        if line.startswith("#"):
            return {"comment": line[1:].strip()}
        if not line.strip():
            return None
        kind, _, argument = line.partition(" ")
        if kind in ("W", "N"):
            path, _, text = argument.partition("|")
            data = text.encode().decode("unicode_escape").encode("latin-1")
            data += b"\n" if kind == "W" else b""
            outcome = await self._files.write(path, data)
            return {"op": "write", "path": path, "data": data.decode("latin-1"), **outcome}
        if kind == "R":
            return {"op": "read", "path": argument, **self._files.read(argument)}
        if kind == "L":
            return {"op": "list", "path": argument, **self._files.listing(argument)}
        if kind == "S":
            return {"op": "shell", "cmd": argument, **await self._shell(argument)}
        if kind == "D":
            return {"op": "dump", **await self._dump()}
        if self._initiators is not None and kind in _INITIATOR_LINES:
            outcome = self._initiators.perform(kind, argument)
            return {"op": "io", "kind": kind, "arg": argument, **outcome}
        raise ValueError(f"no scenario line: {line!r}")

    async def _dump(self) -> Record:
        now, last = await self._files.snapshot(), self._last
        self._last = now
        return {
            "changed": {path: entry for path, entry in now.items() if last.get(path) != entry},
            "removed": sorted(path for path in last if path not in now),
        }
