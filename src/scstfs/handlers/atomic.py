"""Atomic writes: many blocks, all or none of which are written (SBC-4 4.29).

The task set ensures that no other command sees half of one. This module ensures it for power
failures, errors in the middle and the end of the daemon: the blocks' old contents are logged before
they are overwritten, and restored unless the write was completed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from scstfs.persist.undo import UndoEntry
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition

if TYPE_CHECKING:
    from scstfs.handlers.store import FileStore, Store
    from scstfs.persist.undo import UndoLog

log = logging.getLogger(__name__)

#: The largest atomic write (bytes).
MOST_BYTES: Final = 1 << 20


def write(store: Store, undo: UndoLog, offset: int, data: memoryview) -> None:
    """Write ``data`` durably, or leave all blocks as they were. It may block; raises OSError.

    Old and new blocks are mixed only if restoring the old contents fails, too. Raises
    CheckCondition INTERNAL TARGET FAILURE if the log cannot be written.
    """
    old = bytearray(len(data))
    with undo.lock:
        store.read(offset, memoryview(old))
        try:
            undo.enter(store.location, UndoEntry(offset, bytes(old)))
        except OSError as error:
            log.error("cannot write %s: %s", undo.path, error)
            raise CheckCondition(sense.INTERNAL_TARGET_FAILURE) from error
        try:
            store.write(offset, data, durable=True)
        except OSError:
            _put_back(store, offset, old)
            _cross_out(undo)
            raise
        _cross_out(undo)


def _put_back(store: Store, offset: int, old: bytearray) -> None:
    try:
        store.write(offset, memoryview(old), durable=True)
    except OSError as error:
        # Do not restore them when the store is opened next time: by then the initiator, which gets
        # an error now, may have written these blocks again, and those writes must stay.
        log.error(
            "%d bytes from byte %d on hold parts of an atomic write that failed: %s",
            len(old),
            offset,
            error,
        )


def _cross_out(undo: UndoLog) -> None:
    try:
        undo.cross_out()
    except OSError as error:
        # If the write were acknowledged now, it could be undone later.
        log.error("cannot write %s: %s", undo.path, error)
        raise CheckCondition(sense.INTERNAL_TARGET_FAILURE) from error


def recover(store: FileStore, undo: UndoLog) -> None:
    """Undo a write that was not completed; for a store that was just opened.

    It may block, also while a write through another store is under way. Raises OSError.
    """
    with undo.lock:
        entry = undo.pending(store.location)
        if entry is None:
            return
        log.warning("%s: undoing an atomic write of %d bytes", undo.path, len(entry.data))
        store.write(entry.offset, memoryview(entry.data), durable=True)
        undo.cross_out()
