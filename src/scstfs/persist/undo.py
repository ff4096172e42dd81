"""The log of atomic writes: the blocks' old contents, until the write is complete.

An entry is written durably before the first block changes, and cleared durably before the write is
acknowledged. So after a failure in between the old contents can be restored, and later writes are
never undone. There is one file per device, which is reused; it has one entry at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scstfs.persist import calls, durable_files

log = logging.getLogger(__name__)

_MAGIC: Final = b"scstundo"
#: Magic, offset, length, the medium's name, CRC-32 of the data and of the header before it.
_HEADER: Final = struct.Struct("<8sQQ32sII")
_BLANK: Final = bytes(_HEADER.size)
_LARGEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class UndoEntry:
    """``data`` belongs at byte ``offset`` of the medium."""

    offset: int
    data: bytes


class UndoLog:
    """The log of one device, for worker threads: ``lock`` is held from writing an entry to clearing
    it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        #: Whether the file is certain to exist after a crash.
        self._is_placed = False

    def enter(self, medium: bytes, entry: UndoEntry) -> None:
        """Make ``entry`` durable; ``medium`` is the name of its medium. Raises OSError."""
        fields = (entry.offset, len(entry.data), hashlib.sha256(medium).digest())
        crc = zlib.crc32(entry.data)
        checked = _HEADER.pack(_MAGIC, *fields, crc, 0)
        header = _HEADER.pack(_MAGIC, *fields, crc, zlib.crc32(checked))
        if not self._is_placed:
            with contextlib.suppress(FileExistsError):
                calls.mkdir(self.path.parent, 0o755)
            durable_files.sync_directory(self.path.parent.parent)
        self._write(header + entry.data)
        if not self._is_placed:
            durable_files.sync_directory(self.path.parent)
            self._is_placed = True

    def cross_out(self) -> None:
        """Clear the entry, durably. Raises OSError."""
        try:
            self._write(_BLANK)
        except OSError:
            # Overwriting may need space, which removing does not.
            self._is_placed = False
            durable_files.remove(self.path)

    def pending(self, medium: bytes) -> UndoEntry | None:
        """The entry that was not cleared, if it is complete and belongs to ``medium``.

        An incomplete one was never needed. Raises OSError.
        """
        data = durable_files.read(self.path, _HEADER.size + _LARGEST)
        if data is None or len(data) < _HEADER.size or data[:8] != _MAGIC:
            return None
        _, offset, length, owner, crc, header_crc = _HEADER.unpack_from(data)
        checked = _HEADER.pack(_MAGIC, offset, length, owner, crc, 0)
        content = data[_HEADER.size : _HEADER.size + length]
        if zlib.crc32(checked) != header_crc or zlib.crc32(content) != crc:
            return None
        if owner != hashlib.sha256(medium).digest():
            log.warning("%s belongs to another file or device, and is not used", self.path)
            return None
        return UndoEntry(offset, content)

    def _write(self, data: bytes) -> None:
        fd = calls.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        try:
            durable_files.overwrite(fd, data)
        finally:
            calls.close(fd)
