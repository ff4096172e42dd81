"""Notices that invalidate the kernel's copies of the tree before a change is acknowledged.

The kernel takes a directory's lock to drop one of its names, and holds that lock while it looks up
another name there. A notice from the event loop would therefore wait for the event loop. So notices
have a thread of their own, and only a write(2) that changed something waits for it.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final, TypeAlias

import pyfuse3
import trio

log: Final = logging.getLogger(__name__)

Notice: TypeAlias = Callable[[], None]
"""Sends the kernel a notice. Raises OSError if the kernel has no copy, or the mount is gone."""

PATIENCE: Final = 5.0
"""Seconds that a notice may take. A program that reads a directory into memory that blocks can hold
its lock for any time, and must not delay all others.
"""

_LEAVE_SECONDS: Final = 1.0
_UNKNOWN: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY})
_GONE: Final = frozenset({errno.ENOTCONN, errno.ENODEV, errno.EBADF, errno.ENOSYS})


class Notices:
    """Notices to the kernel, in the order in which they were given.

    All methods are for the event loop's thread.
    """

    def __init__(
        self,
        drop_name: Callable[[int, bytes], None] | None = None,
        drop_attributes: Callable[[int], None] | None = None,
    ) -> None:
        """The arguments, which tests replace, send notices; the defaults are pyfuse3's."""
        self._drop_name = drop_name or _drop_name
        self._drop_attributes = drop_attributes or _drop_attributes
        self._queue: SimpleQueue[Notice | None] = SimpleQueue()
        self._is_delivering = False
        self._given = 0
        self._delivered = 0

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Deliver notices inside the context; outside of it there is no mount."""
        thread = threading.Thread(target=self._deliver, name="fuse-notices", daemon=True)
        thread.start()
        self._is_delivering = True
        try:
            yield
        finally:
            self._is_delivering = False
            self._queue.put(None)
            thread.join(_LEAVE_SECONDS)

    def name_changed(self, directory: int, name: bytes) -> None:
        """Invalidate *name* in *directory* (an inode number), present or absent."""
        self._give(lambda: self._drop_name(directory, name))

    def attributes_changed(self, inode: int) -> None:
        """Invalidate the answer of stat(2) for *inode*."""
        self._give(lambda: self._drop_attributes(inode))

    def _give(self, notice: Notice) -> None:
        if self._is_delivering:
            self._given += 1
            self._queue.put(notice)

    async def arrived(self) -> None:
        """Wait until the kernel has taken all notices so far."""
        due = self._given
        if self._delivered >= due or not self._is_delivering:
            return
        taken, token = trio.Event(), trio.lowlevel.current_trio_token()
        self._give(lambda: token.run_sync_soon(taken.set))
        with trio.move_on_after(PATIENCE) as scope:
            await taken.wait()
        if scope.cancelled_caught:
            log.warning("the kernel keeps a directory locked: it may show old names for now")

    def _deliver(self) -> None:
        while (notice := self._queue.get()) is not None:
            try:
                notice()
            except OSError as error:
                if error.errno not in _UNKNOWN | _GONE:
                    log.error("the kernel refused the notice of a change: %s", error)
            except trio.RunFinishedError:
                pass
            self._delivered += 1


def _drop_name(directory: int, name: bytes) -> None:
    pyfuse3.invalidate_entry(pyfuse3.InodeT(directory), pyfuse3.FileNameT(name))


def _drop_attributes(inode: int) -> None:
    pyfuse3.invalidate_inode(pyfuse3.InodeT(inode), attr_only=True)
