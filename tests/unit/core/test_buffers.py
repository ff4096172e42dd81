"""Pooled buffers: which are kept for reuse, and the statistics of the pool."""

from __future__ import annotations

import mmap

import pytest

from scstfs.core.buffers import BufferPool

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("size", "index"),
    [
        (0, 0),
        (1, 0),
        (4 * KIB, 0),
        (4 * KIB + 1, 1),
        (8 * KIB, 1),
        (8 * KIB + 1, 2),
        (2 * MIB + 1, 10),
        (4 * MIB, 10),
        (4 * MIB + 1, None),
    ],
)
def test_a_size_belongs_to_a_class(size: int, index: int | None) -> None:
    pool = BufferPool("sgv")
    buffer = pool.get(size)
    assert len(buffer.view) == size
    totals = [row.total for row in pool.statistics.classes]
    assert totals == [int(index == number) for number in range(11)]
    assert pool.statistics.big == (index is None)
    buffer.release()
    # A buffer is kept with the size of its class, even if less was requested. Large ones are not
    # kept.
    assert pool.cached_buffers == (index is not None)
    assert pool.cached_pages == (0 if index is None else 1 << index)


def test_what_was_used_last_is_used_first() -> None:
    pool = BufferPool("sgv")
    first, second = pool.get(4096), pool.get(4096)
    first.view[:1], second.view[:1] = b"1", b"2"
    first.release()
    second.release()
    assert (pool.cached_buffers, pool.cached_pages) == (2, 2)
    assert [bytes(pool.get(size).view[:1]) for size in (100, 4096)] == [b"2", b"1"]
    assert (pool.cached_buffers, pool.cached_pages) == (0, 0)
    row = pool.statistics.classes[0]
    assert (row.hits, row.total) == (2, 4)


def test_a_class_has_nothing_of_another() -> None:
    pool = BufferPool("sgv")
    pool.get(4096).release()
    pool.get(8192)
    assert [(row.hits, row.total) for row in pool.statistics.classes[:2]] == [(0, 1), (0, 1)]


def test_a_pool_keeps_so_much_and_no_more() -> None:
    pool = BufferPool("sgv", keep=12 * KIB)
    buffers = [pool.get(4 * KIB) for _ in range(4)]
    for number, buffer in enumerate(buffers):
        buffer.release()
        assert pool.cached_buffers == min(number + 1, 3)
    assert pool.cached_pages == 3
    large = pool.get(8 * KIB)
    pool.get(4 * KIB)
    large.release()
    # 8 KiB of small buffers are kept, and there is no room for another 8 KiB.
    assert pool.cached_pages == 2
    pool.get(4 * KIB)
    pool.get(8 * KIB).release()
    assert pool.cached_pages == 3


def test_buffers_are_aligned_as_direct_io_wants_it() -> None:
    assert mmap.PAGESIZE <= 4096
    pool = BufferPool("sgv")
    assert pool.get(100).view.c_contiguous
    assert not pool.get(100).view.readonly


def test_a_reset_forgets_what_was_counted_and_keeps_buffers() -> None:
    pool = BufferPool("sgv")
    for size in (4096, 8192, 5 * MIB):
        pool.get(size).release()
    pool.get(4096).release()
    pool.statistics.reset()
    assert [(row.hits, row.total) for row in pool.statistics.classes] == [(0, 0)] * 11
    assert pool.statistics.big == 0
    assert pool.cached_pages == 3
