from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi.discovery import (
    NetworkPortal,
    TargetRecord,
    advertised_portals,
    answer_text,
    registered_portals,
    send_targets,
)
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.negotiate import Negotiation, SessionParameters
from scstfs.iscsi.text_format import decode

ONE = TargetRecord("iqn.a:one", [NetworkPortal("10.0.0.1", 3260), NetworkPortal("10.0.1.1", 3260)])
TWO = TargetRecord("iqn.a:two", [NetworkPortal("fe80::1", 3261)])

ONE_TEXT = [
    ("TargetName", "iqn.a:one"),
    ("TargetAddress", "10.0.0.1:3260,1"),
    ("TargetAddress", "10.0.1.1:3260,1"),
]
TWO_TEXT = [("TargetName", "iqn.a:two"), ("TargetAddress", "[fe80::1]:3261,1")]


def targets(name: str | None) -> Iterable[TargetRecord]:
    return [record for record in (ONE, TWO) if name in (None, record.name)]


@pytest.mark.parametrize(
    ("value", "own", "pairs"),
    [
        ("All", None, ONE_TEXT + TWO_TEXT),
        ("iqn.a:two", None, TWO_TEXT),
        ("iqn.a:three", None, []),
        ("", None, [("SendTargets", "Reject")]),
        ("", "iqn.a:one", ONE_TEXT),
        ("iqn.a:one", "iqn.a:one", ONE_TEXT),
        ("all", None, []),
    ],
)
def test_send_targets(value: str, own: str | None, pairs: list[tuple[str, str]]) -> None:
    assert send_targets(value, own, targets) == pairs


@pytest.mark.parametrize(
    ("own", "listeners", "registered"),
    [
        ("10.0.0.1", ["0.0.0.0"], ["10.0.0.1", "10.0.1.1"]),
        ("10.0.0.1", ["0.0.0.0", "::"], ["10.0.0.1", "10.0.1.1", "fd00::1"]),
        ("fd00::1", ["::", "10.0.1.1"], ["fd00::1", "10.0.1.1"]),
        ("127.0.0.1", ["0.0.0.0"], ["127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "127.0.0.2"]),
        ("10.0.0.1", ["127.0.0.1"], []),
        ("10.0.0.1", ["fe80::1"], []),
    ],
)
def test_portals_for_a_name_server(own: str, listeners: list[str], registered: list[str]) -> None:
    found = registered_portals(own, [NetworkPortal(host, 3260) for host in listeners], INTERFACES)
    assert found == [NetworkPortal(host, 3260) for host in registered]


def test_all_is_for_discovery_sessions() -> None:
    with pytest.raises(ProtocolError):
        send_targets("All", "iqn.a:one", targets)


INTERFACES = ["127.0.0.1", "10.0.0.1", "10.0.1.1", "::1", "fd00::1", "fe80::1"]

PORTALS = [
    # own portal, listeners, link_local, expected
    ("10.0.0.1", [("0.0.0.0", 3260)], True, ["10.0.0.1:3260", "10.0.1.1:3260"]),
    ("10.0.1.1", [("0.0.0.0", 3260)], True, ["10.0.1.1:3260", "10.0.0.1:3260"]),
    ("127.0.0.1", [("0.0.0.0", 3260)], True, ["127.0.0.1:3260", "10.0.0.1:3260", "10.0.1.1:3260"]),
    (
        "10.0.0.1",
        [("10.0.0.1", 3260), ("10.0.1.1", 3261)],
        True,
        ["10.0.0.1:3260", "10.0.1.1:3261"],
    ),
    ("10.0.0.1", [("10.0.0.1", 3260), ("127.0.0.1", 3260)], True, ["10.0.0.1:3260"]),
    ("10.0.0.1", [("0.0.0.0", 3260), ("::", 3260)], True, ["10.0.0.1:3260", "10.0.1.1:3260"]),
    ("fd00::1", [("::", 3260)], True, ["[fd00::1]:3260", "[fe80::1]:3260"]),
    ("fd00::1", [("::", 3260)], False, ["[fd00::1]:3260"]),
    ("fe80::1", [("::", 3260)], False, ["[fd00::1]:3260"]),
    ("fe80::1", [("::", 3260)], True, ["[fe80::1]:3260", "[fd00::1]:3260"]),
    ("fe80::1", [("fe80::1", 3260)], True, ["[fe80::1]:3260"]),
    ("10.0.0.1", [("0.0.0.0", 3260), ("10.0.1.1", 3260)], True, ["10.0.0.1:3260", "10.0.1.1:3260"]),
]


@pytest.mark.parametrize(
    ("name", "portal"),
    [
        (("192.0.2.1", 3260), NetworkPortal("192.0.2.1", 3260)),
        (("2001:db8::1", 3260, 0, 0), NetworkPortal("2001:db8::1", 3260)),
        (("fe80::1%eth0", 3260, 0, 2), NetworkPortal("fe80::1", 3260)),
    ],
)
def test_the_portal_of_a_socket_has_no_scope(name: tuple[str, int], portal: NetworkPortal) -> None:
    assert NetworkPortal.of_socket(name) == portal


@pytest.mark.parametrize(("own", "listeners", "link_local", "expected"), PORTALS)
def test_advertised_portals(
    own: str, listeners: list[tuple[str, int]], link_local: bool, expected: list[str]
) -> None:
    portals = advertised_portals(
        NetworkPortal(own, 3260),
        [NetworkPortal(*listener) for listener in listeners],
        INTERFACES,
        allowed=lambda _address: True,
        link_local=link_local,
    )
    assert [portal.text for portal in portals] == [f"{text},1" for text in expected]


def test_only_allowed_portals_are_advertised() -> None:
    portals = advertised_portals(
        NetworkPortal("10.0.0.1", 3260),
        [NetworkPortal("0.0.0.0", 3260)],
        INTERFACES,
        allowed=lambda address: address != "10.0.1.1",
    )
    assert portals == [NetworkPortal("10.0.0.1", 3260)]


def answer(request: bytes, own: str | None = None) -> list[tuple[str, str]]:
    negotiation = Negotiation({}, agreed=SessionParameters())
    return decode(answer_text(request, negotiation, own, targets))


def test_answer_text() -> None:
    assert answer(b"SendTargets=All\0") == ONE_TEXT + TWO_TEXT
    assert answer(b"") == []
    assert answer(b"SendTargets=\0X-a=1\0MaxBurstLength=512\0", "iqn.a:one") == [
        *ONE_TEXT,
        ("X-a", "NotUnderstood"),
        ("MaxBurstLength", "Reject"),
    ]


@pytest.mark.parametrize(
    "request_text",
    [b"SendTargets=All", b"SendTargets=\0SendTargets=\0", b"X-a=1\0X-a=1\0", b"A=Reject\0"],
)
def test_answer_text_refuses(request_text: bytes) -> None:
    with pytest.raises(ProtocolError):
        answer(request_text, "iqn.a:one")


def test_renegotiated_segment_length() -> None:
    negotiation = Negotiation({}, agreed=SessionParameters())
    assert answer_text(b"MaxRecvDataSegmentLength=4096\0", negotiation, "x", targets) == b""
    assert negotiation.result().max_xmit_data_segment_length == 4096


@given(st.binary(max_size=200))
def test_any_text_is_answered_or_a_protocol_error(request_text: bytes) -> None:
    try:
        answered = answer(request_text)
    except ProtocolError:
        return
    names = {name for name, _ in decode(request_text)}
    assert {name for name, _ in answered} <= {*names, "TargetName", "TargetAddress"}
