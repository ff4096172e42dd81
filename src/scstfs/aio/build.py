"""Compiles native.c; run by setup.py when scstfs is installed, and by nobody else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cffi import FFI

_HERE: Final = Path("src/scstfs/aio")
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)

ffibuilder: Final = FFI()
ffibuilder.cdef(_COMMENT.sub("", (_HERE / "native.h").read_text()))
ffibuilder.set_source(
    "scstfs.aio._native",
    '#include <stdbool.h>\n#include <stdint.h>\n#include "native.h"',
    sources=[str(_HERE / "native.c")],
    depends=[str(_HERE / "native.h")],
    include_dirs=[str(_HERE)],
    libraries=["uring", "aio", "pthread"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
)
