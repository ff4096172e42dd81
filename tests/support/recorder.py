"""A recorder of reads of the product's objects that are not declared (``core.gated``)."""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import MemberDescriptorType
from typing import Any
from unittest import mock

from scstfs.core.gated import Gated, GatedDict


def _is_immutable(cls: type) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    return (
        issubclass(cls, tuple | enum.Enum | BaseException)
        or (dataclasses.is_dataclass(cls) and bool(parameters and parameters.frozen))
        or getattr(cls, "_is_protocol", False)
    )


def _classes() -> list[type]:
    """The product's classes whose objects change."""
    found: dict[type, None] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("scstfs."):
            found |= {
                value: None
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__ == name
            }
    return [cls for cls in found if not _is_immutable(cls) and not issubclass(cls, property)]


@cache
def _finals(cls: type) -> dict[str, str]:
    """The attributes that the class declares as Final; mypy keeps them from changing.

    A Mapping is not changed through the attribute either.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    return {
        ast.unparse(node.target).removeprefix("self."): ast.unparse(node.annotation)
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and "Final" in ast.unparse(node.annotation)
    }


class Recorder:
    """Records reads of attributes that are neither Gated nor Final, as CLASS.ATTRIBUTE."""

    def __init__(self) -> None:
        self.undeclared: set[str] = set()
        #: All reads of objects, declared or not.
        self.read: set[str] = set()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record reads inside the context."""
        with ExitStack() as stack:
            for cls in _classes():
                stack.enter_context(
                    mock.patch.object(cls, "__getattribute__", self._hook(cls), create=True)
                )
            yield

    def _hook(self, cls: type) -> Callable[[object, str], object]:
        original: Any = cls.__getattribute__

        def get(obj: object, name: str) -> object:
            value: object = original(obj, name)
            if not name.startswith(("__", "_gated_")):
                self._note(obj, name, value)
            return value

        return get

    def _note(self, obj: object, name: str, value: object) -> None:
        found, declared = inspect.getattr_static(type(obj), name, None), ""
        if isinstance(found, Gated):
            declared = "Gated"
        elif found is not None and not isinstance(found, MemberDescriptorType):
            # A method, a property, a constant of the class.
            return
        else:
            for cls in type(obj).__mro__:
                declared = declared or _finals(cls).get(name, "")
        label = f"{type(obj).__name__}.{name}"
        self.read.add(label)
        if isinstance(value, dict):
            is_closed = isinstance(value, GatedDict) or "Mapping" in declared
        else:
            is_closed = not isinstance(value, list | set | bytearray)
        if not (declared and is_closed):
            self.undeclared.add(label)
