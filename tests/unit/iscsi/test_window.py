"""The command window: which CmdSNs are accepted, and commands that arrive too early."""

from __future__ import annotations

import struct

import pytest

from scstfs.iscsi.codes import RESERVED_TAG
from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.requests import Rejected, Request
from scstfs.iscsi.window import Window

LAST = 0xFFFFFFFF
COMMAND, DATA_OUT, FINAL = 0x01, 0x05, 0x80


class Session:
    """A window, and the task tags of unanswered requests."""

    def __init__(self, cmd_sn: int = 10, *, depth: int = 4, max_cmd_sn: int | None = None) -> None:
        self.tasks: dict[int, None] = {}
        self.functions: dict[int, None] = {}
        self.window = Window(
            self.tasks,
            self.functions,
            cmd_sn=cmd_sn,
            max_cmd_sn=max_cmd_sn,
            queue_depth=depth,
            first_burst=1024,
        )

    @property
    def numbers(self) -> tuple[int, int]:
        """ExpCmdSN and MaxCmdSN."""
        return self.window.exp_cmd_sn, self.window.max_cmd_sn

    def come(self, cmd_sn: int, *, task: bool = True) -> bool:
        """Receive a command, and accept it when it is due; a ``task`` is then in progress."""
        if not self.window.admit(request(cmd_sn)):
            return False
        if task:
            self.tasks[cmd_sn] = None
        self.window.accept(is_immediate=False)
        return True


def request(
    cmd_sn: int, *, flags: int = FINAL, data: bytes = b"", opcode: int = COMMAND
) -> Request:
    """A request whose task tag is its CmdSN."""
    header = bytearray(struct.pack(">BB14xI4xI20x", opcode, flags, cmd_sn, cmd_sn))
    return Request(header, 0, b"", memoryview(data), True)


# How many may come


def test_the_window_is_as_wide_as_there_is_room() -> None:
    session = Session(depth=4)
    assert (session.numbers, session.window.credit) == ((10, 13), 3)
    assert session.come(10)
    # One command is in progress, so the window does not grow.
    assert (session.numbers, session.window.credit) == ((11, 13), 2)
    session.functions[99] = None
    session.window.open()
    assert (session.window.credit, session.window.under_way) == (1, 2)
    session.tasks.clear()
    session.functions.clear()
    session.window.open()
    assert (session.numbers, session.window.credit) == ((11, 14), 3)


def test_what_the_peer_was_told_holds() -> None:
    session = Session(depth=8)
    session.window.queue_depth = 2
    session.window.open()
    assert session.numbers == (10, 17)
    assert session.come(17) is False
    assert session.window.take_due() is None


@pytest.mark.parametrize("room", [0, -1])
def test_a_closed_window_takes_nothing(room: int) -> None:
    session = Session(depth=2)
    for cmd_sn in (10, 11):
        assert session.come(cmd_sn)
    session.window.queue_depth += room
    session.window.open()
    assert session.numbers == (12, 11)
    assert not session.window.is_plain
    assert not session.come(12)
    assert session.window.take_due() is None
    session.tasks.clear()
    session.window.open()
    assert session.come(12)


def test_numbers_go_round() -> None:
    session = Session(LAST, depth=3)
    assert session.numbers == (LAST, 1)
    for cmd_sn in (LAST, 0, 1):
        assert session.come(cmd_sn, task=False)
    assert session.numbers == (2, 4)


def test_what_needs_no_look_at_numbers() -> None:
    session = Session(depth=4)
    window = session.window
    assert window.is_plain
    assert not session.come(11)
    assert not window.is_plain, "something waits for its turn"
    assert session.come(10)
    assert window.take_due() is not None
    window.accept(is_immediate=False)
    window.open()
    assert window.is_plain
    session.functions[9] = None
    window.open()
    assert not window.is_plain, "a function may wait for it"
    session.functions.clear()
    window.queue_depth = 2
    window.open()
    assert not window.is_plain, "the peer may send more than there is room for"


def test_a_run_of_commands_moves_the_window_at_once() -> None:
    session = Session(depth=4)
    session.window.advance(12, session.window.credit)
    assert session.numbers == (12, 15)
    assert session.window.is_plain
    session.window.advance(16, -1)
    assert session.numbers == (16, 15)
    assert not session.window.is_plain, "it is closed"


# Tags


def test_tags_of_what_is_under_way_are_taken() -> None:
    session = Session()
    session.tasks[1] = session.functions[2] = None
    for itt, reason in (
        (1, RejectReason.TASK_IN_PROGRESS),
        (2, RejectReason.TASK_IN_PROGRESS),
        (RESERVED_TAG, RejectReason.INVALID_PDU_FIELD),
    ):
        with pytest.raises(Rejected) as caught:
            session.window.check_tag(itt, session.tasks, is_immediate=False)
        assert caught.value.reason is reason
    session.window.check_tag(3, session.tasks, is_immediate=True)


def test_so_many_immediate_requests_of_a_kind_are_bearable() -> None:
    session = Session(depth=2)
    session.tasks.update(dict.fromkeys(range(9)))
    session.window.check_tag(100, session.tasks, is_immediate=True)
    session.tasks[9] = None
    with pytest.raises(Rejected) as caught:
        session.window.check_tag(100, session.tasks, is_immediate=True)
    assert caught.value.reason is RejectReason.IMMEDIATE_COMMAND_REJECT
    # This does not concern the other kind, nor commands that are not immediate.
    session.window.check_tag(100, session.functions, is_immediate=True)
    session.window.check_tag(100, session.tasks, is_immediate=False)


# Out of order


def test_what_comes_early_waits_for_its_turn() -> None:
    session = Session()
    window = session.window
    for cmd_sn in (12, 11, 12, 14, 9):
        assert not session.come(cmd_sn)
    assert window.is_waiting
    assert session.come(10)
    taken = []
    while (early := window.take_due()) is not None:
        taken.append(early.cmd_sn)
        window.accept(is_immediate=False)
    # 14 was outside the window, 9 before it.
    assert taken == [11, 12]
    assert (window.exp_cmd_sn, window.is_waiting) == (13, False)


def test_a_request_that_waits_outlives_its_buffer() -> None:
    session = Session()
    early = request(11, data=b"data")
    assert not session.window.admit(early)
    early.header[:] = bytes(48)
    assert session.come(10)
    due = session.window.take_due()
    assert due is not None
    assert (due.cmd_sn, bytes(due.data)) == (11, b"data")


def test_data_waits_with_its_command() -> None:
    session = Session()
    window = session.window
    window.admit(request(11, flags=0))
    window.admit(request(12))
    for itt in (11, 12, 13):
        window.keep_data(request(itt, data=b"x" * 512, opcode=DATA_OUT))
    # Only for a command that announced data.
    assert [len(window.take_data(itt)) for itt in (11, 12, 13, 11)] == [1, 0, 0, 0]


# Skipped commands


def test_a_skipped_command_counts_as_received() -> None:
    session = Session()
    window = session.window
    window.admit(request(12, flags=0))
    window.skip(12)
    window.skip(11)
    assert session.numbers == (10, 13)
    assert not window.is_plain
    assert not session.come(11)
    assert session.come(10)
    assert (window.exp_cmd_sn, window.take_due(), window.take_data(12)) == (13, None, [])
    window.skip(13)
    assert window.exp_cmd_sn == 14


def test_plugging_gives_up_all_that_is_missing() -> None:
    session = Session(depth=8)
    window = session.window
    for cmd_sn in (11, 13, 15):
        window.admit(request(cmd_sn))
    window.skip(12)
    window.skip(14)
    assert window.plug(14) == [10, 11, 12, 13]
    # Skipped numbers after it are passed, and the commands that wait for it are due.
    assert window.exp_cmd_sn == 15
    due = window.take_due()
    assert due is not None
    assert due.cmd_sn == 15


@pytest.mark.parametrize(
    ("cmd_sn", "missing"), [(10, []), (14, [10, 11, 12, 13]), (15, []), (9, [])]
)
def test_plugging_stays_within_the_window(cmd_sn: int, missing: list[int]) -> None:
    session = Session(depth=4)
    assert session.window.plug(cmd_sn) == missing
    assert session.window.exp_cmd_sn == 10 + len(missing)


def test_nothing_waits_for_a_connection_that_is_gone() -> None:
    session = Session()
    window = session.window
    window.admit(request(11, flags=0))
    window.skip(12)
    window.clear()
    assert not window.is_waiting
    assert window.take_data(11) == []
    assert session.come(10)
    assert (window.take_due(), window.exp_cmd_sn) == (None, 11)
