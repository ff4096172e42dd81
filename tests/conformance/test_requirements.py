"""docs/rfc7143.md names tests that exist, and every requirement has one or a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "rfc7143.md"

_DEFINITION = re.compile(r"^\s*(?:async )?def (test_\w+)\(", re.MULTILINE)
_TEST = re.compile(r"`(test_\w+)::(test_\w+)`")
_REASON = re.compile(r"(?:Does not apply|Does not apply further|Differs): \S+(?: \S+)+")
_CLAUSE = re.compile(r"\d+(?:\.\d+)*")
_LEVELS = frozenset(
    ("MUST", "MUST NOT", "MUST ONLY", "SHOULD", "SHOULD NOT", "REQUIRED", "must", "should", "may")
)

#: Clauses with a MUST or a SHOULD that binds a target, of RFC 7143 and of RFC 7144.
_CLAUSES = (
    """
    4.2.1 4.2.2.1 4.2.2.2 4.2.2.3.2 4.2.2.3.4 4.2.2.4 4.2.3.3 4.2.3.4 4.2.3.5 4.2.3.6 4.2.4
    4.2.5.1 4.2.5.2 4.2.5.3 4.2.6 4.2.7 4.2.7.1 4.2.7.2 4.2.7.4 4.3 4.4.2 4.4.3 4.4.3.2
    4.6.1.2 6.1 6.2 6.2.1 6.2.2 6.3 6.3.1 6.3.2 6.3.3 6.3.4 6.3.5 6.4 7.1.4 7.1.4.3 7.1.5
    7.2.1 7.2.2 7.3 7.4.1 7.4.2.1 7.4.2.2 7.4.3 7.5 7.7 7.8 7.9 7.11 7.12 7.14 7.15 9 9.2
    9.2.1 9.2.2 9.2.3 9.3.1 9.3.2 9.3.3 9.4 10.1.2 10.2 10.3 10.6.1 10.7 11 11.1 11.2 11.2.1.2
    11.2.1.5 11.2.1.6 11.2.1.8 11.2.2.3 11.3.1 11.3.4 11.3.5 11.4.1 11.4.2 11.4.3 11.4.5.1
    11.4.5.2 11.4.5.3 11.4.6 11.4.7 11.4.8 11.4.9 11.4.11 11.5.1 11.5.2 11.5.4 11.5.5 11.5.6
    11.6 11.6.1 11.6.2 11.7 11.7.1 11.7.2 11.7.3 11.7.4 11.7.7 11.8 11.8.1 11.8.4 11.8.5
    11.9.1 11.9.3 11.10 11.10.2 11.10.3 11.10.4 11.10.5 11.11.1 11.11.2 11.11.4 11.11.6 11.12
    11.12.2 11.12.4 11.12.4.1 11.12.4.2 11.12.5 11.12.6 11.12.7 11.12.8 11.12.10 11.13.1
    11.13.2 11.13.3 11.13.5 11.13.6 11.13.7 11.13.8 11.14 11.14.2 11.14.5 11.15 11.15.2 11.16
    11.16.1 11.16.2 11.16.3 11.16.4 11.16.5 11.16.6 11.16.7 11.17.1 11.18 11.18.1 11.18.2
    11.19 11.19.1 11.19.3 12 12.1 12.1.1 12.1.2 12.1.3 13 13.1 13.4 13.5 13.6 13.7 13.8 13.11
    13.12 13.14 13.19 13.21 13.22 13.23 13.25 13.26.1 13.26.2 14 15
    """,
    """
    4.1 4.2 5.1.1 5.2.1 5.2.2 6.3 6.3.2 6.3.3 6.4.2 6.5
    """,
)


class Row(NamedTuple):
    line: int
    clause: str
    level: str
    requirement: str
    shown_by: str


def rows() -> Iterator[Row]:
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if not line.startswith("|") or line.startswith(("| Clause", "| ---")):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 4, f"line {number} has {len(cells)} cells"
        yield Row(number, *cells)


def existing_tests() -> dict[str, set[str]]:
    """Names of test functions by the name of their module; a module name may be there twice."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        found.setdefault(path.stem, set()).update(_DEFINITION.findall(path.read_text()))
    return found


def test_every_row_is_complete() -> None:
    faults = [
        row
        for row in rows()
        if not _CLAUSE.fullmatch(row.clause) or row.level not in _LEVELS or not row.requirement
    ]
    assert faults == []


def test_every_row_has_a_test_or_a_reason() -> None:
    without = [
        row for row in rows() if not _TEST.search(row.shown_by) and not _REASON.search(row.shown_by)
    ]
    assert without == []


def test_every_test_that_is_named_exists() -> None:
    exist = existing_tests()
    missing = [
        f"line {row.line}: {module}::{function}"
        for row in rows()
        for module, function in _TEST.findall(row.shown_by)
        if function not in exist.get(module, ())
    ]
    assert missing == []


def test_what_looks_like_a_test_is_one() -> None:
    """A name that is misspelt must not go unnoticed because the pattern does not match it."""
    strange = [
        f"line {row.line}: {code}"
        for row in rows()
        for code in re.findall(r"`[^`]*`", row.shown_by)
        if ("::" in code or "test" in code) and not _TEST.fullmatch(code)
    ]
    assert strange == []


def test_no_requirement_is_listed_twice() -> None:
    seen: set[tuple[str, str]] = set()
    twice = []
    for row in rows():
        # Clauses of both standards have the same numbers; what they say differs.
        key = (row.clause, row.requirement)
        if key in seen:
            twice.append(row)
        seen.add(key)
    assert twice == []


def sections() -> list[list[str]]:
    """The clauses of the rows of either standard."""
    found: list[list[str]] = [[]]
    for line in PAGE.read_text().splitlines():
        if line.startswith("## RFC 7144"):
            found.append([])
        elif (match := re.match(r"\| (\d[\d.]*) \|", line)) is not None:
            found[-1].append(match[1])
    return found


def test_clauses_are_in_order() -> None:
    for clauses in sections():
        numbers = [tuple(map(int, clause.split("."))) for clause in clauses]
        assert numbers == sorted(numbers)


def test_no_clause_is_missing() -> None:
    for clauses, needed in zip(sections(), _CLAUSES, strict=True):
        assert set(needed.split()) - set(clauses) == set()
