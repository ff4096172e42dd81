"""Texts for codes (T10's lists of ASC/ASCQ assignments and operation codes)."""

from __future__ import annotations

from typing import Final

from scstfs.sgutils.libsgutils import LibraryMissing, load

_ROOM: Final = 2048
_VARIABLE_LENGTH: Final = 0x7F


def sense_text(sense: bytes) -> str:
    """Sense data (either format) in words, on one line; in hexadecimal without the library."""
    try:
        library = load()
    except LibraryMissing:
        return sense.hex(" ")
    buffer = library.ffi.new("char[]", _ROOM)
    data = library.ffi.from_buffer("uint8_t[]", sense)
    library.functions.sg_get_sense_str(library.ffi.NULL, data, len(sense), False, _ROOM, buffer)
    text: bytes = library.ffi.string(buffer)
    lines = (line.strip() for line in text.decode("ascii", "replace").splitlines())
    return "; ".join(line for line in lines if line)


def command_name(cdb: bytes, device_type: int) -> str:
    """The name of a command (1 or more bytes of CDB), or the CDB in hexadecimal."""
    try:
        library = load()
    except LibraryMissing:
        return cdb.hex(" ")
    buffer = library.ffi.new("char[]", _ROOM)
    library.functions.sg_get_opcode_sa_name(
        cdb[0], _service_action(cdb), device_type, _ROOM, buffer
    )
    text: bytes = library.ffi.string(buffer)
    return text.decode("ascii", "replace")


def _service_action(cdb: bytes) -> int:
    if cdb[0] == _VARIABLE_LENGTH:
        return int.from_bytes(cdb[8:10], "big")
    return cdb[1] & 0x1F if len(cdb) > 1 else 0
