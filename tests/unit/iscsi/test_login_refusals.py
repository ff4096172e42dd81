"""Refused logins, and existing sessions."""

from __future__ import annotations

import pytest

from scstfs.iscsi.admission import ExistingSession, Redirect
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.errors import LoginRefused
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.iscsi_login import NAME, OPERATIONAL, SECURITY, LoginError, Pairs
from tests.support.iscsi_socket import ClosedError
from tests.support.login_fakes import DISK, JOE, NORMAL, FakeHost, FakeTarget, client, refusal


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
        """The first fault of a text is reported, in SCST's order of checks."""
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


def test_initiators_name_is_known_early() -> None:
    initiator, stream = client(FakeHost(refused="not for you"))
    refusal(lambda: initiator.login(DISK))
    assert stream.login.initiator == NAME
