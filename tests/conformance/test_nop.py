"""NOP-Out and NOP-In: RFC 7143 4.6.3.5, 11.18, 11.19."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import NO_TAG
from tests.support.live_target import LiveTarget

PINGED = "iqn.2005-03.org.example:pinged"


@pytest.fixture(scope="module")
def pinged(live: LiveTarget) -> str:
    """A target that sends NOP-In pings as often as it can."""
    live.add_target(PINGED, "NopInInterval=1; NopInTimeout=2")
    return PINGED


@pytest.mark.parametrize("length", [0, 1, 4, 5, 1000, 8192])
@pytest.mark.parametrize("immediate", [True, False])
def test_a_ping_is_answered_with_its_tag_and_data(
    initiator: Initiator, length: int, immediate: bool
) -> None:
    data = bytes(number % 251 for number in range(length))
    request = initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}, data=data)
    if not immediate:
        request.header[0] &= 0x3F
        initiator.cmd_sn += 1
    answer = initiator.exchange(request)
    assert (answer.opcode, answer["itt"], answer["ttt"]) == (wire.NOP_IN, request["itt"], NO_TAG)
    assert answer.data == data


def test_ping_data_is_cut_to_what_the_initiator_takes(log_in: LogIn) -> None:
    initiator = log_in(keys=[("MaxRecvDataSegmentLength", "512")])
    assert initiator.ping(bytes(range(256)) * 4).data == bytes(range(256)) * 2


def test_what_asks_for_nothing_is_not_answered(initiator: Initiator) -> None:
    """11.18.3: no answer to a NOP-Out without an Initiator Task Tag, for any TTT."""
    for ttt in (NO_TAG, 0x1234):
        request = initiator.request(wire.NOP_OUT, {"itt": NO_TAG, "ttt": ttt})
        initiator.send(request)
    answer = initiator.ping(b"x")
    assert answer.data == b"x"
    assert initiator.pings == []


@pytest.mark.logs("neither asks nor is immediate")
def test_what_asks_for_nothing_has_to_be_immediate(initiator: Initiator) -> None:
    request = initiator.request(wire.NOP_OUT, {"itt": NO_TAG, "ttt": NO_TAG})
    request.header[0] &= 0x3F
    initiator.send(request)
    assert initiator.wait_closed() == []


@pytest.mark.slow
def test_a_silent_initiator_is_asked_for_a_sign_of_life(connect: Connect, pinged: str) -> None:
    initiator = connect()
    initiator.login(pinged)
    ping = initiator.pump()
    assert (ping.opcode, ping["itt"]) == (wire.NOP_IN, NO_TAG)
    assert ping["ttt"] != NO_TAG
    assert ping.data == b""
    assert ping.blob("lun") == bytes(8)
    # It has been answered, and that is enough.
    assert initiator.ping().opcode == wire.NOP_IN


@pytest.mark.slow
@pytest.mark.logs("no answer to a NOP-In")
def test_an_initiator_that_gives_none_loses_its_connection(connect: Connect, pinged: str) -> None:
    initiator = connect()
    initiator.login(pinged)
    initiator.answer_pings = False
    ping, *rest = initiator.wait_closed()
    assert (ping.opcode, rest) == (wire.NOP_IN, [])


def test_a_tag_in_use_can_not_be_used_for_a_ping_answer(initiator: Initiator) -> None:
    """The Target Transfer Tag of a NOP-Out that answers no ping of ours means nothing."""
    assert initiator.ping(ttt=0x4321).opcode == wire.NOP_IN
