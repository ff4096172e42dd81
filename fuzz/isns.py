"""Messages of an iSNS server."""

from __future__ import annotations

from fuzz.source import Source
from scstfs.iscsi import isns
from scstfs.iscsi.errors import ProtocolError


def run(data: bytes) -> None:
    """Let ``data`` arrive in pieces; decoded messages are encoded and decoded again."""
    source = Source(data)
    decoder = isns.Decoder()
    try:
        while source.more:
            piece = source.take(1 + source.byte()) if source.flag() else _message(source)
            for message in decoder.feed(piece):
                _check(message)
    except ProtocolError:
        pass


def _message(source: Source) -> bytes:
    """A message, with a fault or without."""
    attributes = tuple(
        isns.IsnsAttribute(source.choose(list(isns.Tag)), source.take(source.byte() % 40))
        for _ in range(source.byte() % 6)
    )
    function = source.choose(list(isns.Function)) | (isns.RESPONSE if source.flag() else 0)
    raw = bytearray(isns.encode(isns.Message(function, source.number(0xFFFF), attributes)))
    if source.byte() > 200:
        raw[source.number(len(raw) - 1)] ^= source.byte()
    return bytes(raw)


def _check(message: isns.Message) -> None:
    again = isns.Decoder().feed(isns.encode(message))
    assert again == [message], "a message changes when it is encoded"
    isns.initiators(message)
    for attribute in message.attributes:
        assert attribute.text is not None
        assert attribute.number is None or attribute.number < 1 << 32
