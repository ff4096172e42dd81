"""Replays a scenario against a tree in this process, and compares with what SCST answered.

Scenario lines: ``W PATH|DATA`` write a line, ``N PATH|DATA`` write without a newline, ``R PATH``
read, ``L PATH`` list, ``S COMMAND`` run a shell command, ``D`` dump what changed in the whole tree,
``#`` comment; DATA has Python's escapes. The outcome of each is a record, a JSON object, as in the
recordings that ship with the tests.
"""

from __future__ import annotations

import errno
import json
import posixpath
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import trio.testing

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind, Tree
from scstfs.sysfs.text import PAGE_SIZE

Record: TypeAlias = dict[str, Any]
Shell: TypeAlias = Callable[[str], Awaitable[Record]]

_MOST_LINKS = 40


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


async def run_shell(command: str) -> Record:
    """Run a command, but take no naps."""
    if command.startswith("sleep "):
        return {"rc": 0, "out": "", "err": ""}
    done = await trio.run_process(
        command, shell=True, capture_stdout=True, capture_stderr=True, check=False
    )
    return {"rc": done.returncode, "out": done.stdout.decode(), "err": done.stderr.decode()}


class Replay:
    """One run of a scenario."""

    def __init__(self, tree: Tree, shell: Shell = run_shell) -> None:
        self._tree = tree
        self._shell = shell
        self._last: dict[str, Record] = {}

    async def run(self, lines: Iterable[str]) -> list[Record]:
        """The records of all lines."""
        return [
            record for line in lines if (record := await self._line(line.rstrip("\n"))) is not None
        ]

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
            outcome = await write(self._tree, path, data)
            return {"op": "write", "path": path, "data": data.decode("latin-1"), **outcome}
        if kind == "R":
            return {"op": "read", "path": argument, **read(self._tree, argument)}
        if kind == "L":
            return {"op": "list", "path": argument, **listing(self._tree, argument)}
        if kind == "S":
            return {"op": "shell", "cmd": argument, **await self._shell(argument)}
        if kind == "D":
            await trio.testing.wait_all_tasks_blocked()
            return {"op": "dump", **self._dump()}
        raise ValueError(f"no scenario line: {line!r}")

    def _dump(self) -> Record:
        now, last = snapshot(self._tree), self._last
        self._last = now
        return {
            "changed": {path: entry for path, entry in now.items() if last.get(path) != entry},
            "removed": sorted(path for path in last if path not in now),
        }


# Comparing

_MASKED = [
    re.compile(pattern)
    for pattern in (
        r"(^|/)thread_pid$",
        r"^sgv/(.*/stats|global_stats)$",
        r"^version$",
        r"^trace_m?cmds$",
        r"(_cmd_count|_io_count_kb|/commands|/active_commands)$",
        r"/sid$",
    )
]
"""Entries whose text depends on the machine or on timing; they must be there all the same."""

SCST_USER = "^handlers/scst_user"
"""Needs a kernel character device, so there is none."""

SCSI_DEVICES = r"^devices/\d+:\d+:\d+:\d+(/|$)"
"""SCSI devices of the machine: another one has others."""


def load(path: Path) -> list[Record]:
    """The records of a recording."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def differences(
    expected: Sequence[Record], actual: Sequence[Record], skip: Sequence[str] = ()
) -> list[str]:
    """What is not as expected, but for paths that match one of the patterns in *skip*.

    A difference between the trees counts once, where it first shows.
    """
    skipped = [re.compile(pattern) for pattern in skip]
    comparison = _Comparison(lambda path: any(p.search(path) for p in skipped))
    found = []
    if len(expected) != len(actual):
        found.append(f"{len(expected)} records expected, {len(actual)} are there")
    for number, (wanted, got) in enumerate(zip(expected, actual, strict=False), 1):
        found += [f"line {number} {text}" for text in comparison.records(wanted, got)]
    return found


class _Comparison:
    """Both trees as they are after the dumps so far."""

    def __init__(self, skips: Callable[[str], bool]) -> None:
        self._skips = skips
        self._trees: tuple[dict[str, Record], dict[str, Record]] = ({}, {})
        self._seen: set[str] = set()

    def records(self, wanted: Record, got: Record) -> Iterator[str]:
        """What differs in one record."""
        if wanted.get("op") == "dump":
            yield from self._dumps(wanted, got)
        elif wanted.get("op") in ("write", "read", "list") and not self._skips(wanted["path"]):
            mine, theirs = (self._outcome(record) for record in (wanted, got))
            if mine != theirs:
                data = f" {wanted['data']!r}" if "data" in wanted else ""
                yield f"{wanted['op']} {wanted['path']}{data}: expected {mine}, got {theirs}"

    def _dumps(self, wanted: Record, got: Record) -> Iterator[str]:
        for tree, record in zip(self._trees, (wanted, got), strict=True):
            for path in record["removed"]:
                tree.pop(path, None)
            tree.update(record["changed"])
        for path in sorted({*self._trees[0], *self._trees[1]}):
            text = self._entry(path)
            if text and text not in self._seen:
                self._seen.add(text)
                yield text

    def _entry(self, path: str) -> str:
        """How the trees differ in one entry; empty if they do not."""
        wanted, got = (tree.get(path) for tree in self._trees)
        if self._skips(path):
            return ""
        mine, theirs = (_unmasked(path, entry or {}) for entry in (wanted, got))
        return "" if mine == theirs else f"tree {path}: expected {mine}, got {theirs}"

    def _outcome(self, record: Record) -> Record:
        path = record["path"]
        keys = ["written", "errno", "at", "names"] + ["text"] * (not _matches(_MASKED, path))
        outcome = {key: record[key] for key in keys if key in record}
        if "names" in outcome:
            outcome["names"] = [
                name for name in outcome["names"] if not self._skips(posixpath.join(path, name))
            ]
        return outcome


def _matches(patterns: Iterable[re.Pattern[str]], path: str) -> bool:
    return any(pattern.search(path) for pattern in patterns)


def _unmasked(path: str, entry: Mapping[str, Any]) -> Record:
    hidden = {"size", "text", "errno"} if _matches(_MASKED, path) else {"size"}
    return {key: value for key, value in entry.items() if key not in hidden}
