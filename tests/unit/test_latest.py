"""The latest lines: which are kept."""

from __future__ import annotations

from scstfs.latest import LatestLines


def test_the_oldest_are_forgotten() -> None:
    lines = LatestLines(100)
    assert lines.text == ""
    assert lines.values == []
    for number in range(1000):
        lines.add({"n": number})
        assert len(lines.text) <= 100
        assert lines.values[-1] == {"n": number}
    assert [value["n"] for value in lines.values] == list(range(1000 - len(lines.values), 1000))
    assert len(lines.text) > 80


def test_a_full_ring_loses_only_what_is_needed() -> None:
    lines = LatestLines(12)
    for number in range(4):
        lines.add(number)
    lines.add("abcd")
    assert lines.values == [2, 3, "abcd"]


def test_any_text_can_be_kept() -> None:
    lines = LatestLines(1000)
    lines.add(["a\nb", "\udcff", 1.5, None])
    assert lines.values == [["a\nb", "\udcff", 1.5, None]]
