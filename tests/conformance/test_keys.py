"""Negotiation of keys: RFC 7143 6.2, 13, on live logins."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, LogIn
from tests.support.initiator import LoginError
from tests.support.live_target import TARGET, LiveTarget

NARROW = "iqn.2005-03.org.example:narrow"


@pytest.fixture(scope="module")
def narrow(live: LiveTarget) -> str:
    """A target with values other than the defaults."""
    live.add_target(
        NARROW,
        "InitialR2T=Yes; ImmediateData=No; MaxRecvDataSegmentLength=16384; MaxBurstLength=32768; "
        "FirstBurstLength=16384; MaxOutstandingR2T=2; HeaderDigest=None,CRC32C; "
        "DataDigest=None,CRC32C",
    )
    return NARROW


def answers(connect: Connect, *keys: tuple[str, str], target: str | None = TARGET) -> list[str]:
    """What each key is answered, in the order of the keys."""
    initiator = connect()
    first = initiator.names(target)
    _, pairs = initiator.login_step([*first, *keys])
    given = dict(pairs)
    return [given.get(name, "") for name, _ in keys]


# 6.2: what can be answered


@pytest.mark.parametrize("key", ["X-org.example.thing", "X#Thing", "Thing", "MaxBurstlength"])
def test_unknown_keys_are_not_understood(connect: Connect, key: str) -> None:
    assert answers(connect, (key, "1")) == ["NotUnderstood"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("MaxConnections", "1"),
        ("InitialR2T", "Yes"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "65536"),
        ("FirstBurstLength", "65536"),
        ("DefaultTime2Wait", "2"),
        ("DefaultTime2Retain", "0"),
        ("MaxOutstandingR2T", "1"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("ErrorRecoveryLevel", "0"),
        ("TaskReporting", "RFC3720"),
        ("iSCSIProtocolLevel", "1"),
        ("IFMarker", "No"),
        ("OFMarker", "No"),
    ],
)
def test_every_negotiated_key_is_answered_with_the_same_key(
    connect: Connect, key: str, value: str
) -> None:
    assert answers(connect, (key, value)) == [value]


@pytest.mark.logs("reserved word")
@pytest.mark.parametrize("word", ["Reject", "Irrelevant", "NotUnderstood"])
def test_reserved_words_as_proposals_end_the_login(connect: Connect, word: str) -> None:
    with pytest.raises(LoginError) as caught:
        answers(connect, ("MaxBurstLength", word))
    assert caught.value.status == 0x0200


def test_nothing_is_answered_that_was_not_proposed(connect: Connect) -> None:
    initiator = connect()
    _, pairs = initiator.login_step([*initiator.names(TARGET), ("MaxConnections", "1")])
    assert {name for name, _ in pairs} == {"TargetPortalGroupTag", "MaxConnections"}


def test_declared_keys_are_not_answered_but_declared(connect: Connect) -> None:
    assert answers(connect, ("MaxRecvDataSegmentLength", "8192"), ("InitiatorAlias", "me")) == [
        "1048576",
        "",
    ]


def test_our_declarations_may_be_not_understood(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    response, _ = initiator.login_step([("TargetPortalGroupTag", "NotUnderstood")], transit=True)
    assert response.flags & 0x83 == 0x83


# 6.1, 6.2.2: values


@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("MaxBurstLength", "0x10000", "65536"),
        ("MaxBurstLength", "0X10000", "65536"),
        ("MaxBurstLength", "511", "512"),
        ("MaxBurstLength", "16777216", "1048576"),
        ("MaxBurstLength", "18446744073709551616", "Reject"),
        ("MaxBurstLength", "-1", "Reject"),
        ("MaxBurstLength", "1e3", "Reject"),
        ("MaxBurstLength", "010000", "Reject"),
        ("MaxOutstandingR2T", "0", "1"),
        ("MaxConnections", "8", "1"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("DefaultTime2Wait", "5", "5"),
        ("DefaultTime2Retain", "20", "0"),
        ("InitialR2T", "yes", "Reject"),
        ("ImmediateData", "1", "Reject"),
        ("HeaderDigest", "MD5", "Reject"),
        ("HeaderDigest", "Y-org.example.sum,None", "None"),
        ("HeaderDigest", "CRC32C", "Reject"),
        ("TaskReporting", "FastAbort", "Reject"),
        ("TaskReporting", "FastAbort,ResponseFence,RFC3720", "ResponseFence"),
        ("TaskReporting", "RFC3720,ResponseFence", "RFC3720"),
    ],
)
def test_the_value_selected_is_admissible_or_reject(
    connect: Connect, key: str, value: str, answer: str
) -> None:
    assert answers(connect, (key, value)) == [answer]


@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("InitialR2T", "No", "Yes"),
        ("InitialR2T", "Yes", "Yes"),
        ("ImmediateData", "Yes", "No"),
        ("ImmediateData", "No", "No"),
        ("MaxBurstLength", "262144", "32768"),
        ("MaxBurstLength", "512", "512"),
        ("MaxOutstandingR2T", "8", "2"),
        ("HeaderDigest", "CRC32C,None", "CRC32C"),
        ("HeaderDigest", "None", "None"),
        # SCST takes CRC32C if both sides list it, in any order.
        ("DataDigest", "None,CRC32C", "CRC32C"),
    ],
)
def test_each_key_follows_its_selection_rule(
    connect: Connect, narrow: str, key: str, value: str, answer: str
) -> None:
    assert answers(connect, (key, value), target=narrow) == [answer]


@pytest.mark.parametrize(("offered", "answer"), [("No", "No"), ("Yes", "Yes")])
@pytest.mark.parametrize("key", ["DataPDUInOrder", "DataSequenceInOrder"])
def test_orders_are_kept_where_the_initiator_wants_it(
    connect: Connect, key: str, offered: str, answer: str
) -> None:
    assert answers(connect, (key, offered)) == [answer]


# 13.14: integrity


@pytest.mark.parametrize("order", [1, -1])
def test_first_burst_does_not_exceed_a_burst(connect: Connect, order: int) -> None:
    keys = [("FirstBurstLength", "65536"), ("MaxBurstLength", "4096")][::order]
    assert answers(connect, *keys) == ["4096", "4096"]


def test_first_burst_and_the_default_of_a_burst(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step([*initiator.names(TARGET), ("FirstBurstLength", "1048576")])
    assert int(initiator.keys["FirstBurstLength"]) <= 262144


# 13.25: obsolete keys


@pytest.mark.parametrize("key", ["IFMarker", "OFMarker"])
@pytest.mark.parametrize("value", ["Yes", "No"])
def test_markers_are_refused(connect: Connect, key: str, value: str) -> None:
    assert answers(connect, (key, value)) == ["No"]


@pytest.mark.parametrize("key", ["IFMarkInt", "OFMarkInt"])
def test_marker_intervals_are_rejected(connect: Connect, key: str) -> None:
    assert answers(connect, (key, "2048~8192")) == ["Reject"]


def test_node_architecture_does_not_matter(connect: Connect) -> None:
    assert answers(connect, ("X#NodeArchitecture", "ExampleOS/v1234")) == ["NotUnderstood"]


# 7.4.1, 13.2, 13.21: discovery sessions


@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("ErrorRecoveryLevel", "2", "0"),
        ("MaxConnections", "4", "Irrelevant"),
        ("InitialR2T", "No", "Irrelevant"),
        ("ImmediateData", "Yes", "Irrelevant"),
        ("MaxBurstLength", "65536", "Irrelevant"),
        ("TaskReporting", "RFC3720", "Irrelevant"),
        ("HeaderDigest", "CRC32C,None", "None"),
        ("DefaultTime2Wait", "0", "0"),
    ],
)
def test_keys_of_discovery_sessions(connect: Connect, key: str, value: str, answer: str) -> None:
    assert answers(connect, (key, value), target=None) == [answer]


# 12, 13: in which stage a key may be sent


@pytest.mark.parametrize("key", ["MaxBurstLength", "HeaderDigest", "InitialR2T"])
def test_operational_keys_are_irrelevant_in_the_security_stage(connect: Connect, key: str) -> None:
    initiator = connect()
    text = [*initiator.names(TARGET), ("AuthMethod", "None"), (key, "65536")]
    _, pairs = initiator.login_step(text, csg=0)
    assert dict(pairs)[key] == "Irrelevant"


def test_authentication_keys_are_irrelevant_in_the_operational_stage(connect: Connect) -> None:
    assert answers(connect, ("AuthMethod", "None"), ("CHAP_A", "5")) == ["Irrelevant", "Irrelevant"]


@pytest.mark.parametrize("key", ["TargetAlias", "TargetAddress", "TargetPortalGroupTag"])
def test_what_only_a_target_declares_is_rejected(connect: Connect, key: str) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    _, pairs = initiator.login_step([(key, "1")])
    assert pairs == [(key, "Reject")]


# The results hold


def test_defaults_hold_where_nothing_was_offered(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET), transit=True)
    initiator.offers = {"MaxRecvDataSegmentLength": "8192"}
    for _ in range(1):
        initiator.command("000000000000")
    task = initiator.command("28000000000000002000", expect=16384)
    assert [len(pdu.data) for pdu in task.data_pdus] == [8192, 8192]
    # InitialR2T=Yes: all data except immediate data is requested.
    task = initiator.command("2a000000000000002000", data_out=bytes(16384))
    assert task.status == 0
    assert [pdu["buffer_offset"] for pdu in task.r2ts] == [8192]


def test_private_keys_do_not_disturb(log_in: LogIn) -> None:
    initiator = log_in(keys=[("X-org.example.mode", "fast")])
    assert initiator.keys["X-org.example.mode"] == "NotUnderstood"
    assert initiator.command("000000000000").status == 0
