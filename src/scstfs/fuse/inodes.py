"""Inode numbers: which node each number that the kernel knows stands for, and for how long.

The kernel counts how often it was told a number (LOOKUP, READDIRPLUS) and gives the counts back
with FORGET. A number means the same node until then and is never given to another.

The kernel forgets when memory is short, and otherwise only what it finds gone when it looks again.
A directory that a monitoring program saw once, of a session long over, would stay in its cache and
keep the session's object alive here. So for each new inode two old ones are examined, in turn
(`examine_some`), and the kernel is to be told to drop the dead among them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from scstfs.sysfs.node import Node

ROOT_NUMBER: Final = 1
"""FUSE_ROOT_ID."""

_EXAMINED_PER_NEW: Final = 2
"""More than one, or the examination would never come round in a growing table."""


@dataclass(slots=True, eq=False)
class Inode:
    """A node the kernel has a number for, with what chmod, chown and utime made of it.

    Attributes:
        number: st_ino.
        node: what the number stands for; may be dead while a process still holds it open.
        lookups: how often the kernel was told the number and has not forgotten it.
        mode: permission bits.
        changed: mode, owner or times are no longer the defaults, so the kernel's forgetting must
            not lose them.
    """

    number: int
    node: Node
    mode: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    uid: int = 0
    gid: int = 0
    lookups: int = 0
    changed: bool = False


class InodeStatistics(NamedTuple):
    """What the table holds. After all is forgotten: 1 inode (the root), 0 lookups, 0 changed."""

    inodes: int
    lookups: int
    changed: int


class InodeTable:
    """All numbers in use."""

    def __init__(self, root: Node, time_ns: int) -> None:
        """*root* is number 1 for ever; *time_ns* is what stat(2) gives for every new inode."""
        self._time_ns = time_ns
        self._next_number = ROOT_NUMBER
        self._by_number: dict[int, Inode] = {}
        self._by_node: dict[Node, Inode] = {}
        self._to_examine: deque[int] = deque()
        self.root = self.intern(root)
        self._examined_for = self._next_number

    def get(self, number: int) -> Inode | None:
        """The inode called *number*."""
        return self._by_number.get(number)

    def intern(self, node: Node) -> Inode:
        """The inode of *node*, made if there is none.

        A new one has no lookups: whoever does not count one must `release` it.
        """
        inode = self._by_node.get(node)
        if inode is None:
            time = self._time_ns
            inode = Inode(self._next_number, node, node.mode, time, time, time)
            self._next_number += 1
            self._by_number[inode.number] = inode
            self._by_node[node] = inode
            self._to_examine.append(inode.number)
        return inode

    def release(self, inode: Inode) -> None:
        """Drop *inode* if neither the kernel nor a chmod needs it."""
        if inode.lookups > 0 or inode is self.root:
            return
        if inode.changed and inode.node.alive():
            return
        self._by_number.pop(inode.number, None)
        self._by_node.pop(inode.node, None)

    def forget(self, number: int, lookups: int) -> None:
        """The kernel gives *lookups* lookups of *number* back. Unknown numbers are ignored."""
        inode = self._by_number.get(number)
        if inode is not None:
            inode.lookups = max(inode.lookups - lookups, 0)
            self.release(inode)

    def examine_some(self) -> list[tuple[int, str]]:
        """Look at the inodes that were not looked at for longest: two for each new one.

        Returns entries the kernel should drop: the directory's number and the name in it. Only the
        topmost of what is gone together: what is below a dropped directory goes with it.
        """
        dead = []
        due = _EXAMINED_PER_NEW * (self._next_number - self._examined_for)
        self._examined_for = self._next_number
        for _ in range(min(due, len(self._to_examine))):
            inode = self._by_number.get(self._to_examine.popleft())
            if inode is None:
                continue
            alive = inode.node.alive()
            self._to_examine.append(inode.number)
            if alive:
                continue
            self.release(inode)
            parent = None if inode.node.parent is None else self._by_node.get(inode.node.parent)
            if inode.lookups and parent is not None and parent.node.alive():
                dead.append((parent.number, inode.node.name))
        return dead

    def statistics(self) -> InodeStatistics:
        """Counts, for tests and for the curious."""
        inodes = self._by_number.values()
        return InodeStatistics(
            inodes=len(inodes),
            lookups=sum(inode.lookups for inode in inodes),
            changed=sum(inode.changed for inode in inodes),
        )
