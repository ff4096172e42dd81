"""One target under atheris: ``python -m fuzz.libfuzzer TARGET ARGUMENTS OF LIBFUZZER...``.

Only modules that are imported under atheris's instrumentation are instrumented; without that
libFuzzer has no coverage.
"""

from __future__ import annotations

import shlex
import sys

import atheris

from fuzz import targets

target, *arguments = sys.argv[1:]

with atheris.instrument_imports(include=["scstfs"]):
    run = targets.load(target)

# A merge makes the shell run this program name, with other arguments.
program = shlex.join((sys.executable, "-m", "fuzz.libfuzzer", target))
atheris.Setup([program, *arguments], run)
atheris.Fuzz()
