"""Compiles what is below native/; run by setup.py when scstfs is installed, and by nothing else.

Without liburing or libaio, or with one that is too old, the back end that needs it is left out, and
another one is used as if the system refused it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

from cffi import FFI

_HERE: Final = Path("src/scstfs/aio/native")
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)

#: By the macro that says that there is a library: its name, and a program that uses what is newest
#: of what is used.
_LIBRARIES: Final = {
    "HAVE_LIBURING": (
        "uring",
        "#include <liburing.h>\nint main(void) { struct io_uring ring; "
        "return io_uring_get_events(&ring) + (int)IORING_SETUP_DEFER_TASKRUN; }",
    ),
    "HAVE_LIBAIO": (
        "aio",
        "#include <libaio.h>\nint main(void) { io_context_t context = 0; "
        "return io_setup(1, &context); }",
    ),
}


def _is_there(library: str, program: str) -> bool:
    """The library and its headers are installed, and new enough."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    command = [*compiler, "-x", "c", "-", "-x", "none", f"-l{library}", "-o", "/dev/null"]
    try:
        done = subprocess.run(command, input=program.encode(), capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


_FOUND: Final = {macro: name for macro, (name, use) in _LIBRARIES.items() if _is_there(name, use)}

ffibuilder: Final = FFI()
#: System calls that are made apart from the program: see apart.py.
_CALLS: Final = (
    "close",
    "copy_file_range",
    "fadvise64",
    "fallocate",
    "fdatasync",
    "flock",
    "fstatfs",
    "fsync",
    "ftruncate",
    "ioctl",
    "lseek",
    "mkdirat",
    "openat",
    "preadv2",
    "pwritev2",
    "readlinkat",
    "renameat2",
    "statx",
    "unlinkat",
)

ffibuilder.cdef(_COMMENT.sub("", (_HERE / "native.h").read_text()))
ffibuilder.cdef("".join(f"#define SYS_{name} ...\n" for name in _CALLS))
ffibuilder.set_source(
    "scstfs.aio._native",
    '#include <stdbool.h>\n#include <stdint.h>\n#include <sys/syscall.h>\n#include "native.h"',
    sources=[str(path) for path in sorted(_HERE.glob("*.c"))],
    depends=[str(path) for path in sorted(_HERE.glob("*.h"))],
    include_dirs=[str(_HERE)],
    define_macros=[(macro, None) for macro in _FOUND],
    libraries=[*_FOUND.values(), "pthread"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
)
