"""Look for inputs that break the invariant, with atheris: usually by `make fuzz`.

Inputs with new coverage are collected in .fuzz/TARGET, inputs that break the invariant in
.fuzz/TARGET-crash-* (or -timeout-*, -oom-*); the exit status is 1 then. `python -m fuzz TARGET
FILE...` runs such files again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from fuzz import corpus
from fuzz.targets import TARGETS

_FOUND: Final = Path(".fuzz")
_OPTIONS: Final = ("-max_len=4096", "-len_control=0", "-timeout=60", "-rss_limit_mb=1024")


def main() -> int:
    """Fuzz one target after another, each in its own process."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="TARGET", help=f"of {TARGETS} (all)")
    parser.add_argument(
        "--seconds", type=int, default=600, help="for each target (default: %(default)s)"
    )
    parser.add_argument(
        "--minimise",
        action="store_true",
        help="fuzz nothing; keep in tests/data/fuzz the inputs that are needed for all coverage",
    )
    given = parser.parse_args()
    targets = [word for word in given.what if word in TARGETS]
    files = [word for word in given.what if word not in TARGETS]
    if not all(Path(file).is_file() for file in files) or (files and len(targets) != 1):
        parser.error(f"neither a target nor a file of a target: {' '.join(files)}")
    status = 0
    for target in targets or TARGETS:
        print(f"--- {target}", flush=True)
        if files:
            status |= _run(target, *files)
        elif given.minimise:
            status |= _minimise(target)
        else:
            found = _FOUND / target
            corpus.unpack(corpus.load(target), found)
            status |= _run(target, f"-max_total_time={given.seconds}", str(found))
    return status


def _minimise(target: str) -> int:
    """Reduce the tests' corpus and the findings to the inputs needed for their coverage."""
    found, needed = _FOUND / target, _FOUND / f"{target}-needed"
    corpus.unpack(corpus.load(target), found)
    shutil.rmtree(needed, ignore_errors=True)
    needed.mkdir()
    status = _run(target, "-merge=1", str(needed), str(found))
    inputs = corpus.pack(needed)
    shutil.rmtree(needed)
    if status or not inputs:
        return 1
    corpus.save(target, inputs)
    return 0


def _run(target: str, *arguments: str) -> int:
    """Run libFuzzer, which ends its process; 0 if it found nothing, else 1."""
    prefix = f"-artifact_prefix={_FOUND}/{target}-"
    argv = [sys.executable, "-m", "fuzz.libfuzzer", target, *_OPTIONS, prefix, *arguments]
    return int(subprocess.run(argv, check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
