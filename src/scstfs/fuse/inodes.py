"""Inode numbers: the node of each number that the kernel knows, and how long it has it.

The kernel counts how often it got a number (LOOKUP, READDIRPLUS) and returns the counts with
FORGET. Until then a number means the same node, and it is never used for another.

The kernel keeps what it read of a directory until it is told of a change. So every directory with a
number is observed, and the table's owner is told which of its names changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import pyfuse3

from scstfs.observable import Observable, Observer
from scstfs.sysfs.node import Node, NodeKind

ROOT_NUMBER: Final = 1
"""FUSE_ROOT_ID."""

Listing: TypeAlias = list[tuple[bytes, Node]]
"""What is in a directory, "." and ".." included."""


@dataclass(slots=True, eq=False)
class Inode:
    """A node that the kernel has a number for, with the results of chmod, chown and utime.

    Attributes:
        number: st_ino.
        node: what the number stands for; may be dead while a process still holds it open.
        lookups: how often the kernel got the number and has not forgotten it.
        mode: permission bits.
        changed: mode, owner or times are no longer the defaults, so the kernel's forgetting must
            not lose them.
        entry: the cached answer to stat(2); None when it has changed.
        listing: of a directory, likewise.
    """

    number: int
    node: Node
    mode: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    uid: int
    gid: int
    lookups: int = 0
    changed: bool = False
    entry: pyfuse3.EntryAttributes | None = None
    listing: Listing | None = None
    _observed: list[tuple[Observable, Observer]] = field(default_factory=list, repr=False)

    def observe(self, changed: NamesChanged) -> None:
        """Call *changed* when names in this directory change."""
        for source, names in self.node.changes():
            observer = partial(self._note, changed, names)
            source.observe(observer)
            self._observed.append((source, observer))

    def _note(self, changed: NamesChanged, names: Callable[[Any], Iterable[str]], key: Any) -> None:
        self.entry = self.listing = None
        changed(self, names(key))

    def ignore(self) -> None:
        """Stop observing."""
        for source, observer in self._observed:
            source.ignore(observer)
        self._observed.clear()


NamesChanged: TypeAlias = Callable[[Inode, Iterable[str]], None]
"""Names in a directory were added, removed or replaced. Called within the change."""


class InodeStatistics(NamedTuple):
    """The numbers of entries in the table. After all is forgotten: 1 inode (the root), 0 lookups, 0
    changed.
    """

    inodes: int
    lookups: int
    changed: int


class InodeTable:
    """All numbers in use."""

    def __init__(
        self,
        root: Node,
        time_ns: int,
        changed: NamesChanged,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """*root* is number 1 for ever; *time_ns* is what stat(2) gives for every new inode.

        *owner* is the user and the group that the tree belongs to, by default this process's own.
        *changed* is called for every directory that has a number.
        """
        self._time_ns = time_ns
        # Of an ordinary user's own tree that user is the owner, or could not write to it.
        self._owner = owner or (os.geteuid(), os.getegid())
        self._changed = changed
        self._next_number = ROOT_NUMBER
        self._by_number: dict[int, Inode] = {}
        self._by_node: dict[Node, Inode] = {}
        self.root = self.intern(root)

    def get(self, number: int) -> Inode | None:
        """The inode called *number*."""
        return self._by_number.get(number)

    def find(self, node: Node) -> Inode | None:
        """The inode of *node*, if there is one."""
        return self._by_node.get(node)

    def intern(self, node: Node) -> Inode:
        """The inode of *node*, made if there is none.

        A new one has no lookups: a caller that counts none must `release` it.
        """
        inode = self._by_node.get(node)
        if inode is None:
            time = self._time_ns
            inode = Inode(self._next_number, node, node.mode, time, time, time, *self._owner)
            self._next_number += 1
            self._by_number[inode.number] = inode
            self._by_node[node] = inode
            if node.kind is NodeKind.DIRECTORY:
                inode.observe(self._changed)
        return inode

    def release(self, inode: Inode) -> None:
        """Drop *inode* if neither the kernel nor a chmod needs it."""
        if inode.lookups > 0 or inode is self.root:
            return
        if inode.changed and inode.node.alive():
            return
        if self._by_number.pop(inode.number, None) is not None:
            del self._by_node[inode.node]
            inode.ignore()

    def forget(self, number: int, lookups: int) -> None:
        """The kernel returns *lookups* lookups of *number*. Unknown numbers are ignored."""
        inode = self._by_number.get(number)
        if inode is not None:
            inode.lookups = max(inode.lookups - lookups, 0)
            self.release(inode)

    def statistics(self) -> InodeStatistics:
        """Counts, for tests and diagnostics."""
        inodes = self._by_number.values()
        return InodeStatistics(
            inodes=len(inodes),
            lookups=sum(inode.lookups for inode in inodes),
            changed=sum(inode.changed for inode in inodes),
        )
