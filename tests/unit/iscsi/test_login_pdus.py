"""PDUs and texts of the login phase that are wrong, cut, or anything at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.login import MAX_REQUESTS
from tests.support import iscsi_wire as wire
from tests.support.iscsi_login import OPERATIONAL_KEYS, SECURITY, Chap, Pairs
from tests.support.iscsi_wire import Pdu
from tests.support.login_fakes import (
    DISK,
    NORMAL,
    FakeHost,
    FakeTarget,
    LoginStream,
    client,
    refusal,
    with_users,
)


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
