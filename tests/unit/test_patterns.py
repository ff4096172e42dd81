from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs import patterns

CASES = [
    # pattern, name, matches
    ("", "", True),
    ("", "x", False),
    ("*", "", True),
    ("**", "", True),
    ("*", "anything", True),
    ("?", "", False),
    ("?", "x", True),
    ("?", "xy", False),
    ("iqn.2005:host", "iqn.2005:host", True),
    ("IQN.2005:Host", "iqn.2005:hOST", True),
    ("iqn.2005:host", "iqn.2005:host2", False),
    ("iqn.2005:host2", "iqn.2005:host", False),
    ("iqn.*:host", "iqn.2005-03.org:host", True),
    ("iqn.*:host", "iqn.2005-03.org:host:host", True),
    ("iqn.*:host", "iqn.2005-03.org:hos", False),
    ("*a*b", "xaxxbxb", True),
    ("*a*b", "xaxxbxbc", False),
    ("bl?h.*", "blah.jpg", True),
    ("bl!?h.*", "blah.jpg", False),
    ("bl!?h.*", "blh.jpg", True),
    ("bl!?h.*", "b", False),
    ("!x", "x", False),
    ("!x", "y", True),
    ("!x", "xx", True),
    ("!x", "", False),
    ("!", "x", True),
    ("!!x", "!x", False),
    ("!!x", "x", True),
    ("!*", "anything", False),
    ("*!a", "a", False),
    ("*!a", "b", True),
    ("a*b!c", "axbc", False),
    ("a*b!c", "axbd", True),
    ("a*b!c", "ax", False),
    ("192.168.*", "192.168.0.1", True),
    ("!192.168.*", "10.0.0.1", True),
    ("host[1]", "host1", False),
    ("?", "\N{LATIN SMALL LETTER E WITH ACUTE}", False),  # two bytes
    ("??", "\N{LATIN SMALL LETTER E WITH ACUTE}", True),
]


@pytest.mark.parametrize(("pattern", "name", "matches"), CASES)
def test_match(pattern: str, name: str, matches: bool) -> None:
    assert patterns.match(pattern, name) is matches


def test_many_stars_cost_little() -> None:
    assert not patterns.match("*a" * 50 + "b", "a" * 200)


@given(st.text("ab!*?", max_size=12), st.text("ab!", min_size=1, max_size=12))
def test_a_leading_inversion_inverts(pattern: str, name: str) -> None:
    without = pattern.replace("!", "")
    assert patterns.match("!" + without, name) is not patterns.match(without, name)


@given(st.text(max_size=30))
def test_every_name_matches_itself_and_a_star(name: str) -> None:
    literal = "".join(character for character in name if character not in "*?!")
    assert patterns.match(literal, literal.upper() if literal.isascii() else literal)
    assert patterns.match("*" + literal + "*", "<" + literal + ">")
