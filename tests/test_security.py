"""docs/security.md tells of limits that there are, and of tests that there are."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from scstfs.capabilities import Capability
from scstfs.mounting import Instruction
from scstfs.privileges import USES
from tests.conformance import test_limits

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "security.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
LIMITS = re.findall(r"\| ([\d,]+)[^|]*\(`([\w.]+)`\)", PAGE)


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name or file for file, name in TESTS])
def test_the_tests_exist(file: str, name: str) -> None:
    tree = ast.parse((REPOSITORY / file).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in {*names, ""}


def test_every_limit_has_a_test() -> None:
    (table,) = re.findall(r"^\| limit .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    for row in table.strip().splitlines()[2:]:
        assert "`tests/" in row.rpartition(" | ")[2], row


@pytest.mark.parametrize(("told", "dotted"), LIMITS)
def test_the_limits_are_as_told(told: str, dotted: str) -> None:
    module, _, name = dotted.rpartition(".")
    assert float(told.replace(",", "")) == getattr(import_module(f"scstfs.{module}"), name)


def test_enough_is_found_above() -> None:
    assert len(TESTS) > 15
    assert len(LIMITS) > 10


def test_what_has_no_name_is_as_told() -> None:
    assert f"{test_limits.IDLE_CONNECTION // 1024} KiB" in PAGE
    assert len(Instruction) == 3
    assert "three messages of one byte" in PAGE
    for capability in Capability:
        if capability in USES:
            assert f"`{capability.name.lower()}`: {USES[capability].partition(';')[0]}" in PAGE
