"""The login machine, driven by an initiator that has its own codec."""

from __future__ import annotations

import pytest

from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.login import TIMEOUT
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.iscsi_login import NAME, OPERATIONAL_KEYS, SECURITY, Chap, Pairs, chap_hash
from tests.support.iscsi_socket import ClosedError
from tests.support.login_fakes import (
    DISK,
    JOE,
    NORMAL,
    FakeHost,
    FakeTarget,
    LoginStream,
    client,
    refusal,
    with_users,
)


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
        assert result.target is not None
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
        assert stream.result.target is not None

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

    def test_initiators_alias_is_not_answered(self) -> None:
        initiator, _ = client()
        _, pairs = initiator.login_step(
            [*NORMAL, ("InitiatorAlias", "host a")], csg=SECURITY, nsg=1, transit=True
        )
        assert pairs == [("TargetPortalGroupTag", "1")]

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
        assert stream.result.target is None
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


class TestExamplesOfTheStandard:
    """RFC 7143 appendix A: texts and stages of both sides, and the flags of the responses."""

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
                    [("CHAP_A", "7,5")],
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
