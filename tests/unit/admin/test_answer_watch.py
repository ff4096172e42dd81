from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.admin.answer_watch import AnswerWatch

PATIENCE = 0.5
LONG = 20.0


class Tree:
    """Answers while `answers` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Semaphore(0)

    def getxattr(self, *_: object) -> bytes:
        self.asked.release()
        assert self.answers.wait(LONG)
        raise OSError


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    made = Tree()
    monkeypatch.setattr(os, "getxattr", made.getxattr)
    yield made
    made.answers.set()


def test_a_tree_that_answers_is_left_alone(tree: Tree) -> None:
    said: list[str] = []
    with AnswerWatch("/tree", said.append, said.append, PATIENCE):
        for _ in range(3):
            assert tree.asked.acquire(timeout=LONG)
    assert said == []


def test_one_that_does_not_is_given_up_once_all_is_in_order(tree: Tree) -> None:
    tree.answers.clear()
    said: queue.Queue[str] = queue.Queue()
    with AnswerWatch("/tree", said.put, said.put, PATIENCE) as watch:
        watch.at_end(lambda: said.put("in order"))
        assert said.get(timeout=LONG) == "in order"
        assert said.get(timeout=LONG) == "SCST at /tree does not answer"


def test_what_must_not_stay_half_done_is_waited_for(tree: Tree) -> None:
    tree.answers.clear()
    ends: queue.Queue[str] = queue.Queue()
    told: queue.Queue[str] = queue.Queue()
    with AnswerWatch("/tree", ends.put, told.put, PATIENCE) as watch:
        with watch.waiting():
            assert told.get(timeout=LONG) == "SCST at /tree does not answer; waiting"
            tree.answers.set()
            assert tree.asked.acquire(timeout=LONG)
            assert tree.asked.acquire(timeout=LONG)
        assert ends.empty()


def test_nothing_is_asked_any_more_at_the_end(tree: Tree, tmp_path: Path) -> None:
    said: list[str] = []
    before = threading.active_count()
    for _ in range(5):
        with AnswerWatch(str(tmp_path), said.append, said.append, PATIENCE):
            assert tree.asked.acquire(timeout=LONG)
    for thread in threading.enumerate()[before:]:
        thread.join(LONG)
    assert threading.active_count() == before
    assert said == []
