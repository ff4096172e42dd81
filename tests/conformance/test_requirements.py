"""docs/rfc7143.md names tests that exist, and every requirement has one or a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "rfc7143.md"

_TEST = re.compile(r"`(test_\w+)::(test_\w+)`")
_REASON = re.compile(r"(?:Does not apply|Does not apply further|Differs): \S+(?: \S+)+")
_CLAUSE = re.compile(r"\d+(?:\.\d+)*")
_LEVELS = frozenset(
    ("MUST", "MUST NOT", "MUST ONLY", "SHOULD", "SHOULD NOT", "REQUIRED", "must", "should", "may")
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
        functions = found.setdefault(path.stem, set())
        functions.update(
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
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


def test_clauses_are_in_order() -> None:
    sections: list[list[tuple[int, ...]]] = [[]]
    for line in PAGE.read_text().splitlines():
        if line.startswith("## RFC 7144"):
            sections.append([])
        elif (match := re.match(r"\| (\d[\d.]*) \|", line)) is not None:
            sections[-1].append(tuple(map(int, match[1].split("."))))
    for clauses in sections:
        assert clauses == sorted(clauses)
        assert len(clauses) > 10
