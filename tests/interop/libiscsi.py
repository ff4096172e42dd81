"""libiscsi's conformance tests, iscsi-test-cu: running them and reading what they print."""

from __future__ import annotations

import enum
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).parents[1] / "data"
KNOWN_FAILURES: Final = DATA / "known-failures.txt"
KERNEL: Final = DATA / "oracle" / "libiscsi-scst-3.10.txt"
"""What the kernel's SCST 3.10 got, on a thin vdisk_fileio of 64 MiB with one path to it."""

LIMIT: Final = 15
"""How many seconds a test may wait for one thing; none sleeps for more than three."""

PATIENCE: Final = 150
"""How many seconds a test may take in all: some take two, and much more on a busy machine."""

RELEASES: Final[Mapping[str, str]] = {"1.20": "iSCSISendTargets", "1.19": "WriteAtomic16"}
"""Releases that are known here, the newest first, each with a suite that those behind it lack."""

_HEADING: Final = re.compile(r"^Suite: (\S+)$|^  Test: (\S+) \.\.\.|^(Run Summary:)", re.MULTILINE)
_FAILED: Final = re.compile(r"^FAILED$", re.MULTILINE)
_PASSED: Final = re.compile(r"^passed", re.MULTILINE)
_SUMMARY: Final = re.compile(r"^ +tests +(\d+) +(\d+) +(\d+) +(\d+) ", re.MULTILINE)


class Result(enum.Enum):
    """The result of a test."""

    PASSED = enum.auto()
    SKIPPED = enum.auto()
    """Passed because its subject does not exist."""
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
    # The test's own output comes before it; the output of its clean-up follows.
    if _FAILED.search(text):
        return Result.FAILED
    if not _PASSED.search(text):
        raise ValueError(f"neither passed nor failed:\n{text}")
    return Result.SKIPPED if "[SKIPPED]" in text else Result.PASSED


def listed(*patterns: str) -> list[str]:
    """The tests that there are, "Family.Suite.Test", of which the name matches a pattern."""
    done = subprocess.run(["iscsi-test-cu", "--list"], capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.split() if line.count(".") == 2]
    return [name for name in found if any(fnmatchcase(name, pattern) for pattern in patterns)]


def run(test: str, *arguments: str) -> Outcome:
    """Run one test, which may destroy data, in its own process.

    What one of them leaves behind can crash the next one in the same process, or have it do
    nothing. One that crashes or waits for ever has failed.
    """
    argv = ["iscsi-test-cu", "--dataloss", f"--test={test}", *arguments]
    _, _, name = test.partition(".")
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        output, hung = _output(process)
    text = output.decode(errors="backslashreplace")
    if hung:
        return Outcome(name, Result.FAILED, f"{text.strip()}\nwaited for ever")
    if process.returncode < 0:
        text = f"{text.strip()}\nended by signal {-process.returncode}"
        return Outcome(name, Result.FAILED, text)
    [outcome] = outcomes(text)
    return outcome


def _output(process: subprocess.Popen[bytes]) -> tuple[bytes, bool]:
    """Wait for a process; return what it printed, and whether it had to be killed as it hung.

    A process that is slow because the machine is busy does run now and then.
    """
    before, end = "", time.monotonic() + PATIENCE
    while True:
        try:
            return process.communicate(timeout=LIMIT)[0], False
        except subprocess.TimeoutExpired:
            status = Path(f"/proc/{process.pid}/status").read_text()
        switches = status[status.index("voluntary_ctxt_switches") :]
        if switches == before or time.monotonic() > end:
            process.kill()
            return process.communicate()[0], True
        before = switches


def release() -> str:
    """The release of libiscsi, by new entries in its list of tests; it has no version option."""
    suites = {name.split(".")[1] for name in listed("ALL.*")}
    return next(number for number, suite in RELEASES.items() if suite in suites)


def known_failures(disk: str) -> dict[str, str]:
    """The tests that are known to fail on a kind of disk, each with the reason."""
    here = release()
    lines = KNOWN_FAILURES.read_text().splitlines()
    entries = [line.split(maxsplit=3) for line in lines if line and not line.startswith("#")]
    return {
        test: reason
        for releases, kind, test, reason in entries
        if kind in ("*", disk) and _includes(releases, here)
    }


def _includes(releases: str, one: str) -> bool:
    numbers = list(RELEASES)  # the newest first
    if releases.endswith("+"):
        return numbers.index(one) <= numbers.index(releases[:-1])
    return releases in ("*", one)


def names(found: Sequence[Outcome], result: Result) -> list[str]:
    """The tests that had this result."""
    return sorted(outcome.test for outcome in found if outcome.result is result)
