"""``python -m fuzz TARGET [OPTIONS OF LIBFUZZER]``: look for inputs that break the invariant.

Inputs that reach something new are kept in ``.fuzz/TARGET``; with ``--minimise`` those that are
needed for it go from there into the corpus of the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["scstfs"]):
    from fuzz import CORPUS, TARGETS

_FOUND = Path(".fuzz")


def main(arguments: list[str]) -> int:
    """Run libFuzzer on one target."""
    if not arguments or arguments[0] not in TARGETS:
        print(f"usage: python -m fuzz {'|'.join(TARGETS)} [-max_total_time=SECONDS ...]")
        return 2
    target, *options = arguments
    corpus, found = CORPUS / target, _FOUND / target
    for directory in (corpus, found):
        directory.mkdir(parents=True, exist_ok=True)
    if "--minimise" in options:
        options.remove("--minimise")
        options = ["-merge=1", *options, str(corpus), str(found)]
    else:
        options = ["-max_len=4096", *options, str(found), str(corpus)]
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()
    return 0


sys.exit(main(sys.argv[1:]))
