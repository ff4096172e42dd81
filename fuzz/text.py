"""Key=value text: decoding, negotiation, and answers."""

from __future__ import annotations

from dataclasses import fields

from fuzz.source import Source
from scstfs.iscsi import text_format
from scstfs.iscsi.discovery import NetworkPortal, TargetRecord, answer_text
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.keys import KEYS, KeyPhase
from scstfs.iscsi.negotiate import Negotiation, SessionParameters

_VALUES = ("Yes", "No", "None", "CRC32C", "Reject", "Irrelevant", "0", "1", "512", "0x200", "All")


def run(data: bytes) -> None:
    """Read ``data`` as text in pieces, and negotiate about it."""
    source = Source(data)
    assembler = text_format.Assembler()
    discovery = source.byte() > 200
    negotiation = Negotiation({}, discovery=discovery)
    phases = (KeyPhase.SECURITY, KeyPhase.OPERATIONAL, KeyPhase.FULL_FEATURE)
    try:
        while source.more:
            more = source.byte() > 200
            complete = assembler.add(_piece(source), more=more)
            if complete is None:
                continue
            phase = source.choose(phases)
            if phase is KeyPhase.FULL_FEATURE:
                _decode(answer_text(complete, negotiation, None, _targets))
            else:
                _check(negotiation.answer(_decode(complete), phase))
    except ProtocolError:
        pass
    _check_parameters(negotiation.result())
    _values(data)


def _piece(source: Source) -> bytes:
    """Invalid text, or text with known keys."""
    if source.flag():
        return source.take(source.byte())
    key = source.choose(list(KEYS))
    value = source.choose((*_VALUES, source.take(8).decode("latin-1")))
    return f"{key}={value}\0".encode("utf-8", "surrogateescape")


def _decode(data: bytes) -> text_format.Pairs:
    pairs = text_format.decode(data)
    assert text_format.decode(text_format.encode(pairs)) == pairs, "text changes when it is encoded"
    assert len(pairs) <= text_format.MAX_KEYS
    return pairs


def _check(pairs: text_format.Pairs) -> None:
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), "a key is answered twice"
    for _, value in pairs:
        assert value
        assert "\0" not in value


def _check_parameters(parameters: SessionParameters) -> None:
    for field in fields(parameters):
        assert getattr(parameters, field.name) >= 0
    assert 512 <= parameters.first_burst_length <= parameters.max_burst_length <= 1 << 20
    assert 512 <= parameters.max_xmit_data_segment_length <= 1 << 20
    assert parameters.max_outstanding_r2t >= 1


def _targets(name: str | None) -> list[TargetRecord]:
    return [TargetRecord(name or "iqn.all", [NetworkPortal("::1", 3260)])]


def _values(data: bytes) -> None:
    value = data.decode("utf-8", "surrogateescape")
    number = text_format.parse_number(value)
    assert number is None or 0 <= number < 1 << 64
    text_format.parse_boolean(value)
    listed = text_format.parse_list(value)
    assert listed is None or (all(listed) and ",".join(listed) == value)
    assert text_format.shown(value).isascii()
    try:
        assert 0 < len(text_format.decode_binary(value, 64)) <= 64
    except ProtocolError:
        pass
