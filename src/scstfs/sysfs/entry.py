"""The entries of a directory type: an entry has names and finds their objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from scstfs.observable import Observable
from scstfs.sysfs.text import is_entry_name, kobject_name

T_contra = TypeVar("T_contra", contravariant=True)
"""The object whose directory has an entry."""

C = TypeVar("C")
S = TypeVar("S")


class Found(NamedTuple):
    """The meaning of a name: a row, and the object that it is applied to.

    *what* is an `Attr`, a `DirType`, a `Link` or an `EachLink`.
    """

    what: Any
    obj: Any


class Change(NamedTuple):
    """A source of notifications that names of a directory were added, removed or replaced.

    *names* maps what *source* tells its observers to the names concerned.
    """

    source: Observable
    names: Callable[[Any], Iterable[str]]


class Entry(Generic[T_contra]):
    """One row of a directory type. All methods are cheap and free of side effects."""

    __slots__ = ()

    @property
    def has_directories(self) -> bool:
        """Return whether some of its names may be directories."""
        return False

    @property
    def is_volatile(self) -> bool:
        """Return whether its names change without a write(2) to the tree.

        Then no answer waits for the invalidation of copies, so no copy may be kept.
        """
        return False

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """What notifies that the results of `names` or `find` have changed; empty if they never
        change.
        """
        return ()

    def names(self, obj: T_contra) -> Iterable[str]:
        """The names this row shows in the directory of *obj* now."""
        raise NotImplementedError

    def find(self, obj: T_contra, name: str) -> Found | None:
        """What *name* stands for in the directory of *obj*, or None."""
        raise NotImplementedError

    def directories(self, obj: T_contra) -> int:
        """The number of its names that are directories (a directory's link count is 2 more)."""
        return 0


def always(_obj: object) -> bool:
    """The `visible` of an entry that exists as long as its directory."""
    return True


def follow(
    source: Callable[[T_contra], Observable] | None, obj: T_contra, name: str
) -> Iterable[Change]:
    """The `changes` of a row with one fixed *name* whose existence changes as *source* notifies."""
    return () if source is None else (Change(source(obj), lambda _key: (name,)),)


def itself(obj: S) -> S:
    """The `of` of a subdirectory that is another view of the same object."""
    return obj


def shown(raw_names: Iterable[str]) -> Iterable[str]:
    """*raw_names* as directory entries, without those that no directory can have."""
    return filter(is_entry_name, map(kobject_name, raw_names))


def find_child(
    name: str, get: Callable[[str], C | None], children: Callable[[], Iterable[str]]
) -> tuple[str, C] | None:
    """The child shown as *name*, with its raw name.

    Nearly always *name* is the raw name. Only a '!' in it may stand for a '/', and only then are
    all *children* compared.
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
