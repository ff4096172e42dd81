"""What pyproject.toml has no words for: the C part of scstfs.aio, compiled by cffi."""

from setuptools import setup

setup(cffi_modules=["src/scstfs/aio/build.py:ffibuilder"])
