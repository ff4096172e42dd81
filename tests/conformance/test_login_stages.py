"""The login phase: RFC 7143 4.2.4, 6.3, 11.12, 11.13."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.conftest import Connect
from tests.support import iscsi_wire as wire
from tests.support.initiator import ClosedError, Initiator, LoginError
from tests.support.iscsi_login import FULL_FEATURE, OPERATIONAL, SECURITY
from tests.support.iscsi_wire import CONTINUE, FINAL, Pdu
from tests.support.live_target import TARGET, LiveTarget

INITIATOR_ERROR, MISSING, TOO_MANY = 0x0200, 0x0207, 0x0206
REFUSED = pytest.mark.logs("refused")


def refusal(attempt: Callable[[], object], initiator: Initiator) -> int:
    """The status that an attempt is refused with; the connection must be closed then."""
    with pytest.raises(LoginError) as caught:
        attempt()
    assert initiator.wait_closed() == []
    return caught.value.status


# 4.2.4, 11.12: what may be sent when


@REFUSED
@pytest.mark.parametrize("opcode", [wire.NOP_OUT, wire.SCSI_COMMAND, wire.TEXT_REQUEST, 0x1C])
def test_anything_but_a_login_request_first_ends_the_connection(
    connect: Connect, opcode: int
) -> None:
    initiator = connect()
    initiator.send(Pdu.make(opcode, immediate=True, flags=FINAL))
    assert initiator.wait_closed() == []


@REFUSED
@pytest.mark.parametrize("opcode", [wire.NOP_OUT, wire.TEXT_REQUEST, wire.LOGOUT_REQUEST])
def test_anything_else_during_login_is_rejected_as_invalid_during_login(
    connect: Connect, opcode: int
) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    initiator.send(Pdu.make(opcode, immediate=True, flags=FINAL))
    response, *rest = initiator.wait_closed()
    assert (response.opcode, response["status"]) == (wire.LOGIN_RESPONSE, 0x020B)
    assert rest == []


@pytest.mark.logs("not immediate")
def test_a_login_request_is_immediate_or_rejected(connect: Connect) -> None:
    initiator = connect()
    request = initiator.login_pdu(initiator.names(TARGET))
    request.header[0] = wire.LOGIN_REQUEST
    initiator.send(request)
    (reject,) = initiator.wait_closed()
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, 4)
    assert reject.data[:48] == bytes(request.header)


def test_no_second_login_phase_on_a_connection(connect: Connect) -> None:
    initiator = connect()
    initiator.login(TARGET)
    initiator.send(initiator.login_pdu(initiator.names(TARGET)))
    (reject,) = initiator.wait_closed()
    assert (reject.opcode, reject["reason"]) == (wire.REJECT, 4)


# 6.3: names and the first request


@REFUSED
@pytest.mark.parametrize("missing", ["InitiatorName", "TargetName"])
def test_names_are_in_the_first_request(connect: Connect, missing: str) -> None:
    initiator = connect()
    text = [pair for pair in initiator.names(TARGET) if pair[0] != missing]
    assert refusal(lambda: initiator.login_step(text), initiator) == MISSING


def test_a_discovery_session_needs_no_target_name(connect: Connect) -> None:
    initiator = connect()
    initiator.login(None)
    assert TARGET in initiator.send_targets()


@REFUSED
def test_a_session_type_that_is_none(connect: Connect) -> None:
    initiator = connect()
    text = [*initiator.names(TARGET)[:2], ("SessionType", "Party")]
    assert refusal(lambda: initiator.login_step(text), initiator) == 0x0209


def test_names_of_223_bytes_are_taken(connect: Connect) -> None:
    name = "iqn.2005-03.org.example:" + "n" * (223 - 24)
    assert len(name) == 223
    initiator = connect(name=name)
    initiator.login(TARGET)
    assert initiator.ping(b"here").data == b"here"


def test_utf_8_names_are_taken(connect: Connect) -> None:
    initiator = connect(name="iqn.2005-03.org.example:größe")
    initiator.login(TARGET)
    assert initiator.ping(b"here").data == b"here"


@REFUSED
def test_names_longer_than_223_bytes_are_an_initiator_error(connect: Connect) -> None:
    initiator = connect(name="iqn.2005-03.org.example:" + "n" * 200)
    attempt = lambda: initiator.login_step(initiator.names(TARGET))  # noqa: E731
    assert refusal(attempt, initiator) == INITIATOR_ERROR


@REFUSED
def test_a_target_that_does_not_exist(connect: Connect) -> None:
    initiator = connect()
    text = initiator.names("iqn.2005-03.org.example:none")
    assert refusal(lambda: initiator.login_step(text), initiator) == 0x0203


# 6.3, 11.12.3: stages


@pytest.mark.parametrize("security", [True, False], ids=["both stages", "operational only"])
def test_stages_in_their_order(connect: Connect, security: bool) -> None:
    initiator = connect()
    initiator.login(TARGET, security=security)
    assert initiator.ping(b"here").data == b"here"


def test_security_stage_only(connect: Connect) -> None:
    initiator = connect()
    text = [*initiator.names(TARGET), ("AuthMethod", "None")]
    response, _ = initiator.login_step(text, csg=SECURITY, nsg=FULL_FEATURE, transit=True)
    assert (response.flags, bool(response["tsih"])) == (0x83, True)


def test_a_stage_may_be_empty_but_for_the_names(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET), csg=SECURITY, nsg=OPERATIONAL, transit=True)
    response, _ = initiator.login_step(transit=True)
    assert response.flags == 0x87


@REFUSED
@pytest.mark.parametrize(
    ("csg", "nsg"),
    [(2, 3), (3, 3), (SECURITY, SECURITY), (SECURITY, 2), (OPERATIONAL, SECURITY), (1, 1), (1, 2)],
)
def test_transitions_that_the_table_does_not_have(connect: Connect, csg: int, nsg: int) -> None:
    initiator = connect()
    attempt = lambda: initiator.login_step(  # noqa: E731
        initiator.names(TARGET), csg=csg, nsg=nsg, transit=True
    )
    assert refusal(attempt, initiator) == INITIATOR_ERROR


@REFUSED
def test_security_can_not_follow_the_operational_stage(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    attempt = lambda: initiator.login_step(csg=SECURITY)  # noqa: E731
    assert refusal(attempt, initiator) == INITIATOR_ERROR


def test_no_transit_that_was_not_asked_for(connect: Connect) -> None:
    initiator = connect()
    for _ in range(3):
        response, _ = initiator.login_step([] if initiator.keys else initiator.names(TARGET))
        assert response.flags & 0x83 == 0
    response, _ = initiator.login_step(transit=True)
    assert response.flags & 0x83 == 0x83


def test_the_next_stage_is_the_one_that_was_asked_for(connect: Connect) -> None:
    initiator = connect()
    response, _ = initiator.login_step(
        initiator.names(TARGET), csg=SECURITY, nsg=OPERATIONAL, transit=True
    )
    assert response.flags == 0x81


def test_more_than_six_exchanges_are_taken(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    for key, value in [
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "65536"),
        ("FirstBurstLength", "65536"),
        ("MaxOutstandingR2T", "2"),
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("ErrorRecoveryLevel", "0"),
    ]:
        _, pairs = initiator.login_step([(key, value)])
        assert pairs == [(key, value)]
    response, _ = initiator.login_step(transit=True)
    assert response.flags & 0x83 == 0x83


# 6.2, 11.12.2: text over several PDUs


@pytest.mark.parametrize("cut", [1, 7, 63])
def test_text_cut_by_the_c_bit_is_answered_when_it_is_complete(connect: Connect, cut: int) -> None:
    pairs = connect().login(TARGET, cut=cut)
    assert ("FirstBurstLength", "65536") in pairs


@REFUSED
def test_t_and_c_bits_exclude_each_other(connect: Connect) -> None:
    initiator = connect()
    attempt = lambda: initiator.login_step(  # noqa: E731
        initiator.names(TARGET), flags=0x87 | CONTINUE
    )
    assert refusal(attempt, initiator) == INITIATOR_ERROR


def test_eight_thousand_bytes_of_text_in_one_pdu(connect: Connect) -> None:
    initiator = connect()
    text = wire.text_of([*initiator.names(TARGET), ("X-org.example.filler", "")])
    filled = text[:-1] + b"f" * (4096 - 1)
    filled += b"\0X-org.example.more=" + b"g" * (8192 - len(filled) - 21) + b"\0"
    assert 8190 <= len(filled) <= 8192
    _, pairs = initiator.login_step(filled)
    assert ("X-org.example.more", "NotUnderstood") in pairs


def test_sixty_four_kilobytes_of_text_in_several_pdus(connect: Connect) -> None:
    initiator = connect()
    keys = [(f"X-org.example.k{number}", "v" * 4000) for number in range(16)]
    _, pairs = initiator.login_step([*initiator.names(TARGET), *keys], cut=8192)
    assert [pair for pair in pairs if pair[0].startswith("X-")] == [
        (key, "NotUnderstood") for key, _ in keys
    ]


@REFUSED
@pytest.mark.parametrize(
    "text",
    [b"InitiatorName=iqn.a", b"InitiatorName\0", b"=x\0", b"1nitiator=x\0", b"A" * 64 + b"=x\0"],
    ids=["no NUL", "no =", "no key", "a digit first", "64 characters"],
)
def test_malformed_text(connect: Connect, text: bytes) -> None:
    initiator = connect()
    assert refusal(lambda: initiator.login_step(text), initiator) == INITIATOR_ERROR


# 6.3.1, 11.13: what the responses hold


@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
@pytest.mark.parametrize("target", [TARGET, None], ids=["normal", "discovery"])
def test_portal_group_tag_in_the_first_complete_response(
    connect: Connect, csg: int, target: str | None
) -> None:
    initiator = connect()
    text = wire.text_of(initiator.names(target))
    first, _ = initiator.login_step(text[:10], csg=csg, flags=csg << 2 | CONTINUE)
    assert first.data == b""
    _, pairs = initiator.login_step(text[10:], csg=csg)
    assert ("TargetPortalGroupTag", "1") in pairs


def test_a_tsih_is_assigned_in_the_final_response_only(connect: Connect) -> None:
    initiator = connect()
    response, _ = initiator.login_step(initiator.names(TARGET))
    assert response["tsih"] == 0
    response, _ = initiator.login_step(transit=True)
    assert response["tsih"] != 0


def test_leading_cmd_sn_is_the_first_expected(connect: Connect) -> None:
    initiator = connect()
    initiator.cmd_sn = 0xFFFFFFFE
    initiator.login(TARGET)
    assert initiator.exp_cmd_sn == 0xFFFFFFFE
    # The window wraps, and so do the commands in it.
    for _ in range(4):
        initiator.command("000000000000")
    assert initiator.exp_cmd_sn == 2


def test_responses_have_the_version_tag_and_isid_of_the_requests(connect: Connect) -> None:
    initiator = connect()
    response, _ = initiator.login_step(initiator.names(TARGET), version_max=0)
    assert (response["version_max"], response["version_active"]) == (0, 0)
    assert response["itt"] == initiator.login_itt
    assert response.blob("isid") == initiator.isid


@REFUSED
def test_a_version_that_does_not_exist(connect: Connect) -> None:
    initiator = connect()
    attempt = lambda: initiator.login_step(  # noqa: E731
        initiator.names(TARGET), version_min=1, version_max=1
    )
    assert refusal(attempt, initiator) == 0x0205


@REFUSED
@pytest.mark.parametrize("field", ["version_max", "isid", "tsih", "cid", "itt"])
def test_what_has_to_be_the_same_in_all_requests(connect: Connect, field: str) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    changed: int | bytes = bytes.fromhex("00023d000042") if field == "isid" else 0x42
    attempt = lambda: initiator.login_step(**{field: changed})  # type: ignore[arg-type]  # noqa: E731
    assert refusal(attempt, initiator) == INITIATOR_ERROR


# 6.3: nothing twice


@REFUSED
@pytest.mark.parametrize("key", ["MaxBurstLength", "MaxRecvDataSegmentLength", "HeaderDigest"])
def test_a_key_negotiated_twice_is_an_initiator_error(connect: Connect, key: str) -> None:
    initiator = connect()
    value = "None" if key == "HeaderDigest" else "8192"
    initiator.login_step([*initiator.names(TARGET), (key, value)])
    assert refusal(lambda: initiator.login_step([(key, value)]), initiator) == INITIATOR_ERROR


@REFUSED
@pytest.mark.parametrize("key", ["InitiatorName", "TargetName", "SessionType"])
def test_a_name_that_changes_is_an_initiator_error(connect: Connect, key: str) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    text = [(key, "iqn.2005-03.org.example:other")]
    assert refusal(lambda: initiator.login_step(text), initiator) == INITIATOR_ERROR


def test_the_same_name_may_be_sent_again(connect: Connect) -> None:
    initiator = connect()
    initiator.login_step(initiator.names(TARGET))
    response, _ = initiator.login_step(initiator.names(TARGET), transit=True)
    assert response.flags & 0x83 == 0x83


# 13.6, 13.8, 11.13.5


def test_an_alias_is_told(live: LiveTarget, connect: Connect) -> None:
    name = "iqn.2005-03.org.example:named"
    live.write(f"{live.add_target(name)}/alias", "Blue\n")
    initiator = connect()
    _, pairs = initiator.login_step(initiator.names(name))
    assert ("TargetAlias", "Blue") in pairs


@REFUSED
@pytest.mark.parametrize(("kind", "status"), [("temp", 0x0101), ("perm", 0x0102)])
def test_redirection_tells_an_address_without_a_tag(
    live: LiveTarget, connect: Connect, kind: str, status: int
) -> None:
    name = f"iqn.2005-03.org.example:moved-{kind}"
    live.write(f"{live.add_target(name)}/redirect", f"192.0.2.7:3261 {kind}\n")
    initiator = connect()
    with pytest.raises(LoginError) as caught:
        initiator.login(name)
    assert caught.value.status == status
    assert caught.value.response.pairs == [("TargetAddress", "192.0.2.7:3261")]
    assert initiator.wait_closed() == []


# 9.2, 12.1: without common ground


@REFUSED
def test_no_authentication_method_in_common(connect: Connect) -> None:
    initiator = connect()
    with pytest.raises(LoginError) as caught:
        initiator.login_step([*initiator.names(TARGET), ("AuthMethod", "KRB5,SRP")], csg=SECURITY)
    assert caught.value.status == 0x0201
    assert caught.value.response.pairs == [("AuthMethod", "Reject")]


def test_unknown_authentication_methods_in_a_list_are_passed_over(connect: Connect) -> None:
    initiator = connect()
    text = [*initiator.names(TARGET), ("AuthMethod", "Z-org.example.magic,CHAP,None")]
    _, pairs = initiator.login_step(text, csg=SECURITY)
    assert ("AuthMethod", "None") in pairs


def test_a_connection_that_says_nothing_leaves_others_alone(connect: Connect) -> None:
    silent = connect()
    connect().login(TARGET)
    silent.sock.settimeout(0.05)
    with pytest.raises((TimeoutError, ClosedError)):
        silent.receive()
