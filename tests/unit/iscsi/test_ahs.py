from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi import ahs
from scstfs.iscsi.errors import ProtocolError, RejectReason

BIDI = bytes.fromhex("0005 02 00 00010000")
CDB20 = bytes.fromhex("0005 01 00 a1a2a3a4")  # a 20-byte CDB: 16 in the header, four here
CDB18 = bytes.fromhex("0003 01 00 a1a2 0000")  # two bytes and padding


@pytest.mark.parametrize(
    ("segments", "extended_cdb", "bidi"),
    [
        (b"", b"", None),
        (BIDI, b"", 0x10000),
        (CDB20, bytes.fromhex("a1a2a3a4"), None),
        (CDB18, bytes.fromhex("a1a2"), None),
        (CDB18 + BIDI, bytes.fromhex("a1a2"), 0x10000),
    ],
    ids=["none", "bidi", "cdb20", "cdb18", "both"],
)
def test_decode(segments: bytes, extended_cdb: bytes, bidi: int | None) -> None:
    assert ahs.decode(segments) == ahs.AdditionalHeader(extended_cdb, bidi)


@pytest.mark.parametrize(
    "segments",
    [
        BIDI[:4],
        bytes.fromhex("00"),
        bytes.fromhex("0006 02 00 0001000000 000000"),
        bytes.fromhex("0001 01 00"),
        CDB20 + CDB20,
        BIDI + BIDI,
        bytes.fromhex("ffff 01 00"),
    ],
    ids=["cut", "one-byte", "long-bidi", "empty-cdb", "two-cdbs", "two-bidis", "long"],
)
def test_malformed(segments: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        ahs.decode(segments)
    assert caught.value.reason is RejectReason.INVALID_PDU_FIELD


@pytest.mark.parametrize("kind", [0, 3, 0x3F])
def test_reserved_types_are_a_protocol_error(kind: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        ahs.decode(bytes((0, 2, kind, 0, 0xFF, 0, 0, 0)) + CDB20)
    assert caught.value.reason is RejectReason.PROTOCOL_ERROR


@given(st.binary(max_size=1020))
def test_any_bytes_decode_or_are_a_protocol_error(segments: bytes) -> None:
    try:
        header = ahs.decode(segments)
    except ProtocolError:
        return
    assert len(header.extended_cdb) <= len(segments)
