from __future__ import annotations

import pytest

from scstfs.iscsi import acl

PORTALS: list[tuple[list[str], str, bool]] = [
    ([], "10.0.0.1", True),
    (["10.0.0.1"], "10.0.0.1", True),
    (["10.0.0.1"], "10.0.0.2", False),
    (["10.0.0.1", "10.0.0.2"], "10.0.0.2", True),
    (["10.*"], "10.9.9.9", True),
    (["!10.*"], "10.9.9.9", False),
    (["!10.*"], "192.168.0.1", True),
    (["!10.*", "!192.*"], "192.168.0.1", False),
    (["!10.*", "!192.*"], "172.16.0.1", True),
    (["10.*", "!10.0.0.9"], "10.0.0.1", True),
    (["10.*", "!10.0.0.9"], "10.0.0.9", False),
    (["10.*", "!10.0.0.9"], "11.0.0.1", False),
    (["fe80::*"], "fe80::1", True),
    (["FE80::A"], "fe80::a", True),
]


@pytest.mark.parametrize(("patterns", "portal", "allowed"), PORTALS)
def test_portal_allowed(patterns: list[str], portal: str, allowed: bool) -> None:
    assert acl.portal_allowed(patterns, portal) is allowed


def test_patterns_can_be_any_iterable() -> None:
    assert acl.portal_allowed((word for word in ["!1.*"]), "2.2.2.2")


LISTING = """# comment ALL ALL
iqn.a:one 10.0.0.0/8, 192.168.1.7
iqn.a:two ALL
iqn.a:three [fd00::]/16,fe80::1
iqn.a:four nonsense, ALL
iqn.a:one ALL
iqn.a:five 10.1.2.3/33,ALL
ALL 172.16.0.1
"""

LISTED = [
    ("iqn.a:one", "10.200.0.1", True),
    ("iqn.a:one", "192.168.1.7", True),
    ("iqn.a:one", "192.168.1.8", False),  # the first line about it decides
    ("IQN.A:One", "10.200.0.1", True),
    ("iqn.a:two", "1.2.3.4", True),
    ("iqn.a:two", "::1", True),
    ("iqn.a:three", "fd01::5", False),
    ("iqn.a:three", "fd00::5", True),
    ("iqn.a:three", "fe80::1", True),
    ("iqn.a:three", "fe80::1%eth0", True),
    ("iqn.a:three", "10.0.0.1", False),
    ("iqn.a:four", "10.0.0.1", False),
    ("iqn.a:five", "10.1.2.3", False),
    ("iqn.a:other", "172.16.0.1", True),
    ("iqn.a:other", "::ffff:172.16.0.1", True),
    ("iqn.a:other", "172.16.0.2", False),
    ("comment", "1.1.1.1", False),
    ("iqn.a:two", "not an address", False),
]


@pytest.mark.parametrize(("target", "address", "listed"), LISTED)
def test_is_listed(target: str, address: str, listed: bool) -> None:
    assert acl.is_listed(LISTING, target, address) is listed


@pytest.mark.parametrize("listing", ["", "\n", "ALL", "ALL ALL", "ALL\n", "#ALL ALL\n"])
def test_nothing_listed(listing: str) -> None:
    assert not acl.is_listed(listing, "iqn.a", "10.0.0.1")


@pytest.mark.parametrize("listing", ["ALL ALL\n", "x y\nALL\tALL\n", "ALL  10.0.0.1 \n"])
def test_everything_listed(listing: str) -> None:
    assert acl.is_listed(listing, "iqn.a", "10.0.0.1")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.10", False),
        ("fe80::1", "FE80:0::0001%eth0", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1", "fe80::2", False),
        ("host", "host", False),
    ],
)
def test_same_address(left: str, right: str, same: bool) -> None:
    assert acl.same_address(left, right) is same
    assert acl.same_address(right, left) is same
