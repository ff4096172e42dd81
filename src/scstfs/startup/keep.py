"""Records the configuration while the target runs.

Each command that changed it is in the file before its write(2) returns, and on the disk soon after:
a killed target loses nothing, and a power failure only the last moment. Commands that arrive while
others are being written are written together. When there are many more commands than the
configuration needs, the file is rewritten from the tree, in small steps, so that initiators do not
wait for that.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from scstfs.admin import tree as trees
from scstfs.admin.attributes import MGMT
from scstfs.admin.configuration import Item
from scstfs.admin.kinds import ENABLED
from scstfs.persist.running import RunningFile, TreeWrite, synchronise
from scstfs.startup.load import commands
from scstfs.startup.nodes import NodeFiles
from scstfs.sysfs.node import Node, Tree
from scstfs.sysfs.text import PAGE_SIZE, decode

log: Final = logging.getLogger(__name__)

SYNCHRONISED_SECONDS: Final = 0.2
"""Seconds to wait before a command is synchronised, because others may follow."""

_STOP_SECONDS: Final = 1.0
"""Seconds that the clean end may take to be recorded."""

_FEW: Final = 1000
"""Commands more than needed that the file may have."""


class Keeper:
    """Records what is written to a tree (`Tree.written`)."""

    def __init__(self, tree: Tree, bare: Item, file: RunningFile) -> None:
        """*bare* is the tree without any configuration."""
        self._tree = tree
        self._bare = bare
        self._file = file
        self._waiting: list[TreeWrite] = []
        self._count = 0
        """Commands given to `written` so far."""
        self._written = 0
        """How many of them are in the file."""
        self._kept = 0
        """Commands in the file."""
        self._needed = 0
        """How many were in it when it was last rewritten."""
        self._lock = trio.Lock()
        self._appended = trio.Event()
        self._stale = False
        """A command cannot be repeated as it was: the file must be rewritten."""
        self._failed = False

    async def start(self, made: list[TreeWrite], *, resumed: bool = False) -> None:
        """Begin with the commands that produce the present tree.

        If they were *resumed* the file has them already: a full disk does not matter until
        something changes. Raises OSError.
        """
        try:
            await self._replace(made)
        except OSError as error:
            if not resumed:
                raise
            await _in_thread(self._file.restart)
            self._stale = True
            self._complain(error)
        self._tree.written = self.written

    async def run(self) -> None:
        """Synchronise the file to the disk, until cancelled."""
        while True:
            await self._appended.wait()
            await trio.sleep(SYNCHRONISED_SECONDS)
            self._appended = trio.Event()
            async with self._lock:
                fd = self._file.duplicate()
            if fd is None:
                continue
            try:
                await _in_thread(partial(synchronise, fd))
            except OSError as error:
                self._stale = True
                self._complain(error)

    async def stop(self) -> None:
        """Record a clean end."""
        self._tree.written = None
        why: object = "the disk does not answer"
        with trio.move_on_after(_STOP_SECONDS):
            async with self._lock:
                try:
                    await _in_thread(self._file.stop)
                except OSError as error:
                    why = error
                else:
                    return
        log.error("cannot record the clean end for the next start: %s", why)

    async def written(self, node: Node, data: bytes) -> None:
        """A command was executed; returns when it is kept."""
        if not _configures(node):
            return
        if node.attr.numbered:
            # The number may differ when the object is made again.
            self._stale = True
        self._waiting.append((node.path, decode(data[:PAGE_SIZE])))
        self._count += 1
        number = self._count
        async with self._lock:
            if self._written < number:
                await self._write_down()

    async def _write_down(self) -> None:
        """Write all waiting commands to the file."""
        if self._stale or self._kept - self._needed > _FEW + self._needed:
            await self._make_anew()
            return
        count, batch = self._count, self._waiting
        self._waiting = []
        try:
            await _in_thread(partial(self._file.append, batch))
        except OSError as error:
            self._waiting = [*batch, *self._waiting]
            self._complain(error)
            return
        self._failed = False
        self._kept += len(batch)
        self._written = count
        self._appended.set()

    async def _make_anew(self) -> None:
        found = None
        while found is None:
            count = self._count
            try:
                found = await self._look()
            except OSError as error:
                if count == self._count:
                    # Nothing changed meanwhile, so it would fail again; the next command tries.
                    self._complain(error)
                    return
            if count != self._count:
                found = None
        made = commands(self._bare, found)
        self._waiting, self._stale = [], False
        try:
            await self._replace(made)
        except OSError as error:
            self._stale = True
            self._complain(error)
            return
        self._failed = False
        self._written = count

    async def _look(self) -> Item | None:
        """The present configuration. Raises OSError if something cannot be read or has gone."""
        walk = trees.gradually(NodeFiles(self._tree))
        while (found := next(walk)) is None:
            await trio.lowlevel.checkpoint()
        return found

    async def _replace(self, made: list[TreeWrite]) -> None:
        await _in_thread(partial(self._file.replace, made))
        self._kept = self._needed = len(made)

    def _complain(self, error: OSError) -> None:
        """The change stays in effect; it would be lost only by a restart."""
        if not self._failed:
            why = error.strerror or os.strerror(error.errno or errno.EIO)
            log.error("changes of the configuration cannot be kept for the next start: %s", why)
        self._failed = True


async def _in_thread(work: Callable[[], None]) -> None:
    """Have a disk do something; nothing waits for one that hangs when everything ends."""
    await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _configures(node: Node) -> bool:
    """Return whether a write to an attribute sets or makes a part of the configuration."""
    attr = node.attr
    return attr.name in (MGMT, ENABLED) or attr.key is not None
