"""The things that the documents name exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
ARCHITECTURE = (REPOSITORY / "docs" / "architecture.md").read_text()
README = PAGES[0].read_text()


def exists(dotted: str) -> bool:
    """It is a module of scstfs, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(("scstfs", *parts[:count])))
        except ImportError:
            continue
        for name in parts[count:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_architecture_names_what_exists() -> None:
    names = set(re.findall(r"`([a-z]\w*(?:\.\w+)+)`", ARCHITECTURE))
    assert len(names) > 15
    files = {name for name in names if name.endswith((".py", ".md"))}
    assert not [name for name in names - files if not exists(name)]


def test_the_architecture_has_every_layer() -> None:
    source = REPOSITORY / "src" / "scstfs"
    packages = {path.parent.name for path in source.glob("*/__init__.py")}
    for package in packages:
        assert f"| `{package}` |" in ARCHITECTURE, package


def test_every_page_is_listed_in_the_readme() -> None:
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in README, page


def test_the_readmes_figures_are_those_of_the_measurements() -> None:
    measured = (REPOSITORY / "docs" / "performance.md").read_text()
    figures = re.findall(r"([\d,]+)/s", README)
    assert len(figures) >= 8
    for figure in figures:
        assert f" {figure} " in measured, figure


def test_the_readme_tells_only_of_what_make_can_do() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z]+)\b", README, re.MULTILINE)) <= targets
    assert {"help", "run", "demo", "test", "lint", "type", "bench", "clean", "fuzz"} <= targets
