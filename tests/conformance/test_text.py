"""Text in full-feature phase: RFC 7143 6.2, 6.4, 7.12, 11.10, 11.11, appendix C."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_login import Pairs
from tests.support.iscsi_wire import CONTINUE, FINAL, NO_TAG, Pdu
from tests.support.live_target import TARGET, LiveTarget


def ask(
    initiator: Initiator, text: Pairs | bytes = b"", *, flags: int = FINAL, **fields: int
) -> Pdu:
    """One Text Request and its answer."""
    data = text if isinstance(text, bytes) else wire.text_of(text)
    return initiator.exchange(
        initiator.request(wire.TEXT_REQUEST, {"ttt": NO_TAG, **fields, "flags": flags}, data=data)
    )


def reason(answer: Pdu) -> int:
    assert answer.opcode == wire.REJECT
    return answer["reason"]


@pytest.fixture
def crowded(live: LiveTarget) -> None:
    """Many targets with long names."""
    for number in range(20):
        name = f"iqn.2005-03.org.example:{number:02}" + "x" * 150
        if name not in live.service.iscsi.targets:
            live.add_target(name)


def test_a_final_answer_has_no_transfer_tag(initiator: Initiator) -> None:
    answer = ask(initiator, [("SendTargets", "")])
    assert (answer.opcode, answer.flags, answer["ttt"]) == (wire.TEXT_RESPONSE, FINAL, NO_TAG)


def test_an_answer_that_is_not_final_has_one(initiator: Initiator) -> None:
    answer = ask(initiator, [("X-org.example.a", "1")], flags=0)
    assert answer.flags == 0
    assert answer["ttt"] != NO_TAG
    again = ask(initiator, itt=answer["itt"], ttt=answer["ttt"])
    assert (again.flags, again["ttt"], again.data) == (FINAL, NO_TAG, b"")


@pytest.mark.parametrize("cut", [1, 5])
def test_a_continued_text_is_answered_when_it_is_complete(initiator: Initiator, cut: int) -> None:
    assert initiator.text([("SendTargets", ""), ("X-org.example.b", "2")], cut=cut) != []
    *continued, _ = initiator.received(wire.TEXT_RESPONSE)
    assert len(continued) >= 6
    for answer in continued:
        assert (answer.data, answer.flags) == (b"", 0)
        assert answer["ttt"] != NO_TAG


def test_a_long_answer_comes_in_parts(log_in: LogIn, crowded: None) -> None:
    initiator = log_in(None, keys=[("MaxRecvDataSegmentLength", "512")])
    found = initiator.send_targets()
    assert len(found) >= 21
    *parts, last = initiator.received(wire.TEXT_RESPONSE)
    assert len(parts) >= 6
    for part in parts:
        assert len(part.data) == 512
        assert part.flags == CONTINUE
        assert part["ttt"] != NO_TAG
    assert last.flags == FINAL


def test_f_and_c_exclude_each_other(initiator: Initiator) -> None:
    assert reason(ask(initiator, [("SendTargets", "")], flags=FINAL | CONTINUE)) == 4


@pytest.mark.parametrize("text", [b"SendTargets", b"SendTargets=All", b"=\0"])
def test_malformed_text_is_rejected(initiator: Initiator, text: bytes) -> None:
    assert reason(ask(initiator, text)) == 4
    assert ask(initiator, [("SendTargets", "")]).opcode == wire.TEXT_RESPONSE


def test_a_key_twice_in_a_negotiation_is_a_protocol_error(initiator: Initiator) -> None:
    first = ask(initiator, [("MaxRecvDataSegmentLength", "4096")], flags=0)
    again = ask(
        initiator, [("MaxRecvDataSegmentLength", "512")], itt=first["itt"], ttt=first["ttt"]
    )
    assert reason(again) == 4


def test_a_negotiation_that_fails_changes_nothing(initiator: Initiator) -> None:
    """7.12: earlier values stay in effect, partial results are dropped."""
    first = ask(initiator, [("MaxRecvDataSegmentLength", "512")], flags=0)
    ask(initiator, b"garbage", itt=first["itt"], ttt=first["ttt"])
    task = initiator.command("28000000000000000800", expect=4096)
    assert [len(pdu.data) for pdu in task.data_pdus] == [4096]


def test_a_negotiation_takes_effect_when_it_ends(initiator: Initiator) -> None:
    first = ask(initiator, [("MaxRecvDataSegmentLength", "512")], flags=0)
    task = initiator.command("28000000000000000800", expect=4096)
    assert len(task.data_pdus) == 1
    ask(initiator, itt=first["itt"], ttt=first["ttt"])
    task = initiator.command("28000000000000000800", expect=4096)
    assert len(task.data_pdus) == 8


@pytest.mark.parametrize(
    ("key", "value"), [("MaxBurstLength", "512"), ("HeaderDigest", "None"), ("InitialR2T", "Yes")]
)
def test_what_only_login_decides_is_rejected(initiator: Initiator, key: str, value: str) -> None:
    assert ask(initiator, [(key, value)]).pairs == [(key, "Reject")]


def test_unknown_keys_are_not_understood(initiator: Initiator) -> None:
    assert ask(initiator, [("X-org.example.c", "3")]).pairs == [
        ("X-org.example.c", "NotUnderstood")
    ]


def test_a_new_request_begins_a_new_exchange(initiator: Initiator) -> None:
    old = ask(initiator, [("X-org.example.d", "4")], flags=0)
    ask(initiator, [("X-org.example.d", "5")])
    assert reason(ask(initiator, itt=old["itt"], ttt=old["ttt"])) == 9


def test_a_transfer_tag_that_was_never_given(initiator: Initiator) -> None:
    assert reason(ask(initiator, ttt=0x4711)) == 9


def test_the_reserved_task_tag(initiator: Initiator) -> None:
    initiator.send(initiator.request(wire.TEXT_REQUEST, {"ttt": NO_TAG, "itt": NO_TAG}))
    initiator.ping()
    assert [pdu["reason"] for pdu in initiator.rejects] == [9]


def test_more_than_six_exchanges_are_taken(initiator: Initiator) -> None:
    answer = ask(initiator, [("X-org.example.k0", "0")], flags=0)
    for number in range(1, 20):
        key = f"X-org.example.k{number}"
        answer = ask(initiator, [(key, "1")], flags=0, itt=answer["itt"], ttt=answer["ttt"])
        assert answer.pairs == [(key, "NotUnderstood")]
    assert ask(initiator, itt=answer["itt"], ttt=answer["ttt"]).flags == FINAL


# SendTargets (appendix C)


def test_send_targets_tells_addresses_with_the_portal_group_tag(
    live: LiveTarget, initiator: Initiator
) -> None:
    addresses = initiator.send_targets("")[TARGET]
    assert addresses[0] == f"127.0.0.1:{live.port},1"
    assert all(address.endswith(",1") for address in addresses)


def test_a_normal_session_is_told_of_its_own_target(initiator: Initiator, crowded: None) -> None:
    assert list(initiator.send_targets("")) == [TARGET]
    assert list(initiator.send_targets(TARGET)) == [TARGET]
    assert initiator.send_targets("iqn.2005-03.org.example:00" + "x" * 150) == {}


def test_all_is_for_discovery_sessions(initiator: Initiator) -> None:
    assert reason(ask(initiator, [("SendTargets", "All")])) == 4


def test_a_discovery_session_is_told_of_all_targets(log_in: LogIn, crowded: None) -> None:
    initiator = log_in(None)
    assert TARGET in initiator.send_targets()
    assert list(initiator.send_targets(TARGET)) == [TARGET]
    assert initiator.send_targets("iqn.2005-03.org.example:none") == {}
