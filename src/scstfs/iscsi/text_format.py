"""The key=value text of Login and Text PDUs: RFC 7143 6.1 and 6.2.

Text is UTF-8 pairs, each ended by a NUL, that may be cut anywhere over several PDUs with the C bit.
Bytes that are not UTF-8 survive as surrogates, so that code that checks a value can refuse it.
Everything is bounded: how long the text may be, how many keys, how long a key and a value.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from scstfs.iscsi.errors import ProtocolError

Pairs: TypeAlias = list[tuple[str, str]]
"""Keys and values in the order they travel."""

NOT_UNDERSTOOD: Final = "NotUnderstood"
IRRELEVANT: Final = "Irrelevant"
REJECT: Final = "Reject"
RESERVED_VALUES: Final = frozenset({NOT_UNDERSTOOD, IRRELEVANT, REJECT})
"""Values that can answer any key and propose none (RFC 7143 6.2)."""
NONE: Final = "None"
YES: Final = "Yes"
NO: Final = "No"

MAX_SEGMENT: Final = 8192
"""Bytes of text in one Login PDU: MaxRecvDataSegmentLength before it is declared (13.12)."""
MAX_TEXT: Final = 65536
"""Bytes of text over all PDUs of one C-bit sequence, enough for any authentication (6.1)."""
MAX_KEYS: Final = 256
"""Pairs in one text. The RFCs define some forty keys."""
MAX_KEY: Final = 63
"""Bytes in a key name (6.1)."""
MAX_VALUE: Final = 4096
"""Bytes in an encoded value: a list, or 1024 bytes of binary data in hexadecimal (12.1.3)."""
MAX_SIMPLE_VALUE: Final = 255
"""Bytes in a name, a number or a word (6.1)."""

_KEY: Final = re.compile(rb"[A-Za-z][A-Za-z0-9.+@_#-]*")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9A-Fa-f]+", re.ASCII)
_MAX_NUMBER: Final = 2**64 - 1
_MAX_SHOWN: Final = 100


def decode(text: bytes) -> Pairs:
    """Split a complete text into pairs.

    Empty items are skipped: some initiators count their padding as text.

    Raises:
        ProtocolError: no final NUL, a pair without "=", an invalid key name, or a limit exceeded.
    """
    if not text:
        return []
    if text[-1]:
        raise ProtocolError("text does not end with NUL")
    pairs: Pairs = []
    for item in text.split(b"\0"):
        if not item:
            continue
        if len(pairs) == MAX_KEYS:
            raise ProtocolError(f"more than {MAX_KEYS} keys in one text")
        pairs.append(_decode_pair(item))
    return pairs


def _decode_pair(item: bytes) -> tuple[str, str]:
    key, equals, value = item.partition(b"=")
    if not equals:
        raise ProtocolError("text without '='")
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ProtocolError(f"not a key name: {key[:MAX_KEY]!a}")
    if len(value) > MAX_VALUE:
        raise ProtocolError(f"value of {key.decode()} is longer than {MAX_VALUE} bytes")
    return key.decode("ascii"), value.decode("utf-8", "surrogateescape")


def encode(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Join pairs into a text, each ended by a NUL."""
    return b"".join(f"{key}={value}\0".encode("utf-8", "surrogateescape") for key, value in pairs)


def split(text: bytes, limit: int = MAX_SEGMENT) -> list[bytes]:
    """Cut a text into the data segments of a C-bit sequence: at least one, none above `limit`."""
    return [text[start : start + limit] for start in range(0, len(text), limit)] or [b""]


class Assembler:
    """Puts the data segments of a C-bit sequence together again (RFC 7143 6.2)."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_TEXT) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def add(self, segment: bytes | bytearray | memoryview, *, more: bool) -> bytes | None:
        """Take a data segment; return the whole text, or None if `more` (the C bit) is to come.

        Raises:
            ProtocolError: the text is longer than the limit.
        """
        if len(self._buffer) + len(segment) > self._limit:
            raise ProtocolError(f"text is longer than {self._limit} bytes")
        self._buffer += segment
        if more:
            return None
        text = bytes(self._buffer)
        self._buffer.clear()
        return text


def shown(value: str) -> str:
    """Return a peer's text in a form that is safe and short enough for a log line."""
    return ascii(value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "...")


def parse_number(value: str) -> int | None:
    """Read a numerical-value: a decimal or hexadecimal constant below 2**64, else None (6.1)."""
    if len(value) > MAX_SIMPLE_VALUE:
        return None
    if _DECIMAL.fullmatch(value):
        number = int(value)
    elif _HEXADECIMAL.fullmatch(value):
        number = int(value, 16)
    else:
        return None
    return number if number <= _MAX_NUMBER else None


def parse_boolean(value: str) -> bool | None:
    """Read "Yes" or "No", else None (6.1)."""
    return {YES: True, NO: False}.get(value)


def parse_list(value: str) -> list[str] | None:
    """Split a list-of-values at its commas; None if an item is empty (6.1)."""
    values = value.split(",")
    return values if all(values) else None


def is_base64(value: str) -> bool:
    """Tell whether a binary value is written in base64, not in hexadecimal."""
    return value[:2] in ("0b", "0B")


def decode_binary(value: str, limit: int) -> bytes:
    """Read a large-binary-value: "0x" hexadecimal or "0b" base64 (6.1).

    An odd number of hexadecimal digits is read as if a 0 stood before them.

    Raises:
        ProtocolError: other text, no bytes at all, or more than `limit` bytes.
    """
    digits = value[2:]
    data = b""
    if is_base64(value):
        try:
            data = base64.b64decode(digits.encode("utf-8", "surrogateescape"), validate=True)
        except binascii.Error:
            raise ProtocolError("malformed base64 constant") from None
    elif _HEXADECIMAL.fullmatch(value):
        data = bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))
    if not data:
        raise ProtocolError("not a binary value")
    if len(data) > limit:
        raise ProtocolError(f"binary value is longer than {limit} bytes")
    return data


def encode_binary(data: bytes, *, as_base64: bool = False) -> str:
    """Write bytes as a large-binary-value, in lower-case hexadecimal unless asked otherwise."""
    if as_base64:
        return "0b" + base64.b64encode(data).decode("ascii")
    return "0x" + data.hex()
