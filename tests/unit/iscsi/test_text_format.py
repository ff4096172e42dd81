from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.iscsi import text_format
from scstfs.iscsi.errors import ProtocolError

DECODED = [
    (b"", []),
    (b"MaxBurstLength=512\0", [("MaxBurstLength", "512")]),
    (b"SendTargets=\0", [("SendTargets", "")]),
    (b"A=1\0B=x=y\0", [("A", "1"), ("B", "x=y")]),
    (b"A=1\0\0\0B=2\0\0", [("A", "1"), ("B", "2")]),
    (b"\0\0\0\0", []),
    (b"X-com.example.Key@1+2_3=v\0", [("X-com.example.Key@1+2_3", "v")]),
    (b"X#NodeArchitecture=a\0", [("X#NodeArchitecture", "a")]),
    (b"iSCSIProtocolLevel=1\0", [("iSCSIProtocolLevel", "1")]),
    (b"K" * 63 + b"=v\0", [("K" * 63, "v")]),
    (b"A=" + b"v" * 4096 + b"\0", [("A", "v" * 4096)]),
    ("A=\N{SNOWMAN}\0".encode(), [("A", "\N{SNOWMAN}")]),
    (b"A=\xff\0", [("A", "\udcff")]),
]


@pytest.mark.parametrize(("data", "pairs"), DECODED, ids=range(len(DECODED)))
def test_decode(data: bytes, pairs: text_format.Pairs) -> None:
    assert text_format.decode(data) == pairs


@pytest.mark.parametrize(
    "data",
    [
        b"A=1",
        b"A=1\0B=2",
        b"A\0",
        b"=1\0",
        b"A B=1\0",
        b"1A=1\0",
        b"\xc3\xa9=1\0",
        b"K" * 64 + b"=v\0",
        b"A=" + b"v" * 4097 + b"\0",
        b"".join(b"K%d=v\0" % i for i in range(257)),
    ],
    ids=[
        "no-nul",
        "no-last-nul",
        "no-equals",
        "empty-key",
        "blank",
        "digit",
        "not-ascii",
        "long-key",
        "long-value",
        "257-keys",
    ],
)
def test_malformed_text(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        text_format.decode(data)


def test_a_million_keys_cost_little() -> None:
    data = b"A=1\0" * 1_000_000
    start = time.monotonic()
    with pytest.raises(ProtocolError, match="256 keys"):
        text_format.decode(data)
    assert time.monotonic() - start < 1.0
    with pytest.raises(ProtocolError, match="65536 bytes"):
        text_format.Assembler().add(data, more=False)


@given(st.binary(max_size=300))
def test_any_bytes_give_pairs_or_a_protocol_error(data: bytes) -> None:
    try:
        pairs = text_format.decode(data)
    except ProtocolError:
        return
    assert text_format.decode(text_format.encode(pairs)) == pairs


keys = st.from_regex(r"[A-Z][A-Za-z0-9.+@_-]{0,20}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=50)
@given(st.lists(st.tuples(keys, values), max_size=8))
def test_pairs_survive_encoding(pairs: text_format.Pairs) -> None:
    assert text_format.decode(text_format.encode(pairs)) == pairs


@pytest.mark.parametrize(
    ("length", "limit", "lengths"),
    [(0, 10, [0]), (1, 10, [1]), (10, 10, [10]), (11, 10, [10, 1]), (30, 10, [10, 10, 10])],
)
def test_split(length: int, limit: int, lengths: list[int]) -> None:
    data = bytes(range(length))
    pieces = text_format.split(data, limit)
    assert [len(piece) for piece in pieces] == lengths
    assert b"".join(pieces) == data


def test_default_split_is_the_login_segment() -> None:
    assert [len(piece) for piece in text_format.split(bytes(20000))] == [8192, 8192, 3616]


def test_assembler_puts_any_cut_together() -> None:
    data = b"HeaderDigest=None\0DataDigest=CRC32C\0"
    for cut in range(len(data) + 1):
        assembler = text_format.Assembler()
        assert assembler.add(data[:cut], more=True) is None
        assert assembler.add(data[cut:], more=False) == data
        assert assembler.add(b"A=1\0", more=False) == b"A=1\0"  # ready for the next text


def test_assembler_takes_bytes_one_by_one() -> None:
    data = b"InitiatorName=iqn.2001-04.com.example:host\0"
    assembler = text_format.Assembler()
    for byte in data[:-1]:
        assert assembler.add(bytes([byte]), more=True) is None
    assert assembler.add(data[-1:], more=False) == data


def test_assembler_is_bounded() -> None:
    assembler = text_format.Assembler(limit=100)
    assert assembler.add(bytes(60), more=True) is None
    with pytest.raises(ProtocolError):
        assembler.add(bytes(41), more=False)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("262144", 262144),
        ("0x200", 512),
        ("0XfF", 255),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", None),
        ("0x10000000000000000", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("1 ", None),
        ("1_000", None),
        ("012", None),
        ("0x", None),
        ("0b1", None),
        ("1.5", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
        ("9" * 256, None),
        ("0x" + "0" * 300, None),
    ],
)
def test_parse_number(value: str, number: int | None) -> None:
    assert text_format.parse_number(value) == number


@pytest.mark.parametrize(
    ("value", "result"), [("Yes", True), ("No", False), ("yes", None), ("1", None), ("", None)]
)
def test_parse_boolean(value: str, result: bool | None) -> None:
    assert text_format.parse_boolean(value) is result


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("0x00ff", b"\x00\xff"),
        ("0X0aBc", b"\x0a\xbc"),
        ("0xabc", b"\x0a\xbc"),
        ("0bAP8=", b"\x00\xff"),
        ("0BYWJj", b"abc"),
    ],
)
def test_decode_binary(value: str, data: bytes) -> None:
    assert text_format.decode_binary(value, 3) == data


@pytest.mark.parametrize(
    "value",
    ["", "0", "0x", "0b", "00ff", "0xgg", "0bAP8", "0bA*8=", "0b\udcff===", "255", "0x00112233"],
)
def test_malformed_binary(value: str) -> None:
    with pytest.raises(ProtocolError):
        text_format.decode_binary(value, 3)


@given(st.binary(min_size=1, max_size=40), st.booleans())
def test_binary_survives_encoding(data: bytes, as_base64: bool) -> None:
    value = text_format.encode_binary(data, as_base64=as_base64)
    assert text_format.is_base64(value) is as_base64
    assert text_format.decode_binary(value, 40) == data


@given(st.text(max_size=30))
def test_any_text_is_binary_or_a_protocol_error(value: str) -> None:
    try:
        data = text_format.decode_binary(value, 100)
    except ProtocolError:
        return
    assert data


@pytest.mark.parametrize(
    ("value", "line"),
    [("a'b", '"a\'b"'), ("a\nb\udcff", "'a\\nb\\udcff'"), ("x" * 101, f"'{'x' * 100}...'")],
)
def test_shown(value: str, line: str) -> None:
    assert text_format.shown(value) == line
