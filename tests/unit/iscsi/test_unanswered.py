from __future__ import annotations

import pytest

from scstfs.iscsi.serial import add
from scstfs.iscsi.task import IscsiTask
from scstfs.iscsi.unanswered import REMEMBERED, Unanswered
from tests.support.engine import Engine


def a_task(itt: int, cmd_sn: int, *, immediate: bool = False) -> IscsiTask:
    return IscsiTask(
        Engine().connection.tasks,
        itt=itt,
        lun=bytes(8),
        cdb=bytes(16),
        attribute=0,
        reads=False,
        writes=False,
        expected=0,
        cmd_sn=cmd_sn,
        immediate=immediate,
    )


def remembered(*cmd_sns: int) -> Unanswered:
    found = Unanswered()
    for cmd_sn in cmd_sns:
        found.add(a_task(cmd_sn & 0xFF, cmd_sn))
    return found


def test_tag_and_number_have_to_be_those_of_the_command() -> None:
    unanswered = remembered(5)
    assert unanswered.has(5, 5, 6)
    assert not unanswered.has(6, 5, 6)
    assert not unanswered.has(5, 6, 7)


def test_what_did_not_come_has_no_tag() -> None:
    unanswered = Unanswered()
    unanswered.add_missing(5)
    assert unanswered.has(1, 5, 6)
    assert unanswered.has(2, 5, 6)


def test_an_immediate_command_has_no_number() -> None:
    unanswered = Unanswered()
    unanswered.add(a_task(7, 5, immediate=True))
    assert unanswered.has_immediate(7)
    assert not unanswered.has(7, 5, 6)
    assert not unanswered.has_immediate(8)
    unanswered.begins(a_task(7, 6))
    assert unanswered.has_immediate(7)
    unanswered.begins(a_task(7, 6, immediate=True))
    assert not unanswered.has_immediate(7)


@pytest.mark.parametrize("first", [0, 0xFFFFFF00, 0x7FFFFFFF])
def test_how_long_a_command_is_remembered(first: int) -> None:
    unanswered = remembered(first)
    tag = first & 0xFF
    assert unanswered.has(tag, first, add(first, REMEMBERED))
    assert not unanswered.has(tag, first, add(first, REMEMBERED + 1))
    # Not answered yet is not the same.
    assert not unanswered.has(tag, first, first)


def test_how_many_are_remembered() -> None:
    unanswered = remembered(*range(REMEMBERED + 1))
    last = REMEMBERED + 1
    assert not unanswered.has(0, 0, last)
    assert all(unanswered.has(number & 0xFF, number, last) for number in range(1, last))
