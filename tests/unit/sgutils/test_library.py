from __future__ import annotations

import subprocess
import sys

import pytest

from scstfs.sgutils import library
from scstfs.sgutils.library import LibraryMissing
from tests.support.needs import lacking


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SONAMES", ("libnone.so.7",))
    library.load.cache_clear()
    try:
        with pytest.raises(LibraryMissing, match="libsgutils2 is not installed"):
            library.load()
        assert not library.available()
    finally:
        library.load.cache_clear()


def test_the_version() -> None:
    if not library.available():
        lacking("needs libsgutils2")
    assert library.load().version.split()[0].replace(".", "").isdigit()


@pytest.mark.slow
def test_nothing_is_loaded_before_it_is_needed() -> None:
    program = (
        f"import sys; sys.path = {sys.path!r};"
        "import scstfs.core.execute, scstfs.sgutils.passthrough;"
        "sys.exit('cffi' in sys.modules)"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
