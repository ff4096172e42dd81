"""Recordings of SCST 3.10: reading one, and comparing another run of its scenario with it.

A recording is a file of JSON objects, one for each line of the scenario (`tests.support.replay`).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

Record: TypeAlias = dict[str, Any]

DIRECTORY: Final = Path(__file__).parents[1] / "data" / "oracle"
"""The directory of the recordings and their scenarios."""

_MASKED = [
    re.compile(pattern)
    for pattern in (
        r"(^|/)thread_(pid|index)$",
        r"^sgv/(.*/stats|global_stats)$",
        r"^version$",
        r"^trace_m?cmds$",
        r"(_cmd_count|_io_count_kb|/commands|/active_commands)$",
        r"/sid$",
    )
]
"""Entries whose text depends on the machine or on timing; they must exist all the same."""

SCST_USER = "^handlers/scst_user"
"""Needs a kernel character device, so it does not exist."""

SCSI_DEVICES = r"^devices/\d+:\d+:\d+:\d+(/|$)"
"""SCSI devices of the machine, which vary."""


_LBPME, _LBPRZ = 0x80, 0x40


def _reads_zero(capacity: bytes) -> bytes:
    """Data of READ CAPACITY(16): thin devices here are in files, which read as zeros."""
    if len(capacity) < 15 or not capacity[14] & _LBPME:
        return capacity
    return capacity[:14] + bytes((capacity[14] | _LBPRZ,)) + capacity[15:]


CORRECTIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"9e10": _reads_zero}
"""Beginnings of CDBs to which SCST returned wrong data."""


def load(name: str) -> list[Record]:
    """The records of a recording."""
    return [json.loads(line) for line in (DIRECTORY / f"{name}.jsonl").read_text().splitlines()]


def scenario(name: str) -> list[str]:
    """The lines of its scenario."""
    return (DIRECTORY / f"{name}.txt").read_text().splitlines()


def differences(
    expected: Sequence[Record], actual: Sequence[Record], skip: Sequence[str] = ()
) -> list[str]:
    """The differences, except for paths that match one of the patterns in *skip*.

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
    """Both trees after the dumps so far."""

    def __init__(self, skips: Callable[[str], bool]) -> None:
        self._skips = skips
        self._trees: tuple[dict[str, Record], dict[str, Record]] = ({}, {})
        self._seen: set[str] = set()

    def records(self, wanted: Record, got: Record) -> Iterator[str]:
        """The differences in one record."""
        if wanted.get("op") == "dump":
            yield from self._dumps(wanted, got)
        elif wanted.get("op") == "io":
            wanted = _corrected(wanted)
            if wanted != got:
                argument = wanted["arg"][:80]
                yield f"{wanted['kind']} {argument}: expected {wanted}, got {got}"
        elif wanted.get("op") in ("write", "read", "list") and not self._skips(wanted["path"]):
            mine, theirs = (self._outcome(record) for record in (wanted, got))
            if mine != theirs:
                data = f" {wanted['data']!r}" if "data" in wanted else ""
                yield f"{wanted['op']} {wanted['path']}{data}: expected {mine}, got {theirs}"

    def _dumps(self, wanted: Record, got: Record) -> Iterator[str]:
        _apply(self._trees[0], wanted)
        if got.get("skipped"):
            return
        _apply(self._trees[1], got)
        for path in sorted({*self._trees[0], *self._trees[1]}):
            text = self._entry(path)
            if text and text not in self._seen:
                self._seen.add(text)
                yield text

    def _entry(self, path: str) -> str:
        """The difference of the trees in one entry; empty if there is none."""
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


def _apply(tree: dict[str, Record], dump: Record) -> None:
    for path in dump["removed"]:
        tree.pop(path, None)
    tree.update(dump["changed"])


def _corrected(record: Record) -> Record:
    cdb = record["arg"].split()[2] if record["kind"] == "C" else ""
    correct = CORRECTIONS.get(cdb[:4])
    if correct is None or not record.get("data"):
        return record
    return record | {"data": correct(bytes.fromhex(record["data"])).hex()}


def _matches(patterns: Iterable[re.Pattern[str]], path: str) -> bool:
    return any(pattern.search(path) for pattern in patterns)


def _unmasked(path: str, entry: Mapping[str, Any]) -> Record:
    hidden = {"size", "text", "errno"} if _matches(_MASKED, path) else {"size"}
    return {key: value for key, value in entry.items() if key not in hidden}
