from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi.names import is_initiator_name

NAMES = [
    ("iqn.1991-05.com.microsoft:host-1", True),
    ("iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-ls", True),
    ("eui.02004567a425678d", True),
    ("naa.52004567ba64678d", True),
    ("anything.goes:1", True),  # the format is not checked
    ("", False),
    ("iqn.1991-05.com.Microsoft:host", False),
    ("iqn.2007-05.com.example:storage.disk1.spec_ini.xyz", True),  # of SCST's README
    ("iqn.x:a b", False),
    ("iqn.x:a/b", False),
    ("iqn.x:a\x7f", False),
    ("iqn.x:a\n", False),
    ("a" * 223, True),
    ("a" * 224, False),
    ("iqn.x:\N{CYRILLIC SMALL LETTER EN}", True),
    ("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 74, True),  # 222 bytes
    ("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 75, False),  # 225 bytes
    ("iqn.x:\N{NO-BREAK SPACE}", False),  # C.1.2
    ("iqn.x:\x85", False),  # C.2.2
    ("iqn.x:\N{ZERO WIDTH JOINER}", False),  # C.2.2
    ("iqn.x:\ue000", False),  # C.3
    ("iqn.x:\ufdd0", False),  # C.4
    ("iqn.x:\udcff", False),  # C.5: invalid UTF-8
    ("iqn.x:\ufffd", False),  # C.6
    ("iqn.x:\u2ff0", False),  # C.7
    ("iqn.x:\N{LEFT-TO-RIGHT MARK}", False),  # C.8
    ("iqn.x:\U000e0001", False),  # C.9
]


@pytest.mark.parametrize(("name", "valid"), NAMES, ids=[ascii(row[0])[:40] for row in NAMES])
def test_initiator_name(name: str, valid: bool) -> None:
    assert is_initiator_name(name) is valid


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_valid_names_fit(name: str) -> None:
    if is_initiator_name(name):
        assert 0 < len(name.encode()) <= 223
        assert not any(character.isspace() or character in "/ABCXYZ" for character in name)


@given(st.binary(max_size=60))
def test_any_bytes_are_judged(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    if is_initiator_name(name):
        assert name.encode() == data
