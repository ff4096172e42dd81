"""Exchanges of text, cut anywhere (RFC 7143 6.2, 11.10, 11.11)."""

from __future__ import annotations

import pytest

from scstfs.iscsi.codes import CONTINUE, FINAL, RESERVED_TAG
from scstfs.iscsi.errors import ProtocolError, RejectReason
from scstfs.iscsi.pdu import TextRequest
from scstfs.iscsi.text_exchange import TextExchange, TextPart
from scstfs.iscsi.text_format import MAX_TEXT
from tests.support.engine import EngineHost


class Case:
    def __init__(self) -> None:
        self.host = EngineHost()
        self.exchange = TextExchange(self.host)

    def send(
        self,
        data: bytes = b"",
        *,
        flags: int = FINAL,
        itt: int = 1,
        ttt: int = RESERVED_TAG,
        limit: int = 8192,
    ) -> TextPart:
        request = TextRequest(0x44, flags, len(data), bytes(8), itt, ttt, 1, 1)
        return self.exchange.receive(request, memoryview(data), limit)

    def reason(self, data: bytes = b"", *, flags: int = FINAL, itt: int = 1, ttt: int = 0) -> int:
        with pytest.raises(ProtocolError) as caught:
            self.send(data, flags=flags, itt=itt, ttt=ttt)
        return caught.value.reason


@pytest.fixture
def case() -> Case:
    return Case()


def test_one_pdu_each_way(case: Case) -> None:
    assert case.send(b"A=b\0") == TextPart(RESERVED_TAG, FINAL, b"A=b\0")
    assert (case.host.texts, case.host.concluded) == ([b"A=b\0"], 1)


def test_an_empty_request(case: Case) -> None:
    assert case.send() == TextPart(RESERVED_TAG, FINAL, b"")


def test_a_request_in_pieces(case: Case) -> None:
    """Each but the last is answered without a data segment (RFC 7143 6.2)."""
    first = case.send(b"A=", flags=CONTINUE)
    assert first == TextPart(0, 0, b"")
    assert case.send(b"b\0", flags=CONTINUE, ttt=0) == TextPart(0, 0, b"")
    assert case.send(b"C=d\0", ttt=0) == TextPart(RESERVED_TAG, FINAL, b"A=b\0C=d\0")
    assert case.host.texts == [b"A=b\0C=d\0"]


def test_an_answer_in_pieces(case: Case) -> None:
    case.host.text_answer = b"0123456789"
    parts = [case.send(b"A=b\0", limit=4), case.send(ttt=0, limit=4), case.send(ttt=0, limit=4)]
    assert parts == [
        TextPart(0, CONTINUE, b"0123"),
        TextPart(0, CONTINUE, b"4567"),
        TextPart(RESERVED_TAG, FINAL, b"89"),
    ]
    assert case.host.concluded == 1


def test_a_negotiation_of_several_exchanges(case: Case) -> None:
    """F comes only after F (RFC 7143 11.11.1)."""
    assert case.send(b"A=b\0", flags=0) == TextPart(0, 0, b"A=b\0")
    assert case.host.concluded == 0
    assert case.send(b"C=d\0", ttt=0) == TextPart(RESERVED_TAG, FINAL, b"C=d\0")
    assert case.host.concluded == 1


def test_a_new_request_forgets_the_old_one(case: Case) -> None:
    case.send(b"A=", flags=CONTINUE)
    assert case.send(b"C=d\0", itt=2).data == b"C=d\0"
    case.host.text_answer = b"0123456789"
    case.send(b"A=b\0", limit=4)
    case.host.text_answer = None
    assert case.send(b"E=f\0", itt=3).data == b"E=f\0"


def test_text_after_the_end_is_for_no_exchange(case: Case) -> None:
    case.send(b"A=b\0")
    assert case.reason() == RejectReason.INVALID_PDU_FIELD


@pytest.mark.parametrize(
    ("itt", "ttt"), [(2, 0), (1, 1), (RESERVED_TAG, 0)], ids=["itt", "ttt", "no-itt"]
)
def test_text_of_another_exchange(case: Case, itt: int, ttt: int) -> None:
    case.send(b"A=", flags=CONTINUE)
    assert case.reason(b"b\0", itt=itt, ttt=ttt) == RejectReason.INVALID_PDU_FIELD
    # The exchange is over.
    assert case.reason(b"b\0") == RejectReason.INVALID_PDU_FIELD


def test_text_without_a_task(case: Case) -> None:
    assert case.reason(b"A=b\0", itt=RESERVED_TAG, ttt=RESERVED_TAG) == (
        RejectReason.INVALID_PDU_FIELD
    )


def test_final_and_continued_at_once(case: Case) -> None:
    assert case.reason(b"A=b\0", flags=FINAL | CONTINUE, ttt=RESERVED_TAG) == (
        RejectReason.PROTOCOL_ERROR
    )


@pytest.mark.parametrize(("data", "flags"), [(b"A=b\0", FINAL), (b"", CONTINUE)])
def test_text_in_the_middle_of_our_answer(case: Case, data: bytes, flags: int) -> None:
    case.host.text_answer = b"0123456789"
    case.send(b"A=b\0", limit=4)
    assert case.reason(data, flags=flags) == RejectReason.PROTOCOL_ERROR


def test_a_negotiation_that_fails_comes_to_nothing(case: Case) -> None:
    """RFC 7143 7.12: also what had been agreed on before in it."""
    case.send(b"A=b\0", flags=0)
    case.host.text_fault = ProtocolError("no")
    assert case.reason(b"C=d\0") == RejectReason.PROTOCOL_ERROR
    assert case.host.concluded == 0


def test_text_is_bounded(case: Case) -> None:
    ttt = RESERVED_TAG
    for _ in range(MAX_TEXT // 8192):
        case.send(bytes(8192), flags=CONTINUE, ttt=ttt)
        ttt = 0
    assert case.reason(b"x", flags=CONTINUE) == RejectReason.PROTOCOL_ERROR
