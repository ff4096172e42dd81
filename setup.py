"""What pyproject.toml has no words for: the C part of scstfs.aio, compiled by cffi."""

import shlex
import subprocess
import sys
import sysconfig

from setuptools import setup

#: What the C part includes, and the Debian package that has it.
HEADERS = (("Python.h", "python3-dev"),)


def check_headers() -> None:
    """Say in one line what is missing, which the compiler would need a page for."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    preprocess = [*compiler, "-E", "-I", sysconfig.get_path("include"), "-x", "c", "-"]
    for header, package in HEADERS:
        try:
            found = subprocess.run(
                preprocess, input=f"#include <{header}>\n".encode(), capture_output=True
            )
        except FileNotFoundError:
            sys.exit(f"scstfs: there is no C compiler ({compiler[0]}): install the package gcc")
        if found.returncode:
            sys.exit(f"scstfs: {header} is missing: install the package {package}")


check_headers()
setup(cffi_modules=["src/scstfs/aio/build.py:ffibuilder"])
