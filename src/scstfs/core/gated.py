"""Inputs of gate decisions, and how a change of one invalidates decisions.

Whether READ and WRITE of a nexus may pass the gates is decided in advance (``core.quick``).  All
that such a decision looks at is declared: it is a ``Gated`` attribute, a ``GatedDict``, or it is
``Final``.  A change of any of it begins a new *epoch*, and a decision made in an earlier one is not
valid any more. Code that changes an input need not know which decisions used it.

There is one epoch for the whole process.  A decision takes microseconds, and gates change rarely as
commands go; an epoch of each device and nexus would have to be told of changes in what they share
(target groups, trace levels, LUN sets), which is easily forgotten.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, overload

from scstfs.observable import ObservableDict

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class Epoch:
    """The present epoch: an object that stands for nothing else and never comes back.

    A number would do if only the event loop made changes, but devices are prepared in threads.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = object()

    def advance(self) -> None:
        """Begin a new epoch: an input has changed."""
        self.now = object()


EPOCH: Final = Epoch()

#: Stands for "has never been set".
_NOTHING: Final = object()
#: What the attribute is called where it is kept.
_PREFIX: Final = "_gated_"


class Gated(property, Generic[T]):
    """An attribute that gates look at: setting it to another object begins an epoch.

    The object itself must not change, unless its own attributes are gated::

        class Session:
            reinstating: Gated[bool] = Gated(False)

    ``default`` is what it is before it has been set.  Reading costs a call of C code; what is read
    for every command should be part of the decision instead.
    """

    def __init__(self, default: T | Any = _NOTHING) -> None:
        super().__init__()
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        kept = _PREFIX + name
        if self._default is not _NOTHING:
            setattr(owner, kept, self._default)

        def put(obj: object, value: object) -> None:
            if getattr(obj, kept, _NOTHING) is not value:
                setattr(obj, kept, value)
                EPOCH.advance()

        super().__init__(attrgetter(kept), put)

    if TYPE_CHECKING:

        @overload
        def __get__(self, obj: None, owner: type) -> Self: ...

        @overload
        def __get__(self, obj: object, owner: type | None = None) -> T: ...

        def __get__(self, obj: object | None, owner: type | None = None) -> Self | T: ...

        def __set__(self, obj: object, value: T) -> None: ...


class GatedDict(ObservableDict[K, V]):
    """A dict that gates look at: each change of its items begins an epoch."""

    def changed(self, key: Any = None) -> None:
        """Begin an epoch, and tell all observers."""
        EPOCH.advance()
        super().changed(key)
