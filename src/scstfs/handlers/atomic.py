"""Writes of many blocks that happen altogether or not at all (SBC-4 4.29).

That no other command sees half of one is the task set's business.  Here is what makes it so for a
power failure, an error in the middle or the end of the daemon: the blocks' old contents are logged
before they are overwritten, and put back unless the write became whole.
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
    """Write ``data`` durably, or leave everything as it was.  Blocks; raises OSError.

    Only where the old contents cannot be put back either, blocks of both kinds are left.
    Raises CheckCondition INTERNAL TARGET FAILURE when the log cannot be written.
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
        # To be done when the store is opened next time?  By then the initiator, which hears of the
        # error, may have written these blocks again, and has been promised that they stay.
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
        # Acknowledging the write now could mean to undo it later.
        log.error("cannot write %s: %s", undo.path, error)
        raise CheckCondition(sense.INTERNAL_TARGET_FAILURE) from error


def recover(store: FileStore, undo: UndoLog) -> None:
    """Undo a write that did not become whole; for a store that was just opened.

    Blocks, also for as long as a write through another store goes on.  Raises OSError.
    """
    with undo.lock:
        entry = undo.pending(store.location)
        if entry is None:
            return
        log.warning("%s: undoing an atomic write of %d bytes", undo.path, len(entry.data))
        store.write(entry.offset, memoryview(entry.data), durable=True)
        undo.cross_out()
