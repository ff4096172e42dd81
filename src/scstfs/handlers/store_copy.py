"""Copying between backing stores: by the kernel where it can, holes as holes.

``copy_file_range`` lets file systems share blocks instead of copying them, and spares the detour
through this process where they do not.  It is for regular files and distinct ranges; everything
else is read and written.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scstfs.aio import apart
from scstfs.core.blocks import Blocks, SourceError
from scstfs.handlers import aligned, store_steps
from scstfs.handlers.store import FileStore, Store, StoreExtent

#: Bytes that one step of a copy moves through memory.
STEP: Final = aligned.MOST


@dataclass(frozen=True, slots=True)
class StoreBlocks:
    """A device's store as a copy sees it (``scstfs.core.blocks.Blocks``).

    Holes stay holes where the device is ``thin``; ``durable`` is what it is to its initiators.
    """

    store: Store
    thin: bool
    durable: bool

    def copy_from(self, source: Blocks, source_offset: int, offset: int, length: int) -> None:
        """See Blocks."""
        assert isinstance(source, StoreBlocks)
        distance = offset - source_offset
        if abs(distance) < length and self.shares_medium(source):
            _move(source.store, source_offset, self.store, distance, length)
            return
        for extent in _extents(source.store, source_offset, length):
            at, size = extent.start + distance, extent.end - extent.start
            if extent.allocated:
                _copy(source.store, extent.start, self.store, at, size)
            else:
                self.zero(at, size)

    def shares_medium(self, other: Blocks) -> bool:
        """See Blocks."""
        return isinstance(other, StoreBlocks) and _same_medium(self.store, other.store)

    def zero(self, offset: int, length: int) -> None:
        """See Blocks."""
        if self.thin:
            store_steps.run(self.store, self.store.zeroing_by_discard(offset, length))
        else:
            store_steps.run(self.store, self.store.zeroing(offset, length))

    def flush(self) -> None:
        """See Blocks."""
        if self.durable:
            self.store.flush()


def _same_medium(one: Store, other: Store) -> bool:
    if isinstance(one, FileStore) and isinstance(other, FileStore):
        return one.medium == other.medium
    return one is other


def _extents(source: Store, offset: int, length: int) -> Iterator[StoreExtent]:
    try:
        yield from source.extents(offset, length)
    except OSError as error:
        raise SourceError(error) from error


def _copy(source: Store, source_offset: int, target: Store, offset: int, length: int) -> None:
    if isinstance(source, FileStore) and isinstance(target, FileStore):
        done = _copy_in_kernel(source, source_offset, target, offset, length)
        source_offset, offset, length = source_offset + done, offset + done, length - done
    if not length:
        return
    buffer = _buffer(length)
    for start in range(0, length, STEP):
        part = buffer[: min(STEP, length - start)]
        _read(source, source_offset + start, part)
        target.write(offset + start, part)


def _copy_in_kernel(
    source: FileStore, source_offset: int, target: FileStore, offset: int, length: int
) -> int:
    """Copy as much as the kernel can copy; return the number of bytes.

    What it cannot do, and what it fails to do, is left to be done by hand: then it is known
    whether reading or writing failed.
    """
    done = 0
    while done < length:
        try:
            count = apart.copy(
                source.fd, source_offset + done, target.fd, offset + done, length - done
            )
        except OSError:
            break
        if count == 0:
            break
        done += count
    return done


def _move(source: Store, source_offset: int, target: Store, distance: int, length: int) -> None:
    """Copy where source and destination overlap, so that nothing is overwritten unread."""
    starts = range(0, length, STEP)
    buffer = _buffer(length)
    for start in reversed(starts) if distance > 0 else starts:
        part = buffer[: min(STEP, length - start)]
        _read(source, source_offset + start, part)
        target.write(source_offset + distance + start, part)


def _buffer(length: int) -> memoryview:
    """Memory for a step, aligned for direct I/O."""
    return memoryview(mmap.mmap(-1, min(length, STEP)))


def _read(source: Store, offset: int, into: memoryview) -> None:
    try:
        source.read(offset, into)
    except OSError as error:
        raise SourceError(error) from error
