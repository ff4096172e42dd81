"""What a directory type is made of: an entry contributes names and finds what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from scstfs.observable import Observable
from scstfs.sysfs.text import is_entry_name, kobject_name

T_contra = TypeVar("T_contra", contravariant=True)
"""The object whose directory an entry stands in."""

C = TypeVar("C")
S = TypeVar("S")


class Found(NamedTuple):
    """What a name stands for: a description, and the object it is applied to.

    *what* is an `Attr`, a `DirType`, a `Link` or an `EachLink`.
    """

    what: Any
    obj: Any


class Change(NamedTuple):
    """Tells when names of a directory come, go, or stand for something else.

    *names* gives those concerned by what *source* tells its observers.
    """

    source: Observable
    names: Callable[[Any], Iterable[str]]


class Entry(Generic[T_contra]):
    """One row of a directory type. All methods are cheap and free of side effects."""

    __slots__ = ()

    @property
    def has_directories(self) -> bool:
        """Some of its names may be directories."""
        return False

    @property
    def is_volatile(self) -> bool:
        """Its names come and go without a write(2) to the tree.

        No answer waits until copies have been called back then, so no copy may be kept.
        """
        return False

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """What tells when `names` or `find` answer differently; nothing where they never do."""
        return ()

    def names(self, obj: T_contra) -> Iterable[str]:
        """The names this row shows in the directory of *obj* now."""
        raise NotImplementedError

    def find(self, obj: T_contra, name: str) -> Found | None:
        """What *name* stands for in the directory of *obj*, or None."""
        raise NotImplementedError

    def directories(self, obj: T_contra) -> int:
        """How many of its names are directories (a directory's link count is 2 more)."""
        return 0


def always(_obj: object) -> bool:
    """The `visible` of an entry that is there as long as its directory is."""
    return True


def follow(
    source: Callable[[T_contra], Observable] | None, obj: T_contra, name: str
) -> Iterable[Change]:
    """The `changes` of a row with one fixed *name* that is there or not as *source* tells."""
    return () if source is None else (Change(source(obj), lambda _key: (name,)),)


def itself(obj: S) -> S:
    """The `of` of a subdirectory that is another view of the same object."""
    return obj


def shown(raw_names: Iterable[str]) -> Iterable[str]:
    """*raw_names* as directory entries, without those no directory can hold."""
    return filter(is_entry_name, map(kobject_name, raw_names))


def find_child(
    name: str, get: Callable[[str], C | None], children: Callable[[], Iterable[str]]
) -> tuple[str, C] | None:
    """The child shown as *name*, with its raw name.

    Nearly always *name* is the raw name. Only one with a '!' may have been a '/', and only then
    are the *children* gone through.
    """
    child = get(name)
    if child is not None:
        return name, child
    if "!" in name:
        for raw in children():
            child = get(raw) if kobject_name(raw) == name else None
            if child is not None:
                return raw, child
    return None
