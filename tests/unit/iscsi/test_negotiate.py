from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.keys import KEYS, Digest, KeyKind, KeyPhase
from scstfs.iscsi.negotiate import Negotiation, SessionParameters, without_connection
from scstfs.iscsi.text_format import Pairs

BOTH_DIGESTS = {"HeaderDigest": 3, "DataDigest": 3}


def operational(
    pairs: Pairs, ours: Mapping[str, int] | None = None, *, discovery: bool = False
) -> Pairs:
    return Negotiation(ours or {}, discovery=discovery).answer(pairs, KeyPhase.OPERATIONAL)


ANSWERS = [
    # name, offered, our attributes, answered
    ("InitialR2T", "No", {}, "No"),
    ("InitialR2T", "Yes", {}, "Yes"),
    ("InitialR2T", "No", {"InitialR2T": 1}, "Yes"),
    ("InitialR2T", "no", {}, "Reject"),
    ("ImmediateData", "Yes", {}, "Yes"),
    ("ImmediateData", "No", {}, "No"),
    ("ImmediateData", "Yes", {"ImmediateData": 0}, "No"),
    ("MaxBurstLength", "262144", {}, "262144"),
    ("MaxBurstLength", "16776192", {}, "1048576"),
    ("MaxBurstLength", "262144", {"MaxBurstLength": 4096}, "4096"),
    ("MaxBurstLength", "0x8000", {}, "32768"),
    ("MaxBurstLength", "0", {}, "512"),
    ("MaxBurstLength", "99999999999", {}, "1048576"),
    ("MaxBurstLength", "512k", {}, "Reject"),
    ("MaxBurstLength", "", {}, "Reject"),
    ("MaxBurstLength", "-1", {}, "Reject"),
    ("FirstBurstLength", "262144", {}, "65536"),
    ("FirstBurstLength", "1048576", {"FirstBurstLength": 1048576}, "262144"),
    ("MaxOutstandingR2T", "1", {}, "1"),
    ("MaxOutstandingR2T", "64", {}, "32"),
    ("MaxConnections", "8", {}, "1"),
    ("ErrorRecoveryLevel", "2", {}, "0"),
    ("DefaultTime2Wait", "2", {}, "2"),
    ("DefaultTime2Wait", "9999", {}, "3600"),
    ("DefaultTime2Retain", "20", {}, "0"),
    ("DataPDUInOrder", "Yes", {}, "Yes"),
    ("DataPDUInOrder", "No", {}, "No"),
    ("DataSequenceInOrder", "Yes", {}, "Yes"),
    ("HeaderDigest", "None", {}, "None"),
    ("HeaderDigest", "None,CRC32C", {}, "None"),
    ("HeaderDigest", "CRC32C,None", {}, "None"),
    ("HeaderDigest", "CRC32C", {}, "Reject"),
    ("HeaderDigest", "None,CRC32C", BOTH_DIGESTS, "CRC32C"),
    ("HeaderDigest", "CRC32C,None", BOTH_DIGESTS, "CRC32C"),
    ("HeaderDigest", "X-com.example.Sum,None", BOTH_DIGESTS, "None"),
    ("DataDigest", "None", {"DataDigest": 2}, "Reject"),
    ("DataDigest", "CRC32C", {"DataDigest": 2}, "CRC32C"),
    ("TaskReporting", "RFC3720", {}, "RFC3720"),
    ("TaskReporting", "FastAbort,ResponseFence,RFC3720", {}, "ResponseFence"),
    ("TaskReporting", "FastAbort", {}, "Reject"),
    ("iSCSIProtocolLevel", "1", {}, "1"),
    ("iSCSIProtocolLevel", "2", {}, "2"),
    ("iSCSIProtocolLevel", "31", {}, "2"),
    ("IFMarker", "No", {}, "No"),
    ("OFMarker", "Yes", {}, "No"),
    ("IFMarkInt", "2048~8192", {}, "Reject"),
    ("OFMarkInt", "2048", {}, "Reject"),
    ("RDMAExtensions", "No", {}, "No"),
    ("RDMAExtensions", "Yes", {"RDMAExtensions": 1}, "No"),
    ("X-com.example.Feature", "1", {}, "NotUnderstood"),
    ("X#NodeArchitecture", "Linux", {}, "NotUnderstood"),
    ("initialr2t", "No", {}, "NotUnderstood"),
    ("QueuedCommands", "64", {}, "NotUnderstood"),
    ("MaxXmitDataSegmentLength", "512", {}, "NotUnderstood"),
    ("SendTargets", "All", {}, "Irrelevant"),
    ("AuthMethod", "None", {}, "Irrelevant"),
    ("CHAP_A", "5", {}, "Irrelevant"),
    ("TargetAlias", "mine", {}, "Reject"),
]


@pytest.mark.parametrize(("name", "offered", "ours", "answered"), ANSWERS)
def test_answer(name: str, offered: str, ours: Mapping[str, int], answered: str) -> None:
    assert operational([(name, offered)], ours) == [(name, answered)]


@pytest.mark.parametrize("name", [name for name in KEYS if KEYS[name].kind is KeyKind.LIST])
@pytest.mark.parametrize("spoiled", ["{},,{}", ",{}", "{},", "", ","])
def test_a_list_with_an_empty_value_is_rejected(name: str, spoiled: str) -> None:
    choices = KEYS[name].choices
    assert operational([(name, spoiled.format(*choices))], BOTH_DIGESTS) == [(name, "Reject")]


@pytest.mark.parametrize("name", [name for name in KEYS if KEYS[name].clause])
def test_no_key_of_the_standard_is_not_understood(name: str) -> None:
    """RFC 7143 6.2: NotUnderstood is a protocol error for these."""
    for phase in (KeyPhase.SECURITY, KeyPhase.OPERATIONAL, KeyPhase.FULL_FEATURE):
        answers = Negotiation({}).answer([(name, "1")], phase)
        assert (name, "NotUnderstood") not in answers


def test_names_are_not_answered() -> None:
    assert operational([("InitiatorName", "iqn.x"), ("InitiatorAlias", "a")]) == []


def test_answers_keep_the_order_of_the_offers() -> None:
    offers = [("FirstBurstLength", "262144"), ("X-a", "1"), ("MaxBurstLength", "4096")]
    assert operational(offers) == [
        ("FirstBurstLength", "4096"),
        ("X-a", "NotUnderstood"),
        ("MaxBurstLength", "4096"),
    ]


def test_first_burst_never_exceeds_a_burst_agreed_on_later() -> None:
    negotiation = Negotiation({})
    negotiation.answer([("FirstBurstLength", "65536")], KeyPhase.OPERATIONAL)
    negotiation.answer([("MaxBurstLength", "1024")], KeyPhase.OPERATIONAL)
    assert negotiation.result().first_burst_length == 1024


def test_nothing_offered_leaves_the_standards_defaults() -> None:
    negotiation = Negotiation({"MaxBurstLength": 4096, "InitialR2T": 0})
    assert negotiation.answer([], KeyPhase.OPERATIONAL) == []
    assert negotiation.result() == SessionParameters()


def test_rejected_values_leave_the_default() -> None:
    negotiation = Negotiation({})
    negotiation.answer([("MaxBurstLength", "?"), ("InitialR2T", "?")], KeyPhase.OPERATIONAL)
    assert negotiation.result() == SessionParameters()


def test_full_result() -> None:
    negotiation = Negotiation(BOTH_DIGESTS)
    negotiation.answer(
        [
            ("InitialR2T", "No"),
            ("ImmediateData", "No"),
            ("MaxRecvDataSegmentLength", "65536"),
            ("MaxBurstLength", "131072"),
            ("FirstBurstLength", "32768"),
            ("MaxOutstandingR2T", "4"),
            ("DataPDUInOrder", "No"),
            ("DataSequenceInOrder", "No"),
            ("HeaderDigest", "CRC32C"),
            ("DataDigest", "CRC32C,None"),
            ("DefaultTime2Wait", "0"),
            ("DefaultTime2Retain", "0"),
            ("TaskReporting", "ResponseFence"),
        ],
        KeyPhase.OPERATIONAL,
    )
    result = negotiation.result()
    assert result == SessionParameters(
        initial_r2t=0,
        immediate_data=0,
        max_recv_data_segment_length=1048576,
        max_xmit_data_segment_length=65536,
        max_burst_length=131072,
        first_burst_length=32768,
        max_outstanding_r2t=4,
        data_pdu_in_order=0,
        data_sequence_in_order=0,
        header_digest=Digest.CRC32C,
        data_digest=Digest.CRC32C,
        default_time2wait=0,
        default_time2retain=0,
        task_reporting=2,
    )
    assert result.has_header_digest
    assert result.has_data_digest
    assert not SessionParameters().has_header_digest
    assert not SessionParameters().has_data_digest


class TestDeclaredSegmentLength:
    NAME = "MaxRecvDataSegmentLength"

    def test_ours_follows_theirs_once(self) -> None:
        negotiation = Negotiation({self.NAME: 131072, "MaxXmitDataSegmentLength": 16384})
        answers = negotiation.answer(
            [(self.NAME, "262144"), ("InitialR2T", "No")], KeyPhase.OPERATIONAL
        )
        assert answers == [("InitialR2T", "No"), (self.NAME, "131072")]
        assert negotiation.answer([], KeyPhase.OPERATIONAL) == []
        assert negotiation.result().max_recv_data_segment_length == 131072
        assert negotiation.result().max_xmit_data_segment_length == 16384

    def test_undeclared_is_8192_both_ways(self) -> None:
        negotiation = Negotiation({})
        negotiation.answer([("InitialR2T", "No")], KeyPhase.OPERATIONAL)
        assert negotiation.result().max_recv_data_segment_length == 8192
        assert negotiation.result().max_xmit_data_segment_length == 8192

    @pytest.mark.parametrize(
        ("declared", "limit"),
        [("512", 512), ("0", 512), ("16777215", 1048576), ("999999999", 1048576)],
    )
    def test_limits(self, declared: str, limit: int) -> None:
        negotiation = Negotiation({})
        negotiation.answer([(self.NAME, declared)], KeyPhase.OPERATIONAL)
        assert negotiation.result().max_xmit_data_segment_length == limit

    def test_malformed(self) -> None:
        negotiation = Negotiation({})
        assert negotiation.answer([(self.NAME, "8k")], KeyPhase.OPERATIONAL) == [
            (self.NAME, "Reject")
        ]
        assert negotiation.result() == SessionParameters()

    def test_the_initiator_may_not_understand_ours(self) -> None:
        negotiation = Negotiation({})
        negotiation.answer([(self.NAME, "8192")], KeyPhase.OPERATIONAL)
        assert negotiation.answer([(self.NAME, "NotUnderstood")], KeyPhase.OPERATIONAL) == []

    def test_in_full_feature_phase_theirs_changes_and_ours_stays(self) -> None:
        agreed = SessionParameters(max_recv_data_segment_length=1048576, max_burst_length=512)
        negotiation = Negotiation({}, agreed=agreed)
        assert negotiation.answer([(self.NAME, "4096")], KeyPhase.FULL_FEATURE) == []
        assert negotiation.result() == SessionParameters(
            max_recv_data_segment_length=1048576,
            max_xmit_data_segment_length=4096,
            max_burst_length=512,
            first_burst_length=512,
        )


@pytest.mark.parametrize(
    "pairs",
    [
        [("InitialR2T", "No"), ("InitialR2T", "No")],
        [("X-a", "1"), ("X-a", "1")],
        [("MaxRecvDataSegmentLength", "512"), ("MaxRecvDataSegmentLength", "1024")],
        [("MaxBurstLength", "Reject")],
        [("MaxBurstLength", "Irrelevant")],
        [("X-a", "NotUnderstood")],
        [("InitiatorName", "Reject")],
        [("MaxRecvDataSegmentLength", "NotUnderstood")],
    ],
)
def test_what_ends_a_negotiation(pairs: Pairs) -> None:
    with pytest.raises(ProtocolError):
        operational(pairs)


def test_twice_counts_over_all_texts() -> None:
    negotiation = Negotiation({})
    negotiation.answer([("InitialR2T", "No")], KeyPhase.OPERATIONAL)
    with pytest.raises(ProtocolError, match="InitialR2T is negotiated twice"):
        negotiation.answer([("InitialR2T", "No")], KeyPhase.OPERATIONAL)


def test_number_of_keys_is_bounded() -> None:
    negotiation = Negotiation({})
    for start in (0, 256):
        negotiation.answer(
            [(f"X-{number}", "1") for number in range(start, start + 256)], KeyPhase.OPERATIONAL
        )
    with pytest.raises(ProtocolError, match="512 keys"):
        negotiation.answer([("X-one-more", "1")], KeyPhase.OPERATIONAL)


def test_announced_keys_may_be_refused() -> None:
    negotiation = Negotiation({})
    negotiation.announce("TargetAlias")
    assert negotiation.answer([("TargetAlias", "NotUnderstood")], KeyPhase.OPERATIONAL) == []
    with pytest.raises(ProtocolError):
        negotiation.answer([("TargetAddress", "NotUnderstood")], KeyPhase.OPERATIONAL)


def test_operational_keys_wait_for_their_stage() -> None:
    negotiation = Negotiation({})
    assert negotiation.answer(
        [("MaxBurstLength", "512"), ("MaxRecvDataSegmentLength", "512"), ("X-a", "1")],
        KeyPhase.SECURITY,
    ) == [
        ("MaxBurstLength", "Irrelevant"),
        ("MaxRecvDataSegmentLength", "Irrelevant"),
        ("X-a", "NotUnderstood"),
    ]
    assert negotiation.result() == SessionParameters()


def test_full_feature_phase_rejects_what_only_login_decides() -> None:
    negotiation = Negotiation({}, agreed=SessionParameters())
    assert negotiation.answer(
        [("MaxBurstLength", "512"), ("InitiatorName", "x"), ("HeaderDigest", "CRC32C")],
        KeyPhase.FULL_FEATURE,
    ) == [("MaxBurstLength", "Reject"), ("InitiatorName", "Reject"), ("HeaderDigest", "Reject")]


DISCOVERY = [
    ("HeaderDigest", "None", "None"),
    ("DefaultTime2Wait", "2", "2"),
    ("ErrorRecoveryLevel", "0", "0"),
    ("IFMarker", "No", "No"),
    ("InitialR2T", "No", "Irrelevant"),
    ("ImmediateData", "Yes", "Irrelevant"),
    ("MaxBurstLength", "262144", "Irrelevant"),
    ("FirstBurstLength", "262144", "Irrelevant"),
    ("MaxOutstandingR2T", "1", "Irrelevant"),
    ("MaxConnections", "1", "Irrelevant"),
    ("DataPDUInOrder", "Yes", "Irrelevant"),
    ("DataSequenceInOrder", "Yes", "Irrelevant"),
    ("TaskReporting", "RFC3720", "Irrelevant"),
    ("iSCSIProtocolLevel", "1", "Irrelevant"),
]


@pytest.mark.parametrize(("name", "offered", "answered"), DISCOVERY)
def test_discovery_session(name: str, offered: str, answered: str) -> None:
    assert operational([(name, offered)], discovery=True) == [(name, answered)]


def test_another_connection_of_a_session_negotiates_only_itself() -> None:
    before = SessionParameters(
        max_burst_length=4096,
        first_burst_length=1024,
        header_digest=Digest.CRC32C,
        max_xmit_data_segment_length=65536,
    )
    negotiation = Negotiation(BOTH_DIGESTS, agreed=without_connection(before))
    answers = negotiation.answer(
        [("MaxBurstLength", "512"), ("DataDigest", "CRC32C"), ("MaxRecvDataSegmentLength", "512")],
        KeyPhase.OPERATIONAL,
    )
    assert answers == [
        ("MaxBurstLength", "Irrelevant"),
        ("DataDigest", "CRC32C"),
        ("MaxRecvDataSegmentLength", "1048576"),
    ]
    assert negotiation.result() == SessionParameters(
        max_burst_length=4096,
        first_burst_length=1024,
        header_digest=Digest.NONE,
        data_digest=Digest.CRC32C,
        max_recv_data_segment_length=1048576,
        max_xmit_data_segment_length=512,
    )


names = st.one_of(st.sampled_from(sorted(KEYS)), st.from_regex(r"X-[a-z]{1,5}", fullmatch=True))
values = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["Yes", "No", "None", "CRC32C", "Reject", "Irrelevant", "512", "0xffffffff"]),
    st.integers(0, 2**70).map(str),
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(names, values), max_size=15), st.sampled_from(list(KeyPhase)), st.booleans()
)
def test_any_pairs_give_answers_within_the_standard_or_a_protocol_error(
    pairs: Pairs, phase: KeyPhase, discovery: bool
) -> None:
    negotiation = Negotiation(BOTH_DIGESTS, discovery=discovery)
    try:
        answers = negotiation.answer(pairs, phase)
    except ProtocolError:
        return
    assert {name for name, _ in answers} <= {name for name, _ in pairs}
    result = negotiation.result()
    assert result.first_burst_length <= result.max_burst_length
    for key in KEYS.values():
        if key.field and key.clause and not key.choices:
            assert key.bounds.low <= getattr(result, key.field) <= key.bounds.high
