"""Nodes: places in a tree of directory types over live objects.

A `Node` is a name in its parent's directory together with the object found when it was looked up.
It stays usable as long as the name still means that object (`alive`): nodes of a deleted object are
dead, and another object of the same name has other nodes.
"""

from __future__ import annotations

import enum
import errno
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from typing import Any, Final, TypeVar, final

from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DIRECTORY_MODE, LINK_MODE, DirType, link_text
from scstfs.sysfs.entry import Change, Found
from scstfs.sysfs.errors import SysfsError, removed
from scstfs.sysfs.refusals import Refusals
from scstfs.sysfs.result import ManagementResult
from scstfs.sysfs.text import PAGE_SIZE, cut_at_nul, kobject_name

T = TypeVar("T")

_VALUES: Final = (str, int, tuple)
"""Children of these types are compared by value, all others by identity."""


class NodeKind(enum.Enum):
    """File types, for stat(2)."""

    DIRECTORY = "directory"
    ATTRIBUTE = "attribute"
    LINK = "link"


FILE_TYPES: Final = {
    NodeKind.DIRECTORY: stat.S_IFDIR,
    NodeKind.ATTRIBUTE: stat.S_IFREG,
    NodeKind.LINK: stat.S_IFLNK,
}
"""File types of inode(7)."""


@final
class Node:
    """One directory, attribute or link. Equal nodes are the same place with the same object."""

    __slots__ = ("_hash", "_lasts", "_what", "kind", "mode", "name", "obj", "parent", "tree")

    def __init__(self, tree: Tree, parent: Node | None, name: str, found: Found) -> None:
        """*name* in *parent* (None for the root) means *found*."""
        self.tree = tree
        self.parent = parent
        self.name = name
        self.obj = found.obj
        self._what = found.what
        self._hash = hash((parent, name))
        #: It exists as long as its directory.
        self._lasts = parent is not None and parent.dirtype.lasts(name)
        if isinstance(found.what, DirType):
            self.kind, self.mode = NodeKind.DIRECTORY, DIRECTORY_MODE
        elif isinstance(found.what, Attr):
            self.kind, self.mode = NodeKind.ATTRIBUTE, found.what.mode
        else:
            self.kind, self.mode = NodeKind.LINK, LINK_MODE

    def __hash__(self) -> int:
        """By place."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Same place, same row, same object."""
        if self is other:
            return True
        return (
            isinstance(other, Node)
            and self._hash == other._hash
            and self.name == other.name
            and self._stands_for(Found(other._what, other.obj))
            and self.parent == other.parent
        )

    def __repr__(self) -> str:
        """``<Node devices/disk1>``."""
        return f"<Node {self.path or '/'}>"

    @property
    def parts(self) -> tuple[str, ...]:
        """The path from the root as components; () for the root."""
        parts = []
        node = self
        while node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return tuple(reversed(parts))

    @property
    def path(self) -> str:
        """The path from the root; "" for the root."""
        return "/".join(self.parts)

    @property
    def attr(self) -> Attr[Any, Any]:
        """The row of an attribute. EISDIR or EINVAL for the other kinds."""
        if isinstance(self._what, Attr):
            return self._what
        is_directory = self.kind is NodeKind.DIRECTORY
        raise SysfsError(errno.EISDIR if is_directory else errno.EINVAL)

    @property
    def dirtype(self) -> DirType[Any]:
        """The type of a directory. ENOTDIR for the other kinds."""
        if isinstance(self._what, DirType):
            return self._what
        raise SysfsError(errno.ENOTDIR)

    def alive(self) -> bool:
        """Whether the path still leads here and to the same object."""
        node, parent = self, self.parent
        while parent is not None and node._lasts:
            node, parent = parent, parent.parent
        if parent is None:
            return True
        return parent.alive() and node._stands_for(parent.dirtype.find(parent.obj, node.name))

    def _stands_for(self, found: Found | None) -> bool:
        if found is None or found.what is not self._what:
            return False
        mine, theirs = self.obj, found.obj
        return mine is theirs or (isinstance(mine, _VALUES) and bool(mine == theirs))

    def extended(self, name: str) -> str | None:
        """The present text of an extended attribute; None if there is none of this name."""
        if self.kind is not NodeKind.DIRECTORY:
            return None
        show = self.dirtype.extended.get(name)
        if show is None:
            return None
        self._require_alive()
        return show(self.obj)

    def lookup(self, name: str) -> Node | None:
        """The node called *name* in this directory; None if there is none (any more)."""
        return self._child(name) if self.alive() else None

    def _child(self, name: str) -> Node | None:
        found = self.dirtype.find(self.obj, name)
        return None if found is None else Node(self.tree, self, name, found)

    def listdir(self) -> list[str]:
        """The names in this directory, in an order that only depends on the objects."""
        dirtype = self.dirtype
        return dirtype.names(self.obj) if self.alive() else []

    @property
    def is_volatile(self) -> bool:
        """Return whether some entries change without a write(2) to the tree."""
        return self.kind is NodeKind.DIRECTORY and self.dirtype.is_volatile

    def may_keep(self, name: str) -> bool:
        """What *name* means here, or that it is absent, may be remembered.

        This holds until one of `changes` notifies.
        """
        dirtype = self.dirtype
        return not dirtype.is_volatile or dirtype.is_fixed(name)

    def changes(self) -> Iterator[Change]:
        """What notifies that names here were added, removed or replaced."""
        return self.dirtype.changes(self.obj)

    def subdirectories(self) -> int:
        """The number of names that are directories."""
        dirtype = self.dirtype
        return dirtype.directories(self.obj) if dirtype.has_directories and self.alive() else 0

    def children(self) -> Iterator[Node]:
        """The nodes in this directory, each looked up when it is reached."""
        for name in self.listdir():
            child = self.lookup(name)
            if child is not None:
                yield child

    def entries(self) -> Iterator[Node]:
        """The nodes in this directory; use them before anything changes."""
        for name in self.listdir():
            child = self._child(name)
            if child is not None:
                yield child

    def readlink(self) -> str:
        """The text of a link; EINVAL for the other kinds, ENOENT if it has no target now."""
        if self.kind is not NodeKind.LINK:
            raise SysfsError(errno.EINVAL)
        target = self._what.target_of(self.obj) if self.alive() else None
        if target is None:
            raise SysfsError(errno.ENOENT)
        return link_text(self.parts[:-1], target)

    def read(self) -> bytes:
        """The text of an attribute, rendered now. ENODEV when its object is gone."""
        attr = self.attr
        self._require_alive()
        return attr.text(self.obj)

    async def write(self, data: bytes) -> int:
        """Execute one write(2) to an attribute; return how many bytes it took.

        At most a page counts as written (kernfs), and the row gets the C string in it. An empty
        write succeeds and does nothing. ENODEV when the object is gone, EIO when the attribute has
        no store; any other errno is from `Attr.parse`, `admit` or `store`, or from `Tree.translate`
        for an exception of `store`.
        """
        try:
            return await self._write(data)
        except SysfsError as refusal:
            self.tree.refusals.note(self.path, refusal)
            raise

    async def _write(self, data: bytes) -> int:
        attr = self.attr
        self._require_alive()
        page = data[:PAGE_SIZE]
        if not page:
            return 0
        store, parse = attr.store, attr.parse
        if store is None or parse is None:
            raise SysfsError(errno.EIO, f"{attr.name} cannot be written")
        value = parse(page if attr.binary else cut_at_nul(page))
        if attr.admit is None or attr.admit(self.obj, value):
            with self.tree.result.recording() if attr.queued else nullcontext():
                await self._store(store, value)
            for observe in self.tree.observers:
                observe(self, page)
            if self.tree.written is not None:
                await self.tree.written(self, page)
        return len(page)

    async def _store(
        self, store: Callable[[Any, Any], Awaitable[None] | None], value: object
    ) -> None:
        try:
            outcome = store(self.obj, value)
            if outcome is not None:
                await outcome
        except Exception as error:
            refusal = self.tree.translate(error)
            if refusal is None:
                raise
            raise refusal from error

    def _require_alive(self) -> None:
        if not self.alive():
            raise removed()


class Tree:
    """A root directory type applied to a root object."""

    __slots__ = ("observers", "refusals", "result", "root", "translate", "written")

    def __init__(
        self,
        dirtype: DirType[T],
        obj: T,
        result: ManagementResult | None = None,
        translate: Callable[[Exception], SysfsError | None] = lambda error: None,
    ) -> None:
        """*result* gets the outcome of queued attributes; a new one by default.

        *translate* maps exceptions of lower layers in `Attr.store` to a SysfsError, or None.
        """
        self.result = ManagementResult() if result is None else result
        self.refusals = Refusals()
        self.observers: list[Callable[[Node, bytes], None]] = []
        """Called for each write that took effect."""
        self.written: Callable[[Node, bytes], Awaitable[None]] | None = None
        """Called after each write that took effect, before it is acknowledged."""
        self.translate = translate
        self.root = Node(self, None, "", Found(dirtype, obj))

    def resolve(self, path: str) -> Node:
        """The node at *path* ("devices/disk1/type"; "" is the root), following no link.

        Raises SysfsError ENOENT, or ENOTDIR if a component is not a directory.
        """
        node = self.root
        for part in filter(None, path.split("/")):
            child = node.lookup(kobject_name(part))
            if child is None:
                raise SysfsError(errno.ENOENT)
            node = child
        return node

    def walk(self) -> Iterator[Node]:
        """Every node, parents before children."""
        todo = [self.root]
        while todo:
            node = todo.pop()
            yield node
            if node.kind is NodeKind.DIRECTORY:
                todo.extend(reversed(list(node.children())))
