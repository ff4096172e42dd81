from __future__ import annotations

import subprocess
import sys

import pytest

from scstfs.sgutils import libsgutils
from scstfs.sgutils.libsgutils import LibraryMissing
from tests.support.needs import lacking


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsgutils, "SONAMES", ("libnone.so.7",))
    libsgutils.load.cache_clear()
    try:
        with pytest.raises(LibraryMissing, match="libsgutils2 is not installed"):
            libsgutils.load()
        assert not libsgutils.available()
    finally:
        libsgutils.load.cache_clear()


def test_the_version() -> None:
    if not libsgutils.available():
        lacking("needs libsgutils2")
    assert libsgutils.load().version.split()[0].replace(".", "").isdigit()


@pytest.mark.slow
def test_nothing_is_loaded_before_it_is_needed() -> None:
    program = (
        f"import sys; sys.path = {sys.path!r};"
        "import scstfs.core.execute, scstfs.sgutils.sg_pt;"
        "sys.exit('cffi' in sys.modules)"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
