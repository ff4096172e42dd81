"""A byte stream cut into PDUs: however it arrives, what comes out is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.iscsi.chunks import Chunks
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.receive import REDIRECT, Receiver
from tests.support import iscsi_wire as wire
from tests.support.iscsi_wire import Pdu, crc32c

AHS = bytes.fromhex("0005 01 00 a1a2a3a4")
MAX = 65536

PDUS = {
    "header-only": Pdu.make(wire.NOP_OUT, itt=1),
    "one-byte": Pdu.make(wire.NOP_OUT, itt=2, data=b"x"),
    "padded": Pdu.make(wire.NOP_OUT, itt=3, data=b"abcdef"),
    "whole-words": Pdu.make(wire.NOP_OUT, itt=4, data=b"abcdefgh"),
    "ahs": Pdu.make(wire.SCSI_COMMAND, itt=5, ahs=AHS),
    "ahs-and-data": Pdu.make(wire.SCSI_COMMAND, itt=6, ahs=AHS, data=bytes(range(30))),
    "large": Pdu.make(wire.DATA_OUT, itt=7, data=bytes(range(256)) * 200),
}
Parts: TypeAlias = tuple[bytes, bytes, bytes]
STREAM = list(PDUS.values())


def encode(pdu: Pdu, *, header: bool, data: bool) -> bytes:
    head = bytes(pdu.header) + pdu.ahs
    body = pdu.data + bytes(-len(pdu.data) % 4)
    if header:
        head += crc32c(head)
    if data and body:
        body += crc32c(body)
    return head + body


def receive(
    rx: Receiver, data: bytes, cuts: Sequence[int] = ()
) -> list[tuple[bytes, bytes, bytes]]:
    """Let ``data`` arrive in pieces; returns header, AHS and data of each PDU."""
    found = []
    start = 0
    for end in [*cuts, len(data)]:
        piece, start = data[start:end], end
        rx.rest()
        while piece:
            count = 0
            for buffer in rx.buffers():
                part = piece[count : count + len(buffer)]
                buffer[: len(part)] = part
                count += len(part)
            rx.received(count)
            piece = piece[count:]
            while (at := rx.next()) >= 0:
                header = bytes(rx.header[at : at + 48])
                found.append((header, rx.ahs, bytes(rx.data)))
    return found


def parts(pdus: Sequence[Pdu]) -> list[Parts]:
    return [(bytes(pdu.header), pdu.ahs, pdu.data) for pdu in pdus]


@pytest.fixture(params=[(h, d) for h in (False, True) for d in (False, True)], ids=str)
def digests(request: pytest.FixtureRequest) -> tuple[bool, bool]:
    header, data = request.param
    return header, data


def receiver(digests: tuple[bool, bool] = (False, False), capacity: int = 1 << 18) -> Receiver:
    rx = Receiver(MAX, Chunks(capacity))
    rx.header_digest, rx.data_digest = digests
    return rx


@pytest.mark.parametrize("name", PDUS)
def test_one_pdu_at_once(name: str, digests: tuple[bool, bool]) -> None:
    rx = receiver(digests)
    raw = encode(PDUS[name], header=digests[0], data=digests[1])
    assert receive(rx, raw) == parts([PDUS[name]])
    assert rx.data_intact
    assert rx.is_empty


@pytest.mark.parametrize("name", [name for name in PDUS if name != "large"])
def test_one_pdu_byte_by_byte(name: str, digests: tuple[bool, bool]) -> None:
    raw = encode(PDUS[name], header=digests[0], data=digests[1])
    assert receive(receiver(digests), raw, range(1, len(raw))) == parts([PDUS[name]])


def test_cut_at_each_place_of_a_large_pdu_that_matters(digests: tuple[bool, bool]) -> None:
    """In the header, at its end, in the digest, at the redirection's limits, in the padding."""
    pdu = Pdu.make(wire.DATA_OUT, itt=7, data=bytes(range(251)) * 201)
    raw = encode(pdu, header=digests[0], data=digests[1])
    interesting = {*range(1, 60), *range(len(raw) - 12, len(raw))}
    interesting |= {len(raw) - REDIRECT + d for d in (-1, 0, 1)}
    for cut in sorted(interesting):
        assert receive(receiver(digests), raw, [cut]) == parts([pdu]), cut


def test_many_pdus_in_one_piece(digests: tuple[bool, bool]) -> None:
    raw = b"".join(encode(pdu, header=digests[0], data=digests[1]) for pdu in STREAM)
    assert receive(receiver(digests), raw) == parts(STREAM)


@given(st.data())
def test_any_cuts_of_a_stream(data: st.DataObject) -> None:
    header, body = data.draw(st.booleans()), data.draw(st.booleans())
    pdus = data.draw(st.lists(st.sampled_from(STREAM), min_size=1, max_size=6))
    raw = b"".join(encode(pdu, header=header, data=body) for pdu in pdus)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=12)))
    capacity = data.draw(st.sampled_from([1 << 18, 1 << 15]))
    rx = receiver((header, body), capacity)
    assert receive(rx, raw, cuts) == parts(pdus)
    assert rx.is_empty
    assert rx.total == len(raw)


def test_a_pdu_may_be_larger_than_the_buffer() -> None:
    rx = receiver(capacity=20 * 1024)
    pdu = PDUS["large"]
    after = PDUS["padded"]
    assert receive(rx, pdu.raw + after.raw) == parts([pdu, after])


# Redirection


def placed(pdu: Pdu, cut: int, digests: tuple[bool, bool] = (False, False)) -> tuple[bytes, bool]:
    """Receive in two pieces, into our own memory; return its contents, and whether it was used."""
    rx = receiver(digests)
    target = memoryview(bytearray(len(pdu.data)))
    asked: list[tuple[bytes, int]] = []

    def place(header: bytearray, at: int, length: int) -> memoryview:
        asked.append((bytes(header[at : at + 48]), length))
        return target

    rx.place = place
    raw = encode(pdu, header=digests[0], data=digests[1])
    ((header, ahs, data),) = receive(rx, raw, [cut])
    assert (header, ahs, data) == (bytes(pdu.header), pdu.ahs, pdu.data)
    if asked:
        assert asked == [(bytes(pdu.header), len(pdu.data))]
        assert rx.data.obj is target.obj
    return bytes(target), bool(asked)


@pytest.mark.parametrize("arrived", [48, 49, 60, 1000, 30000])
def test_a_large_segment_is_received_where_it_belongs(
    arrived: int, digests: tuple[bool, bool]
) -> None:
    pdu = PDUS["large"]
    content, used = placed(pdu, arrived + (4 if digests[0] else 0), digests)
    assert used
    assert content == pdu.data


def test_a_segment_of_which_little_is_missing_is_not_redirected() -> None:
    pdu = PDUS["large"]
    _, used = placed(pdu, len(pdu.raw) - REDIRECT + 1)
    assert not used


def test_what_follows_a_redirected_segment_comes_from_the_buffer() -> None:
    rx = receiver()
    rx.place = lambda header, at, length: memoryview(bytearray(length))
    raw = PDUS["large"].raw + PDUS["ahs-and-data"].raw + PDUS["large"].raw
    found = receive(rx, raw, [100, 40000])
    assert found == parts([PDUS["large"], PDUS["ahs-and-data"], PDUS["large"]])


def test_the_digest_of_a_redirected_segment_is_checked() -> None:
    rx = receiver((False, True))
    rx.place = lambda header, at, length: memoryview(bytearray(length))
    raw = bytearray(encode(PDUS["large"], header=False, data=True))
    raw[30000] ^= 1
    receive(rx, bytes(raw), [100])
    assert not rx.data_intact


# Faults


@pytest.mark.parametrize("name", ["header-only", "padded", "ahs-and-data"])
def test_a_wrong_header_digest_ends_the_connection(name: str) -> None:
    raw = bytearray(encode(PDUS[name], header=True, data=False))
    raw[20] ^= 0x10
    with pytest.raises(ProtocolError, match="header digest"):
        receive(receiver((True, False)), bytes(raw))


@pytest.mark.parametrize(
    ("name", "byte"),
    [("padded", 48), ("padded", 53), ("padded", 54), ("padded", 56), ("large", 48 + 51199)],
    ids=["first", "last", "padding", "digest", "large"],
)
def test_a_wrong_data_digest_is_told(name: str, byte: int) -> None:
    """Of this PDU, and not of the next one."""
    rx = receiver((False, True))
    raw = bytearray(encode(PDUS[name], header=False, data=True))
    raw[byte] ^= 1
    receive(rx, bytes(raw))
    assert not rx.data_intact
    receive(rx, PDUS["header-only"].raw)
    assert rx.data_intact


@pytest.mark.parametrize("length", [MAX + 1, 0xFFFFFF])
def test_a_segment_longer_than_declared_ends_the_connection(length: int) -> None:
    pdu = Pdu.make(wire.NOP_OUT, data_length=length)
    with pytest.raises(ProtocolError, match="MaxRecvDataSegmentLength"):
        receive(receiver(), bytes(pdu.header))


def test_the_longest_segment_is_taken() -> None:
    pdu = Pdu.make(wire.NOP_OUT, data=bytes(MAX))
    assert receive(receiver(), pdu.raw) == parts([pdu])


def test_take_rest_gives_what_belongs_to_no_pdu() -> None:
    rx = receiver()
    receive(rx, PDUS["padded"].raw + b"more")
    assert rx.take_rest() == b"more"
    assert rx.take_rest() == b""
    assert rx.is_empty


def test_feed_is_as_good_as_receiving() -> None:
    rx = receiver()
    rx.feed(PDUS["padded"].raw)
    assert rx.next() == 0
    assert bytes(rx.data) == b"abcdef"
    rx.feed(b"")
    assert rx.next() == -1


def test_release_gives_the_buffer_back() -> None:
    chunks = Chunks(1 << 18)
    rx = Receiver(MAX, chunks)
    rx.feed(encode(PDUS["padded"], header=False, data=False)[:50])
    assert chunks.free == 0
    rx.release()
    assert chunks.free == 1
    assert rx.header == b""
    assert rx.is_empty
    rx.release()
    assert chunks.free == 1


def test_nothing_is_borrowed_before_there_is_something() -> None:
    chunks = Chunks(1 << 18, kept=1)
    resting = [Receiver(MAX, chunks) for _ in range(3)]
    assert chunks.free == 0
    for rx in resting:
        assert rx.next() == -1
        rx.feed(PDUS["padded"].raw)
        assert rx.next() == 0
        rx.rest()
        assert chunks.free == 1


@pytest.mark.parametrize("cut", [1, 47, 48, 53])
def test_the_beginning_of_a_pdu_is_kept_while_resting(cut: int) -> None:
    chunks = Chunks(1 << 18)
    rx, other = Receiver(MAX, chunks), Receiver(MAX, chunks)
    raw = PDUS["padded"].raw
    rx.feed(PDUS["header-only"].raw + raw[:cut])
    assert rx.next() == 0
    rx.rest()
    assert chunks.free == 1
    assert not rx.is_empty
    other.feed(b"\xff" * 4096)
    rx.feed(raw[cut:])
    assert rx.next() == 0
    assert (bytes(rx.header[:48]), bytes(rx.data)) == (raw[:48], PDUS["padded"].data)


def test_the_beginning_of_a_large_pdu_is_not_moved() -> None:
    chunks = Chunks(1 << 18)
    rx = Receiver(MAX, chunks)
    raw = Pdu.make(wire.NOP_OUT, data=bytes(40_000)).raw
    rx.feed(raw[:30_000])
    assert rx.next() == -1
    rx.rest()
    assert chunks.free == 0
    rx.feed(raw[30_000:])
    assert rx.next() == 0
    rx.rest()
    assert chunks.free == 1


def test_feed_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="more data"):
        receiver(capacity=1024).feed(bytes(1025))


@given(st.binary(max_size=4096), st.booleans(), st.booleans())
def test_any_bytes_are_pdus_or_a_protocol_error(data: bytes, header: bool, body: bool) -> None:
    rx = receiver((header, body), capacity=1 << 15)
    try:
        found = receive(rx, data)
    except ProtocolError:
        return
    assert all(len(segment) <= MAX for _, _, segment in found)


@pytest.mark.parametrize("piece", [1000, 4096, 7777])
def test_a_long_stream_goes_through_one_chunk(piece: int) -> None:
    """A PDU cut off at the end of the memory moves to its beginning."""
    pdus = [
        Pdu.make(wire.NOP_OUT, itt=number, data=bytes([number & 0xFF]) * 300)
        for number in range(1000)
    ]
    stream = b"".join(pdu.raw for pdu in pdus)
    rx, found = Receiver(MAX, Chunks(1 << 16)), []
    for start in range(0, len(stream), piece):
        rx.feed(stream[start : start + piece])
        while (at := rx.next()) >= 0:
            found.append((bytes(rx.header[at : at + 48]), bytes(rx.data)))
    assert found == [(bytes(pdu.header), pdu.data) for pdu in pdus]
    assert rx.is_empty
