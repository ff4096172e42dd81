"""A model disk, as simple as possible, and the commands for comparing the real one.

Every operation builds its CDB and data by hand, and applies its effect to the model. It returns the
``Expected`` answer of the real device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scstfs.scsi.status import Status
from tests.support.copies import be

BLOCK = 512
BLOCKS = 64

OUT_OF_RANGE = (0x5, 0x21, 0x00)
INVALID_FIELD = (0x5, 0x24, 0x00)
INVALID_PARAMETER = (0x5, 0x26, 0x00)
MISCOMPARE = (0xE, 0x1D, 0x00)
COPY_ABORTED = (0xA, 0x00, 0x00)
TOKEN_REVOKED = (0x5, 0x23, 0x06)

READ = {6: 0x08, 10: 0x28, 12: 0xA8, 16: 0x88}
WRITE = {6: 0x0A, 10: 0x2A, 12: 0xAA, 16: 0x8A}
WRITE_AND_VERIFY = {10: 0x2E, 12: 0xAE, 16: 0x8E}
VERIFY = {10: 0x2F, 12: 0xAF, 16: 0x8F}
WRITE_SAME = {10: 0x41, 16: 0x93}


@dataclass(frozen=True)
class Expected:
    """What the answer must be; ``sense`` is key, ASC and ASCQ."""

    sense: tuple[int, int, int] | None = None
    data: bytes | None = b""

    @property
    def status(self) -> Status:
        return Status.GOOD if self.sense is None else Status.CHECK_CONDITION


GOOD = Expected()


def cdb(codes: dict[int, int], size: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    """READ, WRITE and similar commands."""
    code = codes[size]
    if size == 6:
        return bytes((code,)) + be(lba, 3) + bytes((blocks & 0xFF, 0))
    if size == 10:
        return bytes((code, flags)) + be(lba, 4) + b"\0" + be(blocks, 2) + b"\0"
    if size == 12:
        return bytes((code, flags)) + be(lba, 4) + be(blocks, 4) + bytes(2)
    return bytes((code, flags)) + be(lba, 8) + be(blocks, 4) + bytes(2)


@dataclass
class ModelToken:
    """Blocks that a token represents."""

    disk: ModelDisk
    extents: Sequence[tuple[int, int]]
    data: bytes = b""
    valid: bool = True

    def content(self) -> bytes:
        return b"".join(self.disk.read(lba, blocks) for lba, blocks in self.extents)


@dataclass
class ModelDisk:
    """Bytes, and the tokens that end when they change."""

    content: bytearray = field(default_factory=lambda: bytearray(BLOCK * BLOCKS))
    tokens: list[ModelToken] = field(default_factory=list)

    @staticmethod
    def has(lba: int, blocks: int) -> bool:
        return lba + blocks <= BLOCKS

    def read(self, lba: int, blocks: int) -> bytes:
        return bytes(self.content[lba * BLOCK : (lba + blocks) * BLOCK])

    def write(self, lba: int, data: bytes) -> None:
        self.touch(lba, len(data) // BLOCK)
        self.content[lba * BLOCK : lba * BLOCK + len(data)] = data

    def touch(self, lba: int, blocks: int) -> None:
        """Blocks are written, or would have been: tokens for them end."""
        for token in self.tokens:
            if any(first < lba + blocks and lba < first + n for first, n in token.extents):
                token.valid = False
