"""libiscsi's conformance tests, iscsi-test-cu: running them and reading what they print."""

from __future__ import annotations

import enum
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

DATA: Final = Path(__file__).parents[1] / "data"
KNOWN_FAILURES: Final = DATA / "known-failures.txt"
KERNEL: Final = DATA / "oracle" / "libiscsi-scst-3.10.txt"
"""What the kernel's SCST 3.10 got, on a thin vdisk_fileio of 64 MiB with one path to it."""

_HEADING: Final = re.compile(r"^Suite: (\S+)$|^  Test: (\S+) \.\.\.|^(Run Summary:)", re.MULTILINE)
_FAILED: Final = re.compile(r"^FAILED$", re.MULTILINE)
_PASSED: Final = re.compile(r"^passed", re.MULTILINE)
_SUMMARY: Final = re.compile(r"^ +tests +(\d+) +(\d+) +(\d+) +(\d+) ", re.MULTILINE)


class Result(enum.Enum):
    """What came of a test."""

    PASSED = enum.auto()
    SKIPPED = enum.auto()
    """Passed because something that it is about is not there."""
    FAILED = enum.auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test, "Suite.Test", its result, and what it printed."""

    test: str
    result: Result
    text: str


def outcomes(output: str) -> list[Outcome]:
    """Read what iscsi-test-cu printed; raises ValueError where its own sums say otherwise."""
    found: list[Outcome] = []
    suite = ""
    headings = list(_HEADING.finditer(output))
    ends = [heading.start() for heading in headings[1:]] + [len(output)]
    for heading, end in zip(headings, ends, strict=True):
        suite = heading[1] or suite
        if heading[2]:
            text = output[heading.end() : end]
            found.append(Outcome(f"{suite}.{heading[2]}", _result(text), text.strip()))
    summary = _SUMMARY.search(output)
    if summary is None:
        raise ValueError(f"it did not come to its end:\n{output[-3000:]}")
    failed = [outcome.result for outcome in found].count(Result.FAILED)
    if (len(found), len(found), len(found) - failed, failed) != tuple(map(int, summary.groups())):
        raise ValueError(f"{len(found)} outcomes, {failed} failures, but\n{summary[0]}")
    return found


def _result(text: str) -> Result:
    # What the test itself has to say stands before it; behind it, what it says while cleaning up.
    if _FAILED.search(text):
        return Result.FAILED
    if not _PASSED.search(text):
        raise ValueError(f"neither passed nor failed:\n{text}")
    return Result.SKIPPED if "[SKIPPED]" in text else Result.PASSED


class Run:
    """iscsi-test-cu, running; killed at the end of the context."""

    def __init__(self, output: Path, *arguments: str) -> None:
        """Start it with all tests that lose data allowed; it prints into the file *output*."""
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                ["iscsi-test-cu", "--dataloss", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def outcomes(self) -> list[Outcome]:
        """Wait for its end; return what came out."""
        self._process.wait()
        return outcomes(self._output.read_text(errors="backslashreplace"))


def known_failures(disk: str) -> dict[str, str]:
    """The tests that are known to fail on a kind of disk, each with the reason."""
    lines = KNOWN_FAILURES.read_text().splitlines()
    entries = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    return {test: reason for kind, test, reason in entries if kind == disk}


def names(found: Sequence[Outcome], result: Result) -> list[str]:
    """The tests that had this result."""
    return sorted(outcome.test for outcome in found if outcome.result is result)
