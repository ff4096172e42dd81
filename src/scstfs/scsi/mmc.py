"""The multi-media commands a CD-ROM with one data track answers (MMC-6)."""

from __future__ import annotations

from typing import Final

from scstfs.scsi.sense import invalid_field_in_cdb

_LEAD_OUT: Final = 0xAA
# ADDR 1 (current position in the Q sub-channel), CONTROL 4 (data track, recorded uninterrupted).
_DATA_TRACK: Final = 0x14
_SESSION_FORMAT: Final = 0x01


def read_toc(cdb: bytes, blocks: int) -> bytes:
    """Return the table of contents for a 10-byte READ TOC `cdb` (MMC-6 6.25), to be cut.

    `blocks` is the size of the medium; addresses are logical block addresses even if the CDB has
    MSF set, as in SCST.  Raises CheckCondition.
    """
    track, wanted = cdb[6], cdb[2] & 0x0F
    if wanted & 0x0E:
        raise invalid_field_in_cdb(2, 5)
    if (track and wanted == _SESSION_FORMAT) or (track > 1 and track != _LEAD_OUT):
        raise invalid_field_in_cdb(6)
    if not any(cdb[7:9]):
        return b""
    body = bytes((0x01, 0x01))
    if track <= 1:
        body += _descriptor(0x01, 0)
    if wanted != _SESSION_FORMAT:
        body += _descriptor(_LEAD_OUT, blocks & 0xFFFFFFFF)
    return len(body).to_bytes(2, "big") + body


def _descriptor(track: int, address: int) -> bytes:
    return bytes((0, _DATA_TRACK, track, 0)) + address.to_bytes(4, "big")
