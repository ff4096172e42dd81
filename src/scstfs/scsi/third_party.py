"""The Third-party Copy VPD page 8Fh (SPC-4 7.8.17, SBC-4 6.6.9)."""

from __future__ import annotations

from typing import Final

from scstfs.scsi.commands import EXTENSIONS
from scstfs.scsi.tokens import TOKEN_TYPE, RodType
from scstfs.scsi.unit import TokenLimits
from scstfs.scsi.xcopy import (
    BLOCK_TO_BLOCK,
    CONCURRENT_COPIES,
    DATA_GRANULARITY,
    IDENTIFICATION,
    MAX_LIST_LENGTH,
    MAX_SEGMENT_BYTES,
    MAX_SEGMENTS,
    MAX_TARGETS,
)

_EXTENDED_COPY: Final = 0x83
_RECEIVE_COPY: Final = 0x84
_TOKEN_IN: Final = 0x02
_TOKEN_OUT: Final = 0x01
_FEATURES_LENGTH: Final = 44
_ROD_TYPE_LENGTH: Final = 64


def third_party_copy_page(limits: TokenLimits, block_size: int) -> bytes:
    """Return the page without its header."""
    descriptors = {
        0x0000: _token_limits(limits),
        0x0001: _supported_commands(),
        0x0004: _parameter_data(),
        0x0008: _list((BLOCK_TO_BLOCK, IDENTIFICATION)),
        0x000C: bytes(2),  # no CSCD identifiers beyond the descriptors of the list
        0x0106: _token_features(limits, block_size),
        0x0108: _rod_types(),
        0x8001: _general_operations(),
    }
    return b"".join(_descriptor(code, body) for code, body in descriptors.items())


def _descriptor(code: int, body: bytes) -> bytes:
    padded = body.ljust(-(-len(body) // 4) * 4, b"\0")
    return code.to_bytes(2, "big") + len(padded).to_bytes(2, "big") + padded


def _list(codes: tuple[int, ...]) -> bytes:
    return bytes((len(codes), *codes))


def _token_limits(limits: TokenLimits) -> bytes:
    out = bytes(6) + limits.max_ranges.to_bytes(2, "big")
    out += limits.max_timeout.to_bytes(4, "big") + limits.default_timeout.to_bytes(4, "big")
    out += limits.max_transfer_blocks.to_bytes(8, "big")
    return out + limits.optimal_transfer_blocks.to_bytes(8, "big")


def _supported_commands() -> bytes:
    body = b""
    for code in (_EXTENDED_COPY, _RECEIVE_COPY):
        rows = [row for row in EXTENSIONS if row.code == code]
        actions = sorted(row.service_action for row in rows if row.service_action is not None)
        body += bytes((code, len(actions), *actions))
    return bytes((len(body),)) + body


def _parameter_data() -> bytes:
    out = bytes(4) + MAX_TARGETS.to_bytes(2, "big") + MAX_SEGMENTS.to_bytes(2, "big")
    return (out + MAX_LIST_LENGTH.to_bytes(4, "big")).ljust(0x1C, b"\0")


def _token_features(limits: TokenLimits, block_size: int) -> bytes:
    block = bytearray(4 + _FEATURES_LENGTH)
    block[2:4] = _FEATURES_LENGTH.to_bytes(2, "big")
    block[8:16] = (limits.max_transfer_blocks * block_size).to_bytes(8, "big")
    for offset in (16, 24, 32):  # optimal bytes: per transfer, to a token, from a token
        optimal = limits.optimal_transfer_blocks * block_size
        block[offset : offset + 8] = optimal.to_bytes(8, "big")
    head = bytearray(44)
    head[12:16] = limits.default_timeout.to_bytes(4, "big")  # minimum lifetime
    head[16:20] = limits.max_timeout.to_bytes(4, "big")  # maximum lifetime
    head[20:24] = limits.max_timeout.to_bytes(4, "big")  # maximum inactivity
    head[42:44] = len(block).to_bytes(2, "big")
    return bytes(head + block)


def _rod_types() -> bytes:
    types = {TOKEN_TYPE: _TOKEN_IN | _TOKEN_OUT, RodType.BLOCK_ZERO: _TOKEN_IN}
    body = b"".join(
        (kind.to_bytes(4, "big") + bytes((flags,))).ljust(_ROD_TYPE_LENGTH, b"\0")
        for kind, flags in types.items()
    )
    return bytes(2) + len(body).to_bytes(2, "big") + body


def _general_operations() -> bytes:
    out = CONCURRENT_COPIES.to_bytes(4, "big") * 2 + MAX_SEGMENT_BYTES.to_bytes(4, "big")
    return (out + bytes((DATA_GRANULARITY, 0))).ljust(0x20, b"\0")
