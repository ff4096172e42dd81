"""The login machine, driven by an initiator that has its own codec."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.iscsi.admission import ExistingSession, Redirect
from scstfs.iscsi.chap import Credentials, User
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.errors import LoginRefused
from scstfs.iscsi.login import MAX_REQUESTS, TIMEOUT
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.iscsi_login import (
    NAME,
    OPERATIONAL,
    OPERATIONAL_KEYS,
    SECURITY,
    Chap,
    LoginClient,
    LoginError,
    Pairs,
    chap_hash,
)
from tests.support.iscsi_socket import ClosedError
from tests.support.iscsi_wire import Pdu
from tests.support.login_fakes import DISK, FakeHost, FakeTarget, LoginStream

JOE = Credentials({"joe": b"joesecret1234"}, User("disk", b"disksecret1234"))
NORMAL: Pairs = [("InitiatorName", NAME), ("TargetName", DISK), ("SessionType", "Normal")]


def client(host: FakeHost | None = None) -> tuple[LoginClient, LoginStream]:
    stream = LoginStream(host)
    return LoginClient(stream), stream


def with_users(users: Credentials = JOE) -> FakeHost:
    return FakeHost(FakeTarget(credentials=users), discovery_credentials=users)


def refusal(attempt: Callable[[], object]) -> int:
    with pytest.raises(LoginError) as caught:
        attempt()
    assert caught.value.response.flags & 0x80 == 0
    return caught.value.status


class TestNormalSession:
    def test_security_then_operational(self) -> None:
        initiator, stream = client()
        answers = initiator.login(DISK)
        assert initiator.complaints == []
        assert answers == [
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxBurstLength", "262144"),
            ("FirstBurstLength", "65536"),
            ("MaxOutstandingR2T", "1"),
            ("MaxConnections", "1"),
            ("DefaultTime2Wait", "2"),
            ("DefaultTime2Retain", "0"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
            ("ErrorRecoveryLevel", "0"),
            ("MaxRecvDataSegmentLength", "1048576"),
        ]
        assert initiator.keys["TargetPortalGroupTag"] == "1"
        assert initiator.keys["AuthMethod"] == "None"
        result = stream.result
        assert result.target is stream.host.target
        assert not result.is_discovery
        assert (result.initiator, result.isid, result.cid) == (NAME, initiator.isid, 0)
        assert result.tsih == initiator.tsih == 0x0102
        assert result.replaces is None
        assert result.user is None
        assert result.parameters == SessionParameters(
            initial_r2t=0,
            max_recv_data_segment_length=1048576,
            max_xmit_data_segment_length=262144,
            default_time2retain=0,
        )

    def test_straight_into_the_operational_stage(self) -> None:
        initiator, stream = client()
        initiator.login(DISK, security=False)
        assert initiator.complaints == []
        assert len(stream.steps) == 1
        assert stream.result.parameters.max_xmit_data_segment_length == 262144

    def test_straight_from_security_to_full_feature_phase(self) -> None:
        initiator, stream = client()
        response, _ = initiator.login_step(
            [*NORMAL, ("AuthMethod", "None")], csg=SECURITY, nsg=3, transit=True
        )
        assert response.flags == 0x83
        assert stream.result.parameters == SessionParameters()

    def test_no_authmethod_is_needed_where_nobody_has_to_authenticate(self) -> None:
        initiator, stream = client()
        initiator.login_step(NORMAL, csg=SECURITY, nsg=3, transit=True)
        assert stream.result.target is stream.host.target

    def test_session_type_is_normal_unless_said_otherwise(self) -> None:
        initiator, stream = client()
        initiator.login_step(NORMAL[:2], transit=True)
        assert not stream.result.is_discovery

    def test_target_names_are_found_in_any_case(self) -> None:
        initiator, stream = client()
        initiator.login(DISK.upper())
        assert stream.result.target is stream.host.target
        assert stream.host.asked == [(DISK, NAME)]

    def test_alias_is_told_first(self) -> None:
        initiator, _ = client(FakeHost(FakeTarget(alias="The disk")))
        _, pairs = initiator.login_step(
            [*NORMAL, ("AuthMethod", "None")], csg=SECURITY, nsg=1, transit=True
        )
        assert pairs == [
            ("TargetAlias", "The disk"),
            ("TargetPortalGroupTag", "1"),
            ("AuthMethod", "None"),
        ]

    def test_initiators_alias_is_kept(self) -> None:
        initiator, stream = client()
        initiator.login(DISK, keys=[("InitiatorAlias", "host a")])
        assert stream.result.initiator_alias == "host a"

    def test_names_may_be_sent_again(self) -> None:
        initiator, stream = client()
        initiator.login_step([*NORMAL, ("AuthMethod", "None")], csg=SECURITY, nsg=1, transit=True)
        initiator.login_step([*NORMAL, *OPERATIONAL_KEYS], transit=True)
        assert stream.result.initiator == NAME

    def test_several_texts_in_one_stage(self) -> None:
        initiator, stream = client()
        initiator.login_step([*NORMAL, ("ImmediateData", "No")])
        initiator.login_step([("InitialR2T", "No")])
        response, pairs = initiator.login_step(transit=True)
        assert response.flags == 0x87
        assert pairs == []
        assert stream.result.parameters == SessionParameters(initial_r2t=0, immediate_data=0)

    def test_digests(self) -> None:
        target = FakeTarget(parameters={"HeaderDigest": 3, "DataDigest": 3})
        initiator, stream = client(FakeHost(target))
        initiator.login(DISK, keys=[("HeaderDigest", "None,CRC32C"), ("DataDigest", "CRC32C")])
        assert initiator.header_digest
        assert stream.result.parameters.has_header_digest
        assert stream.result.parameters.has_data_digest

    def test_attributes_of_the_target_count(self) -> None:
        target = FakeTarget(
            parameters={
                "MaxBurstLength": 4096,
                "InitialR2T": 1,
                "MaxRecvDataSegmentLength": 1024,
                "MaxXmitDataSegmentLength": 2048,
            }
        )
        initiator, stream = client(FakeHost(target))
        initiator.login(DISK)
        parameters = stream.result.parameters
        assert parameters.max_burst_length == 4096
        assert parameters.first_burst_length == 4096
        assert parameters.initial_r2t
        assert parameters.max_recv_data_segment_length == 1024
        assert parameters.max_xmit_data_segment_length == 2048


class TestNumbers:
    def test_sequence_numbers(self) -> None:
        initiator, stream = client()
        initiator.cmd_sn = 0xFFFFFFFF
        initiator.login(DISK)
        responses = initiator.received(wire.LOGIN_RESPONSE)
        assert [response["stat_sn"] for response in responses] == [0, 1]
        assert {response["exp_cmd_sn"] for response in responses} == {0xFFFFFFFF}
        assert {response["max_cmd_sn"] for response in responses} == {0}
        assert stream.result.stat_sn == 2
        assert stream.result.exp_cmd_sn == 0xFFFFFFFF

    def test_tsih_is_told_in_the_last_response_only(self) -> None:
        initiator, _ = client()
        initiator.login(DISK)
        tsihs = [response["tsih"] for response in initiator.received(wire.LOGIN_RESPONSE)]
        assert tsihs == [0, 0x0102]

    def test_versions_and_tags(self) -> None:
        initiator, _ = client()
        initiator.login(DISK)
        for response in initiator.received(wire.LOGIN_RESPONSE):
            assert response["version_max"] == response["version_active"] == 0
            assert response["itt"] == initiator.login_itt
            assert response.blob("isid") == initiator.isid

    def test_a_later_version_max_is_fine(self) -> None:
        initiator, stream = client()
        initiator.login_step(NORMAL, transit=True, version_max=5)
        assert stream.last.result is not None


class TestDiscoverySession:
    def test_login(self) -> None:
        initiator, stream = client()
        answers = dict(initiator.login(None))
        assert stream.result.is_discovery
        assert stream.result.target is None
        assert answers["MaxBurstLength"] == "Irrelevant"
        assert answers["MaxRecvDataSegmentLength"] == "1048576"
        assert stream.host.asked == []
        assert initiator.complaints == []

    def test_has_users_of_its_own(self) -> None:
        host = FakeHost(discovery_credentials=JOE)
        initiator, stream = client(host)
        initiator.login(None, chap=Chap("joe", b"joesecret1234", target_secret=b"disksecret1234"))
        assert stream.result.user == "joe"
        assert initiator.complaints == []
        assert refusal(lambda: client(host)[0].login(None)) == LoginStatus.AUTHENTICATION_FAILURE
        client(host)[0].login(DISK)

    def test_has_one_connection(self) -> None:
        initiator, _ = client()
        initiator.tsih = 1
        assert refusal(lambda: initiator.login(None)) == LoginStatus.SESSION_DOES_NOT_EXIST


class TestChap:
    @pytest.mark.parametrize("algorithms", ["5", "6", "7", "8", "5,8"])
    def test_one_way(self, algorithms: str) -> None:
        initiator, stream = client(with_users())
        initiator.login(DISK, chap=Chap("joe", b"joesecret1234", algorithms))
        assert stream.result.user == "joe"
        assert initiator.complaints == []

    @pytest.mark.parametrize("use_base64", [False, True], ids=["hex", "base64"])
    def test_mutual(self, use_base64: bool) -> None:
        initiator, stream = client(with_users())
        initiator.login(
            DISK,
            chap=Chap(
                "joe", b"joesecret1234", target_secret=b"disksecret1234", use_base64=use_base64
            ),
        )
        assert initiator.keys["CHAP_N"] == "disk"
        assert stream.result.user == "joe"
        assert initiator.complaints == []

    def test_algorithm_may_come_with_the_method(self) -> None:
        initiator, stream = client(with_users())
        initiator.login(DISK, chap=Chap("joe", b"joesecret1234", together=True))
        assert stream.result.user == "joe"

    def test_transit_is_not_granted_before_the_end(self) -> None:
        initiator, _ = client(with_users())
        for text in ([*NORMAL, ("AuthMethod", "CHAP")], [("CHAP_A", "5")]):
            response, _ = initiator.login_step(text, csg=SECURITY, nsg=1, transit=True)
            assert response.flags == 0

    @pytest.mark.parametrize(
        ("chap", "status"),
        [
            (Chap("joe", b"wrong"), LoginStatus.AUTHENTICATION_FAILURE),
            (Chap("jim", b"joesecret1234"), LoginStatus.AUTHENTICATION_FAILURE),
            (Chap("joe", b"joesecret1234", "4"), LoginStatus.INITIATOR_ERROR),
        ],
        ids=["secret", "user", "algorithm"],
    )
    def test_refused(self, chap: Chap, status: LoginStatus) -> None:
        initiator, stream = client(with_users())
        assert refusal(lambda: initiator.login(DISK, chap=chap)) == status
        assert stream.last.close
        assert "joesecret1234" not in repr(stream.steps)

    def test_reflection_is_refused(self) -> None:
        initiator, _ = client(with_users())
        chap = Chap(
            "joe",
            b"joesecret1234",
            target_secret=b"?",
            challenge=bytes(range(1, 33)),  # ours, as not_random makes it
        )
        assert refusal(lambda: initiator.login(DISK, chap=chap)) == LoginStatus.INITIATOR_ERROR

    def test_nobody_gets_in_without(self) -> None:
        required = LoginStatus.AUTHENTICATION_FAILURE
        for security in (True, False):
            initiator, _ = client(with_users())
            assert refusal(lambda: initiator.login(DISK, security=security)) == required  # noqa: B023
        initiator, _ = client(with_users())
        assert refusal(lambda: initiator.login_step(NORMAL, csg=SECURITY)) == required

    def test_chap_is_not_taken_where_there_is_no_user(self) -> None:
        initiator, _ = client()
        assert (
            refusal(lambda: initiator.login_step([*NORMAL, ("AuthMethod", "CHAP")], csg=SECURITY))
            == LoginStatus.AUTHENTICATION_FAILURE
        )

    def test_none_is_chosen_where_there_is_no_user(self) -> None:
        initiator, stream = client()
        initiator.login(DISK, chap=Chap("joe", b"joesecret1234"))
        assert initiator.keys["AuthMethod"] == "None"
        assert stream.result.user is None

    def test_internal_portals_let_the_operational_stage_pass(self) -> None:
        host = with_users()
        host.is_internal = True
        initiator, stream = client(host)
        initiator.login(DISK, security=False)
        assert stream.result.user is None
        assert refusal(lambda: client(host)[0].login(DISK)) == LoginStatus.AUTHENTICATION_FAILURE

    def test_other_keys_meanwhile(self) -> None:
        initiator, _ = client(with_users())
        initiator.login_step([*NORMAL, ("AuthMethod", "CHAP")], csg=SECURITY)
        _, pairs = initiator.login_step(
            [("CHAP_A", "5"), ("X-a", "1"), ("MaxBurstLength", "512")], csg=SECURITY
        )
        assert pairs[:2] == [("X-a", "NotUnderstood"), ("MaxBurstLength", "Irrelevant")]
        assert [name for name, _ in pairs[2:]] == ["CHAP_A", "CHAP_I", "CHAP_C"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ([], LoginStatus.MISSING_PARAMETER),
            ([("TargetName", DISK)], LoginStatus.MISSING_PARAMETER),
            ([("InitiatorName", NAME)], LoginStatus.MISSING_PARAMETER),
            ([("InitiatorName", ""), ("TargetName", DISK)], LoginStatus.INITIATOR_ERROR),
            ([("InitiatorName", "iqn.X"), ("TargetName", DISK)], LoginStatus.INITIATOR_ERROR),
            ([("InitiatorName", "a" * 224), ("TargetName", DISK)], LoginStatus.INITIATOR_ERROR),
            ([*NORMAL[:2], ("SessionType", "normal")], LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
            ([*NORMAL[:2], ("SessionType", "Boot")], LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
            ([NORMAL[0], ("TargetName", DISK + "2")], LoginStatus.NOT_FOUND),
            ([NORMAL[0], ("TargetName", "")], LoginStatus.MISSING_PARAMETER),
            ([*NORMAL, ("TargetName", "iqn.other")], LoginStatus.INITIATOR_ERROR),
            ([*NORMAL, ("MaxBurstLength", "Reject")], LoginStatus.INITIATOR_ERROR),
            ([*NORMAL, ("ImmediateData", "Yes"), ("ImmediateData", "Yes")], 0x0200),
        ],
    )
    @pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
    def test_first_text(self, csg: int, text: Pairs, status: int) -> None:
        initiator, stream = client()
        if csg == SECURITY:
            text = [*text, ("AuthMethod", "None")]
        attempt = lambda: initiator.login_step(text, csg=csg, nsg=3, transit=True)  # noqa: E731
        assert refusal(attempt) == status
        assert stream.last.close
        assert stream.last.why
        assert stream.last.status == status
        assert stream.host.opened == []

    def test_the_order_of_the_checks(self) -> None:
        """The first fault that a text has is told, in the order that SCST checks."""
        host = FakeHost(
            FakeTarget(credentials=JOE), refused="not for you", redirected=None, room=False
        )
        initiator, _ = client(host)
        assert refusal(lambda: initiator.login(DISK)) == LoginStatus.NOT_FOUND
        host.refused = None
        host.redirected = Redirect("10.0.0.9", 3260, permanent=False)
        initiator, _ = client(host)
        assert refusal(lambda: initiator.login(DISK)) == LoginStatus.TARGET_MOVED_TEMPORARILY
        host.redirected = None
        initiator, _ = client(host)
        initiator.tsih = 9
        assert refusal(lambda: initiator.login(DISK)) == LoginStatus.SESSION_DOES_NOT_EXIST
        initiator, _ = client(host)
        assert refusal(lambda: initiator.login(DISK)) == LoginStatus.OUT_OF_RESOURCES
        host.room = True
        initiator, _ = client(host)
        assert refusal(lambda: initiator.login(DISK)) == LoginStatus.AUTHENTICATION_FAILURE

    def test_disabled_target_gives_no_answer(self) -> None:
        initiator, stream = client(FakeHost(FakeTarget(enabled=False), refused="never asked"))
        with pytest.raises(ClosedError):
            initiator.login(DISK)
        assert stream.last.send == b""
        assert "disabled" in stream.last.why

    @pytest.mark.parametrize(
        ("redirect", "status", "address"),
        [
            (Redirect("10.0.0.9", 3260, permanent=False), 0x0101, "10.0.0.9:3260"),
            (Redirect("[fe80::9]", 3261, permanent=True), 0x0102, "[fe80::9]:3261"),
        ],
    )
    def test_redirection(self, redirect: Redirect, status: int, address: str) -> None:
        initiator, stream = client(FakeHost(redirected=redirect))
        with pytest.raises(LoginError) as caught:
            initiator.login(DISK)
        assert caught.value.status == status
        assert caught.value.response.pairs == [("TargetAddress", address)]
        assert stream.last.close

    def test_version(self) -> None:
        initiator, _ = client()
        attempt = lambda: initiator.login_step(NORMAL, version_min=1, version_max=1)  # noqa: E731
        assert refusal(attempt) == LoginStatus.UNSUPPORTED_VERSION

    def test_the_host_may_refuse_at_the_very_end(self) -> None:
        host = FakeHost(cannot_open=LoginRefused(LoginStatus.OUT_OF_RESOURCES, "MaxSessions"))
        initiator, stream = client(host)
        assert refusal(lambda: initiator.login(DISK)) == LoginStatus.OUT_OF_RESOURCES
        assert stream.last.result is None

    def test_nothing_is_taken_after_a_refusal(self) -> None:
        initiator, stream = client()
        refusal(lambda: initiator.login("iqn.other"))
        step = stream.take(bytes(initiator.login_pdu(NORMAL).header), b"")
        assert (step.send, step.close, step.result) == (b"", True, None)


EXISTING = ExistingSession(
    tsih=7,
    cid=0,
    exp_cmd_sn=500,
    parameters=SessionParameters(max_burst_length=8192, first_burst_length=512, header_digest=2),
)


class TestSessions:
    def test_session_reinstatement(self) -> None:
        initiator, stream = client(FakeHost(existing=EXISTING, room=False))
        initiator.login(DISK)
        assert stream.result.replaces is EXISTING
        assert stream.result.tsih == 0x0102
        assert stream.result.exp_cmd_sn == 1
        assert stream.result.parameters.max_burst_length == 262144

    def test_connection_reinstatement(self) -> None:
        initiator, stream = client(FakeHost(existing=EXISTING, room=False))
        initiator.tsih = 7
        initiator.exp_cmd_sn = initiator.max_cmd_sn = 500
        answers = dict(initiator.login(DISK))
        assert initiator.complaints == []
        assert answers["MaxBurstLength"] == "Irrelevant"
        assert answers["HeaderDigest"] == "None"
        result = stream.result
        assert result.replaces is EXISTING
        assert result.tsih == EXISTING.tsih
        assert result.exp_cmd_sn == 500
        assert result.parameters == SessionParameters(
            max_burst_length=8192,
            first_burst_length=512,
            max_recv_data_segment_length=1048576,
            max_xmit_data_segment_length=262144,
        )
        tsihs = {response["tsih"] for response in initiator.received(wire.LOGIN_RESPONSE)}
        assert tsihs == {7}

    @pytest.mark.parametrize(
        ("existing", "tsih", "cid", "status"),
        [
            (None, 7, 0, LoginStatus.SESSION_DOES_NOT_EXIST),
            (EXISTING, 8, 0, LoginStatus.SESSION_DOES_NOT_EXIST),
            (EXISTING, 7, 1, LoginStatus.TOO_MANY_CONNECTIONS),
        ],
        ids=["no-session", "other-session", "second-connection"],
    )
    def test_no_such_session(
        self, existing: ExistingSession | None, tsih: int, cid: int, status: LoginStatus
    ) -> None:
        initiator, _ = client(FakeHost(existing=existing))
        initiator.tsih, initiator.cid = tsih, cid
        assert refusal(lambda: initiator.login(DISK)) == status


class TestWrongPdus:
    def test_anything_before_login_is_dropped(self) -> None:
        for opcode in set(range(64)) - {wire.LOGIN_REQUEST}:
            initiator, stream = client()
            initiator.send(Pdu.make(opcode, immediate=True))
            assert stream.last.send == b""
            assert stream.last.close

    @pytest.mark.parametrize("opcode", [wire.NOP_OUT, wire.SCSI_COMMAND, wire.TEXT_REQUEST, 0x3E])
    def test_anything_else_during_login_is_refused(self, opcode: int) -> None:
        initiator, _ = client()
        initiator.login_step(NORMAL)
        initiator.send(Pdu.make(opcode, itt=5, flags=0x80))
        response = initiator.receive()
        assert response["status"] == LoginStatus.INVALID_DURING_LOGIN
        assert response["itt"] == initiator.login_itt

    def test_not_immediate(self) -> None:
        initiator, stream = client()
        pdu = initiator.login_pdu(NORMAL)
        pdu["opcode"] = wire.LOGIN_REQUEST
        initiator.send(pdu)
        reject = initiator.receive()
        assert (reject.opcode, reject["reason"]) == (wire.REJECT, 4)
        assert reject.data == bytes(pdu.header)
        assert stream.last.close

    @pytest.mark.parametrize(
        ("flags", "second"),
        [
            (0x08, False),  # CSG is reserved
            (0x0C, False),  # CSG is full feature phase
            (0xC5, False),  # both T and C
            (0x86, False),  # NSG is reserved
            (0x84, False),  # NSG goes back
            (0x85, False),  # NSG stays
            (0x80, False),
            (0x00, True),  # back to the security stage
            (0x0C, True),
        ],
    )
    def test_stages(self, flags: int, second: bool) -> None:
        initiator, _ = client()
        if second:
            initiator.login_step(NORMAL)
        text = [] if second else NORMAL
        attempt = lambda: initiator.login_step(text, flags=flags)  # noqa: E731
        assert refusal(attempt) == LoginStatus.INITIATOR_ERROR

    @pytest.mark.parametrize("field", ["itt", "cid", "tsih", "isid", "version_max", "version_min"])
    def test_what_must_not_change(self, field: str) -> None:
        initiator, _ = client()
        initiator.login_step(NORMAL)
        options: dict[str, Any] = {field: 1}
        assert refusal(lambda: initiator.login_step([], **options)) == LoginStatus.INITIATOR_ERROR

    def test_additional_headers(self) -> None:
        initiator, _ = client()
        pdu = initiator.login_pdu(NORMAL)
        pdu.ahs = bytes(4)
        pdu["ahs_length"] = 1
        initiator.send(pdu)
        assert initiator.receive()["status"] == LoginStatus.INITIATOR_ERROR

    @pytest.mark.parametrize("data", [b"A=1", b"A\0", b"=\0", b"A=\xff" + b"x" * 5000 + b"\0"])
    def test_malformed_text(self, data: bytes) -> None:
        initiator, _ = client()
        assert refusal(lambda: initiator.login_step(data)) == LoginStatus.INITIATOR_ERROR

    def test_reserved_fields_do_not_matter(self) -> None:
        initiator, stream = client()
        pdu = initiator.login_pdu(NORMAL, transit=True)
        pdu.header[22:24] = b"\xff\xff"
        pdu.header[32:48] = b"\xff" * 16
        initiator.send(pdu)
        assert stream.last.result is not None


class TestText:
    @pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 500])
    def test_any_cut(self, cut: int) -> None:
        host = with_users()
        initiator, stream = client(host)
        initiator.login(DISK, chap=Chap("joe", b"joesecret1234"), cut=cut)
        assert stream.result.user == "joe"
        assert stream.result.parameters.max_xmit_data_segment_length == 262144
        assert initiator.complaints == []

    def test_every_place_to_cut(self) -> None:
        text = wire.text_of([*NORMAL, ("ImmediateData", "No")])
        for at in range(len(text) + 1):
            initiator, stream = client()
            initiator.send(initiator.login_pdu(text[:at], more=True))
            first = initiator.receive()
            assert (first.data, first.flags) == (b"", 0x04)
            initiator.send(initiator.login_pdu(text[at:], transit=True))
            assert stream.result.parameters.immediate_data == 0

    def test_long_answers_are_cut_too(self) -> None:
        initiator, stream = client()
        keys = [(f"X-{number:060}", "1") for number in range(256 - len(NORMAL))]
        response, pairs = initiator.login_step([*NORMAL, *keys], transit=True, cut=8000)
        assert pairs[1:] == [(name, "NotUnderstood") for name, _ in keys]
        assert response.flags == 0x87
        pieces = [pdu for pdu in initiator.received(wire.LOGIN_RESPONSE) if pdu.data]
        assert [pdu.flags & 0xC0 for pdu in pieces] == [0x40, 0x40, 0x80]
        assert [len(pdu.data) for pdu in pieces[:-1]] == [8192, 8192]
        assert stream.last.result is not None

    def test_text_in_the_middle_of_our_answer(self) -> None:
        initiator, _ = client()
        keys = [(f"X-{number:060}", "1") for number in range(200)]
        for piece in (wire.text_of(NORMAL), wire.text_of(keys)[:8000]):
            initiator.send(initiator.login_pdu(piece, more=True))
            initiator.receive()
        initiator.send(initiator.login_pdu(wire.text_of(keys)[8000:]))
        assert initiator.receive().flags == 0x44
        assert refusal(lambda: initiator.login_step([("A", "1")])) == LoginStatus.INITIATOR_ERROR

    def test_text_without_end(self) -> None:
        initiator, stream = client()
        pdu = initiator.login_pdu(b"A=" + bytes(8190), more=True)
        for _ in range(8):
            initiator.send(pdu)
            assert initiator.receive()["status"] == 0
        initiator.send(pdu)
        assert initiator.receive()["status"] == LoginStatus.INITIATOR_ERROR
        assert stream.last.close

    def test_login_without_end(self) -> None:
        initiator, stream = client()
        initiator.login_step(NORMAL)
        empty = initiator.login_pdu()
        for _ in range(MAX_REQUESTS - 1):
            initiator.send(empty)
            initiator.receive()
        initiator.send(empty)
        assert (stream.last.send, stream.last.close) == (b"", True)

    def test_more_than_8192_bytes_in_a_pdu(self) -> None:
        initiator, stream = client()
        initiator.send(initiator.login_pdu(b"A=" + b"1" * 8190 + b"\0"))
        assert (stream.last.send, stream.last.close) == (b"", True)

    @pytest.mark.parametrize(
        "pairs",
        [
            [("AuthMethod", "None"), ("AuthMethod", "None")],
            [("AuthMethod", "CHAP"), ("CHAP_A", "5"), ("CHAP_A", "5")],
        ],
    )
    def test_authentication_keys_once(self, pairs: Pairs) -> None:
        initiator, _ = client(with_users() if pairs[0][1] == "CHAP" else None)
        attempt = lambda: initiator.login_step([*NORMAL, *pairs], csg=SECURITY)  # noqa: E731
        assert refusal(attempt) == LoginStatus.INITIATOR_ERROR

    @pytest.mark.parametrize("method", ["CHAP", "None"])
    def test_method_is_chosen_once(self, method: str) -> None:
        initiator, _ = client(with_users() if method == "CHAP" else None)
        initiator.login_step([*NORMAL, ("AuthMethod", method)], csg=SECURITY)
        attempt = lambda: initiator.login_step([("AuthMethod", method)], csg=SECURITY)  # noqa: E731
        assert refusal(attempt) == LoginStatus.INITIATOR_ERROR

    def test_what_does_not_belong_in_a_stage(self) -> None:
        initiator, _ = client()
        _, pairs = initiator.login_step(
            [*NORMAL, ("AuthMethod", "None"), ("CHAP_A", "5"), ("SendTargets", "All")],
            csg=SECURITY,
            nsg=1,
            transit=True,
        )
        assert pairs[2:] == [("SendTargets", "Irrelevant"), ("CHAP_A", "Irrelevant")]
        _, pairs = initiator.login_step([("AuthMethod", "None"), ("TargetAddress", "x")])
        assert pairs == [("AuthMethod", "Irrelevant"), ("TargetAddress", "Reject")]

    def test_our_declarations_may_not_be_understood(self) -> None:
        initiator, stream = client(FakeHost(FakeTarget(alias="a")))
        initiator.login_step([*NORMAL, ("MaxRecvDataSegmentLength", "8192")])
        _, pairs = initiator.login_step(
            [
                ("TargetAlias", "NotUnderstood"),
                ("TargetPortalGroupTag", "NotUnderstood"),
                ("MaxRecvDataSegmentLength", "Irrelevant"),
            ],
            transit=True,
        )
        assert pairs == []
        assert stream.last.result is not None


class TestExamplesOfTheStandard:
    """RFC 7143 appendix A: who sends what with which stages, and the flags that come back."""

    def exchange(self, host: FakeHost, steps: list[tuple[int, Pairs, int, Pairs]]) -> LoginStream:
        initiator, stream = client(host)
        for flags, text, answered_flags, answers in steps:
            response, pairs = initiator.login_step(text, flags=flags)
            assert (response.flags, pairs) == (answered_flags, answers)
        return stream

    def test_one_way_chap(self) -> None:
        challenge = bytes(range(1, 33))
        answer = chap_hash("7", 1, b"joesecret1234", challenge)
        stream = self.exchange(
            with_users(),
            [
                (
                    0x81,
                    [*NORMAL, ("AuthMethod", "KRB5,SRP,CHAP,None")],
                    0x00,
                    [("TargetPortalGroupTag", "1"), ("AuthMethod", "CHAP")],
                ),
                (
                    0x00,
                    [("CHAP_A", "5,7")],
                    0x00,
                    [("CHAP_A", "7"), ("CHAP_I", "1"), ("CHAP_C", "0x" + challenge.hex())],
                ),
                (0x81, [("CHAP_N", "joe"), ("CHAP_R", "0x" + answer.hex())], 0x81, []),
                (0x04, [("HeaderDigest", "None")], 0x04, [("HeaderDigest", "None")]),
                (0x87, [("ImmediateData", "No")], 0x87, [("ImmediateData", "No")]),
            ],
        )
        assert stream.result.user == "joe"
        assert stream.result.stat_sn == 5

    def test_no_security_stage(self) -> None:
        stream = self.exchange(
            FakeHost(),
            [
                (
                    0x04,
                    [*NORMAL, ("InitialR2T", "No")],
                    0x04,
                    [("TargetPortalGroupTag", "1"), ("InitialR2T", "No")],
                ),
                (0x87, [("MaxBurstLength", "8192")], 0x87, [("MaxBurstLength", "8192")]),
            ],
        )
        assert stream.result.parameters.max_burst_length == 8192

    def test_nothing_to_negotiate(self) -> None:
        self.exchange(
            FakeHost(),
            [
                (
                    0x83,
                    [*NORMAL, ("AuthMethod", "SRP,None")],
                    0x83,
                    [("TargetPortalGroupTag", "1"), ("AuthMethod", "None")],
                )
            ],
        )

    def test_the_initiator_is_not_ready_to_go_on(self) -> None:
        self.exchange(
            FakeHost(),
            [
                (
                    0x00,
                    [*NORMAL, ("AuthMethod", "None")],
                    0x00,
                    [("TargetPortalGroupTag", "1"), ("AuthMethod", "None")],
                ),
                (0x00, [], 0x00, []),
                (0x81, [], 0x81, []),
                (0x87, [], 0x87, []),
            ],
        )


class TestTime:
    def test_deadline(self) -> None:
        initiator, stream = client()
        assert stream.login.deadline == 1000.0 + TIMEOUT
        initiator.login_step(NORMAL)
        stream.now += TIMEOUT
        with pytest.raises(ClosedError):
            initiator.login_step(transit=True)
        assert stream.last.send == b""

    def test_expire(self) -> None:
        _, stream = client()
        step = stream.login.expire()
        assert step.close
        assert step.why
        assert stream.take(bytes(48), b"").close


def test_initiators_name_is_known_early() -> None:
    initiator, stream = client(FakeHost(refused="not for you"))
    refusal(lambda: initiator.login(DISK))
    assert stream.login.initiator == NAME


pdus = st.tuples(st.binary(min_size=48, max_size=48), st.binary(max_size=200))


@given(st.lists(pdus, max_size=5))
def test_any_pdus_are_answered_or_dropped(sequence: list[tuple[bytes, bytes]]) -> None:
    stream = LoginStream(with_users())
    for header, data in sequence:
        step = stream.take(header, data)
        assert step.result is None
        if step.close:
            return


texts = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [wire.text_of(pairs) for pairs in (NORMAL, OPERATIONAL_KEYS, [("AuthMethod", "None,CHAP")])]
        + [
            wire.text_of([("CHAP_A", "5,7")]),
            wire.text_of([("CHAP_N", "joe"), ("CHAP_R", "0x00")]),
            wire.text_of([*NORMAL, *OPERATIONAL_KEYS]),
            b"",
        ]
    ),
)
requests = st.tuples(st.sampled_from([0x43, 0x43, 0x43, 0x03, 0x04]), st.integers(0, 255), texts)


@settings(max_examples=80)
@given(st.lists(requests, max_size=6), st.booleans())
def test_any_login_ends_well_or_in_a_status(
    sequence: list[tuple[int, int, bytes]], users: bool
) -> None:
    """Nobody gets in without the secret; every response is a well-formed PDU."""
    stream = LoginStream(with_users() if users else FakeHost())
    for opcode, flags, text in sequence:
        header = Pdu.make(wire.LOGIN_REQUEST, data=text, flags=flags, itt=9).header
        header[0] = opcode
        step = stream.take(bytes(header), text)
        if step.send:
            length = int.from_bytes(step.send[5:8], "big")
            assert len(step.send) == 48 + (length + 3 & ~3)
            assert step.send[0] in (0x23, 0x3F)
        if step.result is not None:
            assert not users
            assert len(stream.host.opened) == 1
            return
        if step.close:
            return


def test_cutting_the_stream_changes_nothing() -> None:
    """The same bytes in one piece and byte by byte give the same answers."""
    initiator, whole = client()
    initiator.login(DISK)
    sent = b"".join(entry.raw for entry in initiator.record if entry.sent)
    pieces = LoginStream()
    for byte in sent:
        pieces.sendall(bytes([byte]))
    assert [step.send for step in pieces.steps] == [step.send for step in whole.steps]


def test_combinations_of_stage_flags_never_skip_authentication() -> None:
    for first, second in itertools.product(range(256), (0x00, 0x81, 0x83, 0x87)):
        initiator, stream = client(with_users())
        for flags in (first, second):
            text = NORMAL if flags == first else OPERATIONAL_KEYS
            pdu = initiator.login_pdu(text, flags=flags)
            if stream.take(bytes(pdu.header), pdu.data).close:
                break
        assert stream.host.opened == []
