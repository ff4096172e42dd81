"""Borrowed memory: the order of reuse, and how much is kept."""

from __future__ import annotations

from scstfs.iscsi.chunks import Chunks


def test_what_was_given_back_last_is_lent_first() -> None:
    chunks = Chunks(100)
    first, second = chunks.take(), chunks.take()
    assert first[0] is not second[0]
    chunks.give_back(first)
    chunks.give_back(second)
    assert chunks.take() is second
    assert chunks.take() is first
    assert (len(first[0]), first[1].obj) == (100, first[0])


def test_no_more_than_so_many_are_kept() -> None:
    chunks = Chunks(100, kept=2)
    for chunk in [chunks.take() for _ in range(5)]:
        chunks.give_back(chunk)
    assert chunks.free == 2
