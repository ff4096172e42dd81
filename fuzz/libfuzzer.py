"""One target under atheris: ``python -m fuzz.libfuzzer TARGET ARGUMENTS OF LIBFUZZER...``.

Only modules that are imported after atheris has been told so are instrumented, and without that
libFuzzer guesses blindly.
"""

from __future__ import annotations

import shlex
import sys

import atheris

from fuzz import targets

target, *arguments = sys.argv[1:]

with atheris.instrument_imports(include=["scstfs"]):
    run = targets.load(target)

# What stands for the program is also what a merge has the shell run, with other arguments.
program = shlex.join((sys.executable, "-m", "fuzz.libfuzzer", target))
atheris.Setup([program, *arguments], run)
atheris.Fuzz()
