"""Golden messages: exchanged with open-isns 0.101."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi import isns
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.isns import (
    Decoder,
    Function,
    IsnsAttribute,
    IsnsFlag,
    IsnsStatus,
    Message,
    PortalEntry,
    ScnEvent,
    Tag,
)

DISK = "iqn.2005-03.org.example:disk"
HOST = "host.example"

# 20 name, 01 entity, delimiter, 01 entity, 02 protocol, 10 address, 11 port, 17 SCN port,
# 20 name, 22 alias, 21 node type
REGISTRATION = bytes.fromhex(
    "0001000100e49c0000010000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000000100000010 686f73742e6578616d706c6500000000 0000000000000000"
    "0000000100000010 686f73742e6578616d706c6500000000"
    "0000000200000004 00000002 0000001000000010 00000000000000000000ffff7f000001"
    "0000001100000004 00000cbc 0000001700000004 00000ce3"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "000000220000000c 546865206469736b00000000 0000002100000004 00000001"
)
QUERY = bytes.fromhex(
    "0001000200548c0000030000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000002100000004 00000002 0000000000000000"
    "0000002000000000 0000002100000000 0000001000000000"
)
QUERY_ANSWER = bytes.fromhex(
    "0001800200384c0000030000 00000000 0000002100000004 00000002 0000000000000000"
    "000000200000000c 69716e2e696e693a61000000 0000002100000004 00000002"
)
SCN_REGISTRATION = bytes.fromhex(
    "0001000500648c00000c0000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000000000000000 0000002300000004 0000009c"
)
SCN_DEREGISTRATION = bytes.fromhex(
    "0001000600508c0000060000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
)
DEREGISTRATION = bytes.fromhex(
    "0001000400488c0000080000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000000000000000 0000000100000010 686f73742e6578616d706c6500000000"
)
SCN = bytes.fromhex(
    "0001000800588c0000020000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
    "0000000400000008 000000006b03ec1f 0000002300000004 0000000c"
    "000000200000000c 69716e2e696e693a62000000"
)
SCN_ANSWER = bytes.fromhex(
    "00018008002c8c0000020000 00000000"
    "0000002000000020 69716e2e323030352d30332e6f72672e6578616d706c653a6469736b00000000"
)
REFUSAL = bytes.fromhex("0001800500044c0000040000 00000011")

SENT = {
    "registration": (
        isns.registration(
            1,
            source=DISK,
            entity=HOST,
            target=DISK,
            alias="The disk",
            portals=[PortalEntry("127.0.0.1", 3260, scn_port=3299)],
        ),
        REGISTRATION,
    ),
    "query": (isns.initiators_query(3, source=DISK), QUERY),
    "scn registration": (
        isns.scn_registration(
            12,
            source=DISK,
            events=ScnEvent.INITIATOR_AND_SELF_ONLY
            | ScnEvent.OBJECT_ADDED
            | ScnEvent.OBJECT_REMOVED
            | ScnEvent.OBJECT_UPDATED,
        ),
        SCN_REGISTRATION,
    ),
    "scn deregistration": (isns.scn_deregistration(6, source=DISK), SCN_DEREGISTRATION),
    "deregistration": (
        isns.deregistration(8, source=DISK, what=isns.text(Tag.ENTITY_IDENTIFIER, HOST)),
        DEREGISTRATION,
    ),
}


@pytest.mark.parametrize(("message", "raw"), SENT.values(), ids=SENT)
def test_encode(message: Message, raw: bytes) -> None:
    assert isns.encode(message) == raw


def one(raw: bytes) -> Message:
    (message,) = Decoder().feed(raw)
    return message


def test_answer_to_a_query() -> None:
    message = one(QUERY_ANSWER)
    assert message.is_response
    assert message.function == Function.DEV_ATTR_QRY | isns.RESPONSE
    assert (message.transaction, message.status) == (3, IsnsStatus.SUCCESS)
    assert message.flags == IsnsFlag.FROM_SERVER
    assert isns.initiators(message) == ["iqn.ini:a"]


def test_initiators_are_told_from_targets() -> None:
    nodes = [("iqn.t", 1), ("iqn.i", 2), ("iqn.both", 3), ("iqn.control", 4)]
    attributes = [
        attribute
        for name, kind in nodes
        for attribute in (
            isns.text(Tag.ISCSI_NAME, name),
            isns.number(Tag.ISCSI_NODE_TYPE, kind),
            IsnsAttribute(Tag.PORTAL_IP_ADDRESS, bytes(16)),
        )
    ]
    message = Message(Function.DEV_ATTR_QRY | isns.RESPONSE, 1, tuple(attributes))
    assert isns.initiators(message) == ["iqn.i", "iqn.both"]


def test_refusal() -> None:
    message = one(REFUSAL)
    assert message.status == IsnsStatus.SCN_REGISTRATION_REJECTED
    assert message.attributes == ()


def test_state_change_notification() -> None:
    message = one(SCN)
    assert message.function == Function.SCN
    assert not message.is_response
    name = message.find(Tag.ISCSI_NAME)
    assert name is not None
    assert name.text == DISK
    assert name.number is None
    bitmap = message.find(Tag.ISCSI_SCN_BITMAP)
    assert bitmap is not None
    assert bitmap.number == ScnEvent.OBJECT_ADDED | ScnEvent.OBJECT_UPDATED
    assert message.find(Tag.ESI_PORT) is None
    assert isns.encode(isns.reply(message, [isns.text(Tag.ISCSI_NAME, DISK)])) == SCN_ANSWER


def test_entity_status_inquiry_is_echoed() -> None:
    inquiry = Message(
        Function.ESI,
        9,
        (
            IsnsAttribute(Tag.TIMESTAMP, bytes(8)),
            isns.text(Tag.ENTITY_IDENTIFIER, HOST),
            isns.address(Tag.PORTAL_IP_ADDRESS, "fe80::1%eth0"),
            isns.number(Tag.PORTAL_PORT, 3260),
        ),
        flags=IsnsFlag.FROM_SERVER,
    )
    answer = one(isns.encode(isns.reply(one(isns.encode(inquiry)), inquiry.attributes)))
    assert answer.function == 0x800D
    assert answer.transaction == 9
    assert [attribute.tag for attribute in answer.attributes] == [4, 1, 16, 17]
    assert answer.attributes[2].value == bytes.fromhex("fe80000000000000 0000000000000001")


def test_portals_and_where_to_inquire_for_them() -> None:
    message = isns.registration(
        1,
        source=DISK,
        entity=HOST,
        target=DISK,
        portals=[
            PortalEntry("192.0.2.1", 3260, scn_port=5000, esi_port=5000, esi_interval=60),
            PortalEntry("2001:db8::1", 3261),
        ],
    )
    assert message.flags == IsnsFlag.FROM_CLIENT | IsnsFlag.REPLACE
    tags = [attribute.tag for attribute in message.attributes]
    assert tags[5:13] == [16, 17, 19, 20, 23, 16, 17, 32]
    assert [attribute.number for attribute in message.attributes[6:10]] == [3260, 60, 5000, 5000]
    assert message.attributes[10].value == bytes.fromhex("20010db8000000000000000000000001")


def test_later_registrations_add() -> None:
    message = isns.registration(5, source=DISK, entity=HOST, target=DISK + "2")
    assert message.flags == IsnsFlag.FROM_CLIENT
    assert message.find(Tag.PORTAL_PORT) is None


def test_any_cut_of_the_stream() -> None:
    stream = QUERY_ANSWER + SCN + REFUSAL
    whole = Decoder().feed(stream)
    assert len(whole) == 3
    for at in range(len(stream)):
        decoder = Decoder()
        assert decoder.feed(stream[:at]) + decoder.feed(stream[at:]) == whole
    decoder = Decoder()
    assert [message for byte in stream for message in decoder.feed(bytes([byte]))] == whole


def test_long_messages_are_several_pdus() -> None:
    attributes = tuple(isns.text(Tag.ISCSI_NAME, f"iqn.x:{i:05}" + "y" * 200) for i in range(1000))
    message = Message(Function.DEV_ATTR_QRY | isns.RESPONSE, 1, attributes)
    raw = isns.encode(message)
    assert raw[6:8] == b"\x84\x00"  # from client, first
    assert int.from_bytes(raw[4:6], "big") == isns.MAX_PAYLOAD
    decoded = one(raw)
    assert [attribute.text for attribute in decoded.attributes] == [
        attribute.text for attribute in attributes
    ]


MALFORMED = {
    "version": "0002000800000c0000010000",
    "odd length": "0001000800010c0000010000 00",
    "starts in the middle": "000100080000080000010001",
    "first without its flag": "0001000800000800 00010000",
    "answer without status": "0001800800000c0000010000",
    "cut attribute": "0001000800040c0000010000 00000020",
    "attribute over the end": "0001000800080c0000010000 0000002000000004",
    "attribute of odd length": "00010008000c0c0000010000 0000002000000003 61620000",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_malformed(raw: str) -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(bytes.fromhex(raw))


def test_messages_are_bounded() -> None:
    decoder = Decoder()
    header = "00010008fffc {flags:04x} 0001 {sequence:04x}"
    count = isns.MAX_MESSAGE // isns.MAX_PAYLOAD
    for sequence in range(count):
        raw = bytes.fromhex(header.format(flags=0x400 if sequence == 0 else 0, sequence=sequence))
        assert decoder.feed(raw + bytes(isns.MAX_PAYLOAD)) == []
    raw = bytes.fromhex(header.format(flags=0, sequence=count))
    with pytest.raises(ProtocolError, match="longer than"):
        decoder.feed(raw + bytes(isns.MAX_PAYLOAD))


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_bytes_give_messages_or_a_protocol_error(pieces: list[bytes]) -> None:
    decoder = Decoder()
    messages: list[Message] = []
    try:
        for piece in pieces:
            messages += decoder.feed(piece)
    except ProtocolError:
        return
    assert len(messages) <= len(b"".join(pieces)) // isns.HEADER.size


@given(st.integers(0, 15), st.binary(max_size=80))
def test_any_payload_gives_a_message_or_a_protocol_error(function: int, payload: bytes) -> None:
    payload = payload[: len(payload) & ~3]
    header = isns.HEADER.pack(1, function, len(payload), 0xC00, 1, 0)
    try:
        message = one(header + payload)
    except ProtocolError:
        return
    assert isns.encode(Message(message.function, 1, message.attributes))[12:] == payload
