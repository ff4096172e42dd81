"""CHAP in the login machine: users that may log in, and that no login succeeds without it."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from scstfs.iscsi.codes import LoginStatus
from tests.support.iscsi_login import OPERATIONAL_KEYS, SECURITY, Chap
from tests.support.login_fakes import DISK, NORMAL, client, refusal, with_users


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

    @pytest.mark.parametrize("method", ["CHAP,,None", ",CHAP", "CHAP,", ""])
    def test_a_list_of_methods_with_an_empty_value(self, method: str) -> None:
        initiator, _ = client(with_users())
        attempt = partial(initiator.login_step, [*NORMAL, ("AuthMethod", method)], csg=SECURITY)
        assert refusal(attempt) == LoginStatus.INITIATOR_ERROR

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
            (Chap("joe", b"joesecret1234", "5,,6"), LoginStatus.INITIATOR_ERROR),
        ],
        ids=["secret", "user", "algorithm", "list"],
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


def test_combinations_of_stage_flags_never_skip_authentication() -> None:
    for first, second in itertools.product(range(256), (0x00, 0x81, 0x83, 0x87)):
        initiator, stream = client(with_users())
        for flags in (first, second):
            text = NORMAL if flags == first else OPERATIONAL_KEYS
            pdu = initiator.login_pdu(text, flags=flags)
            if stream.take(bytes(pdu.header), pdu.data).close:
                break
        assert stream.host.opened == []
