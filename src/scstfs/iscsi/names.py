"""Which strings are names of initiators: RFC 7143 4.2.7, RFC 3722.

Of ASCII, only lower-case letters, digits, "-", "." and ":" are allowed, and here also "_", which
SCST's own examples use; of the rest of Unicode, all but what RFC 3454's tables C.1.1 to C.9
exclude.
"""

from __future__ import annotations

import re
import stringprep
from typing import Final

MAX_NAME: Final = 223
"""Bytes of UTF-8 in an iSCSI name (RFC 7143 4.2.7.1)."""

_ASCII: Final = re.compile(r"[-.:_a-z0-9]*", re.ASCII)
_PROHIBITED: Final = (
    stringprep.in_table_c11_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def is_initiator_name(name: str) -> bool:
    """Tell whether it is a valid initiator name; the format ("iqn." and so on) is not checked.

    Bytes that were not UTF-8 are surrogates in `name`, which are prohibited.
    """
    if not name or len(name) > MAX_NAME:
        return False
    ascii_part = "".join(character for character in name if character < "\x80")
    if not _ASCII.fullmatch(ascii_part):
        return False
    if len(ascii_part) == len(name):
        return True
    others = set(name) - set(ascii_part)
    if any(prohibited(character) for character in others for prohibited in _PROHIBITED):
        return False
    return len(name.encode()) <= MAX_NAME
