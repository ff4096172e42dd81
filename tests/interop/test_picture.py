"""The README's picture shows what happens."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.support.mounted import REPOSITORY
from tests.support.needs import need_mounts, need_programs

PICTURE = REPOSITORY / "docs" / "picture.svg"
LARGEST = 50_000


def text(svg: str) -> str:
    """The text of a picture, with all numbers the same."""
    spans = (html.unescape(span) for span in re.findall(r"<text[^>]*>(.*?)</text>", svg))
    return re.sub(r"\d[\w.]*", "0", " ".join(" ".join(spans).split()))


@pytest.mark.slow
def test_the_picture_is_what_a_sandbox_shows(tmp_path: Path) -> None:
    need_mounts()
    need_programs("iscsi-ls", "qemu-io")
    place = tmp_path / "picture.svg"
    subprocess.run([sys.executable, REPOSITORY / "contrib/picture.py", place], check=True)
    assert text(place.read_text()) == text(PICTURE.read_text())


def test_the_picture_is_small_and_loads_nothing() -> None:
    svg = PICTURE.read_text()
    assert len(svg) < LARGEST
    assert "url(http" not in svg
    assert "<script" not in svg
    spec = spec_from_file_location("picture", REPOSITORY / "contrib/picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for command in module.COMMANDS:
        assert re.sub(r"\d[\w.]*", "0", command) in text(svg), command
