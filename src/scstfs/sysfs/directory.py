"""Directory types: the entries of an object's directory, computed from the object on demand.

Nothing is materialised: a directory *is* its type applied to the object. Names come from the
objects as they are; a '/' in them shows as '!', as kobject_set_name() does it.

Code that keeps copies of a directory's entries learns from `DirType.changes` what to observe. Each
row whose names may change declares its source: usually the `ObservableDict` of the children.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from scstfs.observable import Observable
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.entry import (
    C,
    Change,
    Entry,
    Found,
    T_contra,
    always,
    find_child,
    follow,
    itself,
    shown,
)
from scstfs.sysfs.text import is_entry_name, kobject_name

T = TypeVar("T")

DIRECTORY_MODE: Final = 0o755
LINK_MODE: Final = 0o777

EXTENDED: Final = "user.scst."
"""What the names of all extended attributes begin with."""

LinkTarget = str | tuple[str, ...]
"""The target of a link: the path from the tree's root, as components or joined by '/'.

Components may be raw names. A path may leave the tree with leading '..'; text that starts with '/'
is the link's text as it stands.
"""


@dataclass(frozen=True, slots=True, eq=False)
class DirType(Generic[T]):
    """A kind of directory, shown for objects of type T.

    Fixed names (attributes, subdirectories, links) win over those computed from the object. Two
    fixed rows with one name are a ValueError when the type is declared.
    """

    name: str
    entries: tuple[Entry[T], ...]
    extended: Mapping[str, Callable[[T], str]] = field(default_factory=dict, repr=False)
    """Texts that are no files, by the names of extended attributes (`EXTENDED` in front)."""
    _fixed: Mapping[str, Attr[T, Any] | Sub[T, Any] | Link[T]] = field(init=False, repr=False)
    _computed: tuple[Entry[T], ...] = field(init=False, repr=False)
    _nested: tuple[Entry[T], ...] = field(init=False, repr=False)
    _lasting: frozenset[str] = field(init=False, repr=False)
    is_volatile: bool = field(init=False, repr=False)
    """Return whether some of its rows are volatile."""

    def __post_init__(self) -> None:
        """Index the rows."""
        fixed: dict[str, Attr[T, Any] | Sub[T, Any] | Link[T]] = {}
        computed: list[Entry[T]] = []
        for entry in self.entries:
            if not isinstance(entry, (Attr, Sub, Link)):
                computed.append(entry)
            elif not is_entry_name(entry.name) or entry.name in fixed:
                raise ValueError(f"directory {self.name!r}: name {entry.name!r} wrong or twice")
            else:
                fixed[entry.name] = entry
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_computed", tuple(computed))
        rows = (row for row in fixed.values() if not isinstance(row, Link))
        lasting = frozenset(row.name for row in rows if row.visible is always)
        object.__setattr__(self, "_lasting", lasting)
        nested = (entry for entry in self.entries if entry.has_directories)
        object.__setattr__(self, "_nested", tuple(nested))
        object.__setattr__(self, "is_volatile", any(entry.is_volatile for entry in self.entries))

    def find(self, obj: T, name: str) -> Found | None:
        """What *name* stands for in the directory of *obj*, or None."""
        fixed = self._fixed.get(name)
        if fixed is not None:
            found = fixed.find(obj, name)
            if found is not None:
                return found
        for entry in self._computed:
            found = entry.find(obj, name)
            if found is not None:
                return found
        return None

    def names(self, obj: T) -> list[str]:
        """All names in the directory of *obj*, each once: the fixed ones, then the computed."""
        unique: dict[str, None] = {}
        for entries in (self._fixed.values(), self._computed):
            for entry in entries:
                unique.update(dict.fromkeys(entry.names(obj)))
        return list(unique)

    def lasts(self, name: str) -> bool:
        """Return whether an entry called *name* exists as long as the directory."""
        return name in self._lasting

    def is_fixed(self, name: str) -> bool:
        """Return whether a fixed row has this name, so that no volatile one can."""
        return name in self._fixed

    def fixed_names(self) -> Iterable[str]:
        """The names of all rows with one fixed name."""
        return self._fixed.keys()

    def changes(self, obj: T) -> Iterator[Change]:
        """What notifies that names in the directory of *obj* were added, removed or replaced."""
        for entry in self.entries:
            yield from entry.changes(obj)

    def directories(self, obj: T) -> int:
        """The number of names that are directories."""
        return sum(entry.directories(obj) for entry in self._nested)

    @property
    def has_directories(self) -> bool:
        """Return whether some of the names may be directories."""
        return bool(self._nested)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sub(Entry[T_contra], Generic[T_contra, C]):
    """A fixed subdirectory, of another object (`of`) or another view of this one.

    If `of` returns None for an object, it never has the subdirectory. One that may be added and
    removed has `visible`; `follows` notifies of changes. `about` describes it, for documentation.
    """

    name: str
    dirtype: DirType[C]
    of: Callable[[T_contra], C | None]
    visible: Callable[[T_contra], bool] = always
    follows: Callable[[T_contra], Observable] | None = None
    about: str = ""

    @property
    def has_directories(self) -> bool:
        """The one."""
        return True

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """When it comes or goes."""
        return follow(self.follows, obj, self.name)

    def names(self, obj: T_contra) -> Iterable[str]:
        """The one name, if it is visible."""
        return () if self.find(obj, self.name) is None else (self.name,)

    def find(self, obj: T_contra, name: str) -> Found | None:
        """The directory type of the subdirectory, and its object."""
        if name != self.name or not self.visible(obj):
            return None
        child = self.of(obj)
        return None if child is None else Found(self.dirtype, child)

    def directories(self, obj: T_contra) -> int:
        """1 or 0."""
        return 0 if self.find(obj, self.name) is None else 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed(Entry[T_contra]):
    """A row with a name per child of the object.

    Attributes:
        children: the names. Usually the `ObservableDict` that the row uses.
        follows: notifies of changes, if `children` does not return an observable. Children that are
            not observable never change.
        named: the name of the child for a key that `follows` reports.
        label: a placeholder for the name, for documentation.
        about: what the children are, for documentation.
    """

    children: Callable[[T_contra], Iterable[str]]
    follows: Callable[[T_contra], Observable] | None = None
    named: Callable[[Any], str] = itself
    label: str = "NAME"
    about: str = ""

    def names(self, obj: T_contra) -> Iterable[str]:
        """The children's names."""
        return shown(self.children(obj))

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """What notifies that children were added or removed."""
        source = self.children(obj) if self.follows is None else self.follows(obj)
        if not isinstance(source, Observable):
            return ()
        return (Change(source, lambda key: shown((self.named(key),))),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Each(Computed[T_contra], Generic[T_contra, C]):
    """A directory per child; `get` finds one (and must be O(1)).

    A child must be the same object at each call, because that identifies an open directory;
    strings, numbers and tuples are compared by value.
    """

    get: Callable[[T_contra, str], C | None]
    dirtype: DirType[C]
    volatile: bool = False
    """Names change without a write(2) to the tree: sessions."""

    @property
    def has_directories(self) -> bool:
        """True: all children are directories."""
        return True

    @property
    def is_volatile(self) -> bool:
        """Whether it was declared volatile."""
        return self.volatile

    def find(self, obj: T_contra, name: str) -> Found | None:
        """The child shown as *name*."""
        found = find_child(name, partial(self.get, obj), partial(self.children, obj))
        return None if found is None else Found(self.dirtype, found[1])

    def directories(self, obj: T_contra) -> int:
        """The number of children; quick if they are sized."""
        children = self.children(obj)
        return len(children) if isinstance(children, Sized) else sum(1 for _ in children)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EachAttr(Computed[T_contra], Generic[T_contra, C]):
    """A file per child, all of one row: IncomingUser, IncomingUser1, ... or initiators/NAME."""

    get: Callable[[T_contra, str], C | None]
    attr: Attr[C, Any]

    def find(self, obj: T_contra, name: str) -> Found | None:
        """The row, applied to the child shown as *name*."""
        found = find_child(name, partial(self.get, obj), partial(self.children, obj))
        return None if found is None else Found(self.attr, found[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Link(Entry[T_contra]):
    """A symbolic link with a fixed name; without a target there is no link. `about` says where it
    leads.

    `follows` notifies that a target may exist or not exist now; None if that never changes.
    """

    name: str
    target: Callable[[T_contra], LinkTarget | None]
    visible: Callable[[T_contra], bool] = always
    follows: Callable[[T_contra], Observable] | None = None
    about: str = ""

    def names(self, obj: T_contra) -> Iterable[str]:
        """The one name, if the link has a target."""
        return () if self.find(obj, self.name) is None else (self.name,)

    def find(self, obj: T_contra, name: str) -> Found | None:
        """This link of *obj*."""
        if name != self.name or not self.visible(obj) or self.target(obj) is None:
            return None
        return Found(self, obj)

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """What notifies that it was added or removed; the target is computed each time."""
        return follow(self.follows, obj, self.name)

    def target_of(self, obj: T_contra) -> LinkTarget | None:
        """The present target of the link."""
        return self.target(obj)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EachLink(Computed[T_contra]):
    """A symbolic link per name that `children` lists. `about` says where they lead."""

    target: Callable[[T_contra, str], LinkTarget | None]

    def find(self, obj: T_contra, name: str) -> Found | None:
        """This row, applied to the owner of the link and the link's name."""
        found = find_child(name, partial(self.target, obj), partial(self.children, obj))
        return None if found is None else Found(self, (obj, found[0]))

    def target_of(self, owner_and_name: tuple[T_contra, str]) -> LinkTarget | None:
        """The present target of the link."""
        owner, name = owner_and_name
        return self.target(owner, name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Include(Entry[T_contra], Generic[T_contra]):
    """The entries of another type in the same directory, chosen by the object.

    A device's directory stays the same directory when its handler changes, while the handler's
    attributes in it change. `among` are all types that can be chosen; `follows` notifies that the
    choice may have changed, None if that never happens.
    """

    choose: Callable[[T_contra], DirType[Any] | None]
    among: tuple[DirType[Any], ...]
    follows: Callable[[T_contra], Observable] | None = None

    @property
    def has_directories(self) -> bool:
        """Whether a type that can be chosen has directories."""
        return any(chosen.has_directories for chosen in self.among)

    @property
    def is_volatile(self) -> bool:
        """Whether a type that can be chosen is volatile."""
        return any(chosen.is_volatile for chosen in self.among)

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """What notifies that another type is chosen, or names of the chosen one change."""
        if self.follows is not None:
            names = frozenset(name for chosen in self.among for name in chosen.fixed_names())
            yield Change(self.follows(obj), lambda _key: names)
        chosen = self.choose(obj)
        if chosen is not None:
            yield from chosen.changes(obj)

    def names(self, obj: T_contra) -> Iterable[str]:
        """The names of the chosen type."""
        chosen = self.choose(obj)
        return () if chosen is None else chosen.names(obj)

    def find(self, obj: T_contra, name: str) -> Found | None:
        """The entry of the chosen type."""
        chosen = self.choose(obj)
        return None if chosen is None else chosen.find(obj, name)

    def directories(self, obj: T_contra) -> int:
        """The directories of the chosen type."""
        chosen = self.choose(obj)
        return 0 if chosen is None else chosen.directories(obj)


def link_text(directory: tuple[str, ...], target: LinkTarget) -> str:
    """The text of a link in *directory* (components from the root).

    As kernfs writes it: up to the nearest directory that holds both the link and the target's
    *own directory*, then down; so a link to an ancestor still names it.
    """
    if isinstance(target, str):
        if target.startswith("/"):
            return target
        target = tuple(part for part in target.split("/") if part)
    parts = tuple(kobject_name(part) for part in target)
    common = 0
    for here, there in zip(directory, parts[:-1], strict=False):
        if here != there:
            break
        common += 1
    return "/".join((*[".."] * (len(directory) - common), *parts[common:]))


def declared(dirtype: DirType[Any], path: str = "") -> Iterator[tuple[str, Entry[Any]]]:
    """Every row of *dirtype* and below, with the path it has ("devices/NAME/type").

    For documentation and for tests that look at the tables rather than at objects.
    """
    for entry in dirtype.entries:
        match entry:
            case Include():
                for chosen in entry.among:
                    yield from declared(chosen, path)
            case Attr() | Link():
                yield path + entry.name, entry
            case EachAttr():
                yield path + entry.label, entry
            case EachLink():
                yield path + entry.label, entry
            case Sub():
                yield path + entry.name, entry
                yield from declared(entry.dirtype, f"{path}{entry.name}/")
            case Each():
                yield path + entry.label, entry
                yield from declared(entry.dirtype, f"{path}{entry.label}/")
