"""Memory is given back when many have gone, and not again and again."""

from __future__ import annotations

import gc

from scstfs import memory
from scstfs.memory import MANY, Trimmer


def test_trimming_leaves_the_collector_as_it_was() -> None:
    memory.trim()
    assert gc.get_freeze_count() == 0
    assert gc.isenabled()


def test_it_trims_once_when_no_more_go() -> None:
    trims: list[int] = []
    trimmer = Trimmer(lambda: trims.append(1))
    for _ in range(3):
        for _ in range(MANY):
            trimmer.gone()
        trimmer.tick()
    assert trims == []
    for _ in range(3):
        trimmer.tick()
    assert trims == [1]


def test_a_few_are_not_worth_it() -> None:
    trims: list[int] = []
    trimmer = Trimmer(lambda: trims.append(1))
    for _ in range(MANY - 1):
        trimmer.gone()
    for _ in range(3):
        trimmer.tick()
    assert trims == []
    trimmer.gone()
    for _ in range(3):
        trimmer.tick()
    assert trims == [1]
