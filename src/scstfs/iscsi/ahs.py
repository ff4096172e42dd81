"""Additional Header Segments of SCSI Commands: long CDBs and bidirectional reads.

RFC 7143 11.2.2. Each segment is AHSLength (2 bytes: what follows the type byte, unpadded), AHSType
(1 byte) and its contents, padded to a multiple of four bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from scstfs.iscsi.errors import ProtocolError, RejectReason

EXTENDED_CDB: Final = 1
BIDI_READ_LENGTH: Final = 2

_HEADER: Final = 3
_TYPE_MASK: Final = 0x3F
_BIDI_LENGTH: Final = 5


class AdditionalHeader(NamedTuple):
    """The contents of the additional headers of one SCSI Command."""

    extended_cdb: bytes
    """Bytes 16 and up of the CDB; empty without an extended CDB."""
    bidi_read_length: int | None
    """Expected Bidirectional Read Data Length in bytes."""


def decode(segments: bytes) -> AdditionalHeader:
    """Read all additional headers of a SCSI Command; `segments` is TotalAHSLength words long.

    Raises:
        ProtocolError: a segment runs over the end, is malformed or repeated, or of a reserved type
            (RFC 7143 11: reserved codes are a protocol error).
    """
    extended_cdb: bytes | None = None
    bidi_read_length: int | None = None
    for kind, content in _segments(segments):
        if kind == EXTENDED_CDB:
            if extended_cdb is not None or len(content) < 2:
                raise _malformed("extended CDB")
            extended_cdb = content[1:]
        elif kind == BIDI_READ_LENGTH:
            if bidi_read_length is not None or len(content) != _BIDI_LENGTH:
                raise _malformed("bidirectional read length")
            bidi_read_length = int.from_bytes(content[1:], "big")
        else:
            raise ProtocolError(f"additional header of the reserved type {kind}")
    return AdditionalHeader(extended_cdb or b"", bidi_read_length)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        end = offset + _HEADER + int.from_bytes(data[offset : offset + 2], "big")
        if offset + _HEADER > len(data) or end > len(data):
            raise _malformed("segment")
        yield data[offset + 2] & _TYPE_MASK, data[offset + _HEADER : end]
        offset = (end + 3) & ~3


def _malformed(what: str) -> ProtocolError:
    return ProtocolError(
        f"malformed additional header: {what}", reason=RejectReason.INVALID_PDU_FIELD
    )
