"""PDUs laid out for sending: their bytes, copies, and the release of memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.iscsi.chunks import Chunks
from scstfs.iscsi.transmit import CHUNK_DATA, MAX_BUFFERS, Transmitter
from tests.support.iscsi_wire import crc32c

HEADER = bytes(range(48))
#: More than fits into a chunk with anything else of its size.
BIG = bytes(CHUNK_DATA // 2 + 40_000)


def taken(tx: Transmitter, most: int = 1 << 30) -> bytes:
    """Send everything, at most ``most`` bytes at a time."""
    sent = bytearray()
    while tx.pending:
        data = b"".join(tx.buffers())[:most]
        assert data
        sent += data
        tx.sent(len(data))
    return bytes(sent)


@cache
def expected(header: bytes, data: bytes, *, digests: tuple[bool, bool]) -> bytes:
    body = data + bytes(-len(data) % 4)
    return (
        header
        + (crc32c(header) if digests[0] else b"")
        + body
        + (crc32c(body) if digests[1] and body else b"")
    )


@pytest.fixture(params=[(h, d) for h in (False, True) for d in (False, True)], ids=str)
def digests(request: pytest.FixtureRequest) -> tuple[bool, bool]:
    header, data = request.param
    return header, data


def transmitter(digests: tuple[bool, bool] = (False, False)) -> Transmitter:
    tx = Transmitter()
    tx.header_digest, tx.data_digest = digests
    return tx


def put(tx: Transmitter, data: bytes) -> None:
    tx.put(HEADER, data)


def put_reference(tx: Transmitter, data: bytes) -> None:
    tx.put_reference(HEADER, memoryview(data))


@pytest.mark.parametrize("lay_out", [put, put_reference])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 512, 4096, 4097])
def test_layout(
    lay_out: Callable[[Transmitter, bytes], None], length: int, digests: tuple[bool, bool]
) -> None:
    tx = transmitter(digests)
    data = bytes(i * 7 & 0xFF for i in range(length))
    # Twice, because memory is laid out anew from where it was used before.
    for _ in range(2):
        lay_out(tx, data)
        wanted = expected(HEADER, data, digests=digests)
        assert tx.pending == len(wanted)
        assert taken(tx) == wanted


def test_a_header_alone(digests: tuple[bool, bool]) -> None:
    tx = transmitter(digests)
    tx.put(HEADER)
    assert taken(tx) == expected(HEADER, b"", digests=digests)


def test_small_pdus_leave_as_one_buffer() -> None:
    tx = transmitter()
    for _ in range(10):
        tx.put(HEADER, b"abc")
    assert len(tx.buffers()) == 1
    assert taken(tx) == (HEADER + b"abc\0") * 10


def test_a_window_is_sent_as_far_as_it_was_laid_out() -> None:
    tx = transmitter()
    tx.put(HEADER, b"before")
    chunk, view, start, end = tx.window(1000)
    assert end - start >= 1000
    view[start : start + 3] = b"abc"
    assert tx.pending == len(HEADER) + 8
    chunk[start : start + 4] = b"wxyz"
    tx.lay_out(start + 4)
    assert tx.pending == len(HEADER) + 12
    assert taken(tx) == HEADER + b"before\0\0" + b"wxyz"


def test_a_window_that_was_not_used_leaves_nothing() -> None:
    tx = transmitter()
    _, view, start, _ = tx.window(100)
    view[start : start + 100] = b"x" * 100
    assert tx.pending == 0
    tx.put(HEADER, b"data")
    assert taken(tx) == HEADER + b"data"


def test_there_is_always_room_for_a_window() -> None:
    tx = transmitter()
    for _ in range(5):
        chunk, _, start, end = tx.window(200_000)
        assert end - start >= 200_000
        chunk[start : start + 200_000] = bytes(200_000)
        tx.lay_out(start + 200_000)
    assert tx.pending == 1_000_000
    assert len(taken(tx)) == 1_000_000


def test_referenced_data_is_not_copied() -> None:
    tx = transmitter()
    data = bytearray(b"before")
    tx.put_reference(HEADER, memoryview(data))
    data[:] = b"after!"
    assert taken(tx) == HEADER + b"after!\0\0"


def test_memory_is_given_back_when_the_data_has_left_and_not_before() -> None:
    tx = transmitter()
    given: list[str] = []
    for name in "ab":
        tx.put_reference(HEADER, memoryview(b"12345678"), partial(given.append, name))
    tx.sent(len(tx.buffers()[0]) + 7)
    assert given == []
    tx.buffers()
    tx.sent(1)
    assert given == ["a"]
    taken(tx)
    assert given == ["a", "b"]


def test_clear_gives_everything_back_once() -> None:
    tx = transmitter()
    given: list[int] = []
    tx.put_reference(HEADER, memoryview(bytes(100)), lambda: given.append(1))
    tx.put(HEADER, b"x")
    tx.clear()
    tx.clear()
    assert (given, tx.pending, tx.buffers()) == ([1], 0, [])
    # And what comes later is given back in its turn.
    tx.put_reference(HEADER, memoryview(bytes(100)), lambda: given.append(2))
    taken(tx)
    assert given == [1, 2]


def test_a_chunk_is_borrowed_while_there_is_something_in_it() -> None:
    chunks = Chunks()
    tx, other = Transmitter(chunks), Transmitter(chunks)
    put(tx, BIG)
    tx.sent(1)
    tx.rest()
    assert chunks.free == 0
    tx.sent(tx.pending)
    tx.rest()
    assert chunks.free == 1
    put(other, BIG)
    put(tx, BIG[::-1])
    assert taken(tx) == expected(HEADER, BIG[::-1], digests=(False, False))
    assert taken(other) == expected(HEADER, BIG, digests=(False, False))
    tx.rest()
    other.rest()
    assert chunks.free == 2


def test_a_few_words_take_little_memory() -> None:
    chunks = Chunks()
    speakers = [Transmitter(chunks) for _ in range(3)]
    for tx in speakers:
        put(tx, b"x")
        (buffer,) = tx.buffers()
        assert isinstance(buffer.obj, bytearray)
        assert len(buffer.obj) <= 4096
    # More than that continues in a chunk.
    for tx in speakers:
        for number in range(100):
            put(tx, bytes([number]) * 100)
        wanted = (HEADER + bytes([number]) * 100 for number in range(100))
        assert taken(tx) == HEADER + b"x\0\0\0" + b"".join(wanted)
        tx.rest()
    assert chunks.free == 1


def test_rest_gives_back_a_chunk_that_was_not_used() -> None:
    chunks = Chunks()
    tx = Transmitter(chunks)
    tx.window(100)
    assert chunks.free == 0
    tx.rest()
    assert chunks.free == 1
    put(tx, b"pending")
    tx.rest()
    assert taken(tx) == expected(HEADER, b"pending", digests=(False, False))


def test_clear_gives_the_chunks_back_too() -> None:
    chunks = Chunks()
    tx = Transmitter(chunks)
    for _ in range(3):
        put(tx, BIG)
    released: list[bool] = []
    tx.put_reference(HEADER, memoryview(b"data"), partial(released.append, True))
    tx.clear()
    assert (released, tx.pending, tx.buffers(), chunks.free) == ([True], 0, [], 3)
    put(tx, b"late")
    assert taken(tx) == expected(HEADER, b"late", digests=(False, False))


def test_more_than_a_chunk_and_more_than_one_call_takes() -> None:
    tx = transmitter()
    big = bytes(range(256)) * (CHUNK_DATA // 256)
    wanted = b""
    for number in range(5):
        tx.put(HEADER, big)
        wanted += HEADER + big
        tx.put_reference(HEADER, memoryview(big[:number]))
        wanted += HEADER + big[:number] + bytes(-number % 4)
    assert taken(tx, 100_000) == wanted


def test_one_call_gets_a_limited_number_of_buffers() -> None:
    tx = transmitter()
    for _ in range(MAX_BUFFERS):
        tx.put_reference(HEADER, memoryview(b"data"))
    assert len(tx.buffers()) == MAX_BUFFERS
    assert taken(tx) == (HEADER + b"data") * MAX_BUFFERS


def test_data_larger_than_a_chunk_is_still_laid_out() -> None:
    tx = transmitter()
    tx.put(HEADER, bytes(1 << 20))
    assert taken(tx) == HEADER + bytes(1 << 20)
    tx.put(HEADER, b"next")
    assert taken(tx) == HEADER + b"next"


_ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.binary(max_size=2000)),
    st.tuples(st.just("reference"), st.binary(min_size=1, max_size=2000)),
    st.tuples(st.just("window"), st.binary(min_size=1, max_size=2000)),
    st.tuples(st.just("send"), st.integers(1, 5000)),
    st.tuples(st.just("big"), st.just(b"")),
)


@settings(deadline=None)
@given(st.lists(_ACTIONS, max_size=40), st.booleans(), st.booleans())
def test_any_sequence_sends_the_same_bytes(
    actions: list[tuple[str, bytes | int]], header: bool, data: bool
) -> None:
    tx = transmitter((header, data))
    wanted, sent = bytearray(), bytearray()
    released: list[int] = []
    promised = 0
    for what, value in actions:
        if isinstance(value, int):
            piece = b"".join(tx.buffers())[:value]
            sent += piece
            if piece:
                tx.sent(len(piece))
            tx.rest()
        elif what == "put":
            put(tx, value)
            wanted += expected(HEADER, value, digests=(header, data))
        elif what == "big":
            put(tx, BIG)
            wanted += expected(HEADER, BIG, digests=(header, data))
        elif what == "reference":
            tx.put_reference(HEADER, memoryview(value), partial(released.append, promised))
            promised += 1
            wanted += expected(HEADER, value, digests=(header, data))
        else:
            chunk, _, start, _ = tx.window(len(value))
            chunk[start : start + len(value)] = value
            tx.lay_out(start + len(value))
            wanted += value
        assert tx.pending == len(wanted) - len(sent)
    sent += taken(tx)
    assert sent == wanted
    assert tx.sent_total == len(wanted)
    assert released == list(range(promised))
