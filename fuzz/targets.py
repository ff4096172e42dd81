"""The targets by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

TARGETS: Final = ("engine", "fast", "isns", "login", "text", "tree")
"""Each is a module beside this one, with a function ``run``."""


def load(target: str) -> Callable[[bytes], None]:
    """The function of a target; its module is imported now, to be instrumented."""
    run: Callable[[bytes], None] = import_module(f"fuzz.{target}").run
    return run
