"""Bit masks as the kernel reads and prints them: 32-bit hexadecimal chunks, most significant first.

Follows bitmap_parse() and bitmap_string() (format ``%*pb``) of Linux 6.1.
"""

from __future__ import annotations

import errno
from typing import Final

from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.text import BLANKS, decode

_CHUNK_BITS: Final = 32
_CHUNK_DIGITS: Final = _CHUNK_BITS // 4
_SEPARATORS: Final = BLANKS + b","
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def parse_cpu_bitmap(data: bytes, nbits: int) -> int:
    """The mask in the first line of *data*; no chunk at all is an empty mask.

    Chunks are separated by commas or white space. Raises EINVAL for what is not hexadecimal and
    EOVERFLOW for more chunks or higher bits than *nbits* has room for.
    """
    text = data.partition(b"\n")[0]
    mask = 0
    end = len(text)
    room = (nbits + _CHUNK_BITS - 1) // _CHUNK_BITS
    for index in range(room + 1):
        while end and text[end - 1] in _SEPARATORS:
            end -= 1
        if not end:
            break
        if index == room:
            raise _overflow(data)
        chunk, end = _last_chunk(text, end, data)
        mask |= chunk << (index * _CHUNK_BITS)
    if mask >> nbits:
        raise _overflow(data)
    return mask


def _last_chunk(text: bytes, end: int, data: bytes) -> tuple[int, int]:
    """The chunk that ends before *end*, and where it starts."""
    start = end
    while start and end - start < _CHUNK_DIGITS and text[start - 1] not in _SEPARATORS:
        start -= 1
        if text[start] not in _HEX:
            raise invalid(f'Invalid mask "{decode(data)}"')
    chunk = int(text[start:end], 16)
    if end - start == _CHUNK_DIGITS and start and text[start - 1] not in _SEPARATORS:
        if text[start - 1] in _HEX:
            raise _overflow(data)
        # The kernel skips one character before a full chunk without checking it.
        start -= 1
    return chunk, start


def _overflow(data: bytes) -> SysfsError:
    return SysfsError(errno.EOVERFLOW, f'Mask "{decode(data)}" is too wide')


def format_cpu_bitmap(mask: int, nbits: int) -> str:
    """*mask* with as many digits as *nbits* needs: 2 CPUs print ``3``, 40 print ``ff,ffffffff``."""
    chunks = []
    for low in range(0, nbits, _CHUNK_BITS):
        width = min(_CHUNK_BITS, nbits - low)
        value = (mask >> low) & ((1 << width) - 1)
        chunks.append(f"{value:0{(width + 3) // 4}x}")
    return ",".join(reversed(chunks))
