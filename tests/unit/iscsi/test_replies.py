"""What a target sends, byte for byte, and how it numbers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from scstfs.iscsi.codes import CONTINUE, FINAL, AsyncEvent, LogoutCode, TaskResponse
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.errors import RejectReason
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.task import IscsiTask
from scstfs.iscsi.transfer import Transfer
from scstfs.iscsi.transmit import Transmitter
from tests.support import iscsi_wire as wire
from tests.support.engine import EngineHost
from tests.support.iscsi_wire import Pdu

LUN = bytes.fromhex("0003000000000000")
SMALL = SessionParameters(max_xmit_data_segment_length=512, max_burst_length=1024)


def connect(
    parameters: SessionParameters | None = None,
    *,
    depth: int = 8,
    cmd_sn: int = 0x10,
) -> Connection:
    """ExpCmdSN 0x10, MaxCmdSN 0x17, StatSN 0x20."""
    return Connection(
        EngineHost(),
        parameters or SessionParameters(),
        cmd_sn=cmd_sn,
        stat_sn=0x20,
        queue_depth=depth,
        rx=Receiver(512),
        tx=Transmitter(),
    )


def task(
    connection: Connection, *, expected: int = 0, reads: bool = False, itt: int = 0xAABB
) -> IscsiTask:
    made = IscsiTask(
        connection.tasks,
        itt=itt,
        lun=LUN,
        cdb=bytes(16),
        attribute=1,
        reads=reads,
        writes=not reads,
        expected=expected,
        cmd_sn=0x0F,
        immediate=False,
    )
    connection.tasks.by_tag[itt] = made
    return made


def raw(connection: Connection) -> bytes:
    data = b"".join(connection.tx.buffers())
    connection.tx.sent(len(data))
    return data


def pdus(connection: Connection) -> list[Pdu]:
    data, found = raw(connection), []
    while data:
        length = int.from_bytes(data[5:8], "big")
        found.append(Pdu(data[:48], data[48 : 48 + length]))
        data = data[48 + length + (-length & 3) :]
    return found


def good(connection: Connection) -> None:
    connection.tasks.answer(task(connection), 0)


def check_condition(connection: Connection) -> None:
    connection.tasks.answer(task(connection), 2, sense=b"\x70\x00\x05", residual=512)


def overflow(connection: Connection) -> None:
    connection.tasks.answer(task(connection), 0, residual=-4)


def read(connection: Connection) -> None:
    connection.tasks.answer(
        task(connection, reads=True), 0, data=memoryview(b"\x01\x02\x03"), residual=509
    )


def r2t(connection: Connection) -> None:
    connection.replies.ready_to_transfer(task(connection), 0x77, 2, 0x4000, 0x2000)


def function(connection: Connection) -> None:
    connection.replies.task_management_response(0xCC, TaskResponse.FUNCTION_REJECTED)


def function_with_information(connection: Connection) -> None:
    connection.replies.task_management_response(
        0xCC, TaskResponse.FUNCTION_SUCCEEDED, bytes.fromhex("162901")
    )


def ping(connection: Connection) -> None:
    connection.replies.nop_in(0xFFFFFFFF, 0x55, bytes(8))


def pong(connection: Connection) -> None:
    connection.replies.nop_in(0xDD, 0xFFFFFFFF, bytes(8), b"hello")


def reject(connection: Connection) -> None:
    connection.replies.reject(RejectReason.PROTOCOL_ERROR, b"--" + bytes(range(48)), 2)


def event(connection: Connection) -> None:
    connection.replies.async_message(AsyncEvent.SCSI, lun=LUN, sense=b"\x70\x00\x06")


def drop_event(connection: Connection) -> None:
    connection.replies.async_message(AsyncEvent.CONNECTION_DROPPED, parameters=(7, 2, 0))


def text(connection: Connection) -> None:
    connection.replies.text_response(0xEE, 0xFFFFFFFF, FINAL, b"A=b\0")


def text_part(connection: Connection) -> None:
    connection.replies.text_response(0xEE, 0, CONTINUE, b"A=")


def logout(connection: Connection) -> None:
    connection.replies.logout_response(0xFF, LogoutCode.CID_NOT_FOUND)


# In the order of the figures of RFC 7143 11: one line for each 16 bytes of a header.
GOLDEN: list[tuple[Callable[[Connection], None], str, int]] = [
    (
        good,
        "21800000 00000000 00000000 00000000"
        "0000aabb 00000000 00000020 00000010 00000017 00000000 00000000 00000000",
        1,
    ),
    (
        check_condition,
        "21820002 00000005 00000000 00000000"
        "0000aabb 00000000 00000020 00000010 00000017 00000000 00000000 00000200"
        "0003 700005 000000",
        1,
    ),
    (
        overflow,
        "21840000 00000000 00000000 00000000"
        "0000aabb 00000000 00000020 00000010 00000017 00000000 00000000 00000004",
        1,
    ),
    (
        read,
        "25830000 00000003 00000000 00000000"
        "0000aabb ffffffff 00000020 00000010 00000017 00000000 00000000 000001fd"
        "01020300",
        1,
    ),
    (
        r2t,
        "31800000 00000000 00030000 00000000"
        "0000aabb 00000077 00000020 00000010 00000017 00000002 00004000 00002000",
        0,
    ),
    (
        function,
        "2280ff00 00000000 00000000 00000000"
        "000000cc 00000000 00000020 00000010 00000017 00000000 00000000 00000000",
        1,
    ),
    (
        function_with_information,
        "22800700 00000000 16290100 00000000"
        "000000cc 00000000 00000020 00000010 00000017 00000000 00000000 00000000",
        1,
    ),
    (
        ping,
        "20800000 00000000 00000000 00000000"
        "ffffffff 00000055 00000020 00000010 00000017 00000000 00000000 00000000",
        0,
    ),
    (
        pong,
        "20800000 00000005 00000000 00000000"
        "000000dd ffffffff 00000020 00000010 00000017 00000000 00000000 00000000"
        "68656c6c 6f000000",
        1,
    ),
    (
        reject,
        "3f800400 00000030 00000000 00000000"
        "ffffffff 00000000 00000020 00000010 00000017 00000000 00000000 00000000"
        + bytes(range(48)).hex(),
        1,
    ),
    (
        event,
        "32800000 00000005 00030000 00000000"
        "ffffffff 00000000 00000020 00000010 00000017 00000000 00000000 00000000"
        "0003 700006 000000",
        1,
    ),
    (
        drop_event,
        "32800000 00000000 00000000 00000000"
        "ffffffff 00000000 00000020 00000010 00000017 02000007 00020000 00000000",
        1,
    ),
    (
        text,
        "24800000 00000004 00000000 00000000"
        "000000ee ffffffff 00000020 00000010 00000017 00000000 00000000 00000000"
        "413d6200",
        1,
    ),
    (
        text_part,
        "24400000 00000002 00000000 00000000"
        "000000ee 00000000 00000020 00000010 00000017 00000000 00000000 00000000"
        "413d0000",
        1,
    ),
    (
        logout,
        "26800100 00000000 00000000 00000000"
        "000000ff 00000000 00000020 00000010 00000017 00000000 00000000 00000000",
        1,
    ),
]


@pytest.mark.parametrize(
    ("send", "golden", "statuses"), GOLDEN, ids=[row[0].__name__ for row in GOLDEN]
)
def test_golden(send: Callable[[Connection], None], golden: str, statuses: int) -> None:
    """The bytes, and how many StatSNs they use up."""
    connection = connect()
    send(connection)
    assert raw(connection).hex() == bytes.fromhex(golden).hex()
    assert connection.replies.stat_sn == 0x20 + statuses


def test_stat_sn_wraps() -> None:
    connection = connect()
    connection.replies.stat_sn = 0xFFFFFFFF
    good(connection)
    good(connection)
    assert [pdu["stat_sn"] for pdu in pdus(connection)] == [0xFFFFFFFF, 0]


# Data-In


def split(length: int, parameters: SessionParameters, *, status: int = 0) -> list[Pdu]:
    connection = connect(parameters)
    data = bytes(i & 0xFF for i in range(length))
    sense = b"\x70" if status else b""
    connection.tasks.answer(
        task(connection, reads=True, expected=length), status, sense=sense, data=memoryview(data)
    )
    found = pdus(connection)
    assert b"".join(pdu.data for pdu in found if pdu.opcode == wire.DATA_IN) == data
    return found


@pytest.mark.parametrize(
    ("length", "sizes", "final"),
    [
        (1, [1], [0]),
        (512, [512], [0]),
        (513, [512, 1], [1]),
        (1024, [512, 512], [1]),
        (1025, [512, 512, 1], [1, 2]),
        (2500, [512, 512, 512, 512, 452], [1, 3, 4]),
    ],
    ids=str,
)
def test_data_is_cut_at_segments_and_bursts(
    length: int, sizes: list[int], final: list[int]
) -> None:
    found = split(length, SMALL)
    assert [len(pdu.data) for pdu in found] == sizes
    assert [pdu["data_sn"] for pdu in found] == list(range(len(sizes)))
    assert [i for i, pdu in enumerate(found) if pdu.flags & FINAL] == final
    assert [i for i, pdu in enumerate(found) if pdu.flags & 1] == [len(sizes) - 1]
    offsets = [pdu["buffer_offset"] for pdu in found]
    assert offsets == [sum(sizes[:i]) for i in range(len(sizes))]
    # Only the one with status has a StatSN (RFC 7143 11.7).
    assert [pdu["stat_sn"] for pdu in found] == [0] * (len(sizes) - 1) + [0x20]


def test_a_segment_that_is_no_part_of_a_burst() -> None:
    parameters = SessionParameters(max_xmit_data_segment_length=700, max_burst_length=1000)
    found = split(2100, parameters)
    assert [len(pdu.data) for pdu in found] == [700, 300, 700, 300, 100]
    assert [bool(pdu.flags & FINAL) for pdu in found] == [False, True, False, True, True]


def test_bad_status_comes_in_a_response_after_the_data() -> None:
    *data, response = split(1500, SMALL, status=2)
    assert [pdu.flags for pdu in data] == [0, FINAL, FINAL]
    assert (response.opcode, response["status"]) == (wire.SCSI_RESPONSE, 2)
    assert response["exp_data_sn"] == 3


def test_ping_data_is_cut_to_what_the_peer_takes() -> None:
    connection = connect(SMALL)
    connection.replies.nop_in(1, 0xFFFFFFFF, bytes(8), b"x" * 600)
    (pdu,) = pdus(connection)
    assert pdu.data == b"x" * 512


# The command window


def window(connection: Connection) -> tuple[int, int]:
    return connection.window.exp_cmd_sn, connection.window.max_cmd_sn


@pytest.mark.parametrize("depth", [1, 2, 8, 2048])
def test_the_window_is_the_queue_less_what_is_under_way(depth: int) -> None:
    connection = connect(depth=depth)
    assert window(connection) == (0x10, 0x10 + depth - 1)
    open_tasks = []
    for number in range(depth):
        open_tasks.append(task(connection, itt=number))
        connection.window.exp_cmd_sn += 1
        connection.window.open()
        assert connection.window.max_cmd_sn == 0x10 + depth - 1
    # Closed: MaxCmdSN is ExpCmdSN - 1 and never less.
    assert connection.window.max_cmd_sn == connection.window.exp_cmd_sn - 1
    for number, open_task in enumerate(open_tasks, 1):
        connection.tasks.answer(open_task, 0)
        assert pdus(connection)[-1]["max_cmd_sn"] == connection.window.exp_cmd_sn - 1 + number


def test_the_window_wraps() -> None:
    connection = connect(depth=4, cmd_sn=0xFFFFFFFE)
    assert connection.window.max_cmd_sn == 1


def test_a_smaller_window_never_takes_back_what_was_promised() -> None:
    connection = connect(depth=8)
    connection.set_queue_depth(2)
    assert window(connection) == (0x10, 0x17)
    connection.window.exp_cmd_sn = 0x16
    connection.window.open()
    assert window(connection) == (0x16, 0x17)
    connection.window.exp_cmd_sn = 0x17
    connection.window.open()
    assert window(connection) == (0x17, 0x18)


def test_a_wider_window_is_told_by_a_nop_in() -> None:
    connection = connect(depth=2)
    connection.set_queue_depth(4)
    (nop,) = pdus(connection)
    assert (nop.opcode, nop["itt"], nop["ttt"]) == (wire.NOP_IN, wire.NO_TAG, wire.NO_TAG)
    assert nop["max_cmd_sn"] == 0x13
    connection.set_queue_depth(4)
    assert pdus(connection) == []


def test_a_window_that_opens_silently_is_told_unless_something_else_tells_it() -> None:
    connection = connect(depth=1)
    first = task(connection)
    connection.window.exp_cmd_sn += 1
    connection.window.open()
    connection.tasks.end_silently(first)
    (nop,) = pdus(connection)
    assert (nop.opcode, nop["max_cmd_sn"]) == (wire.NOP_IN, 0x11)

    second = task(connection)
    connection.window.exp_cmd_sn += 1
    connection.window.open()
    pong(connection)
    connection.tasks.end_silently(second)
    assert [pdu["itt"] for pdu in pdus(connection)] == [0xDD]


# Replies that must wait, and replies that are not taken


class Given:
    """Counts how often something was given back."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def waiting(connection: Connection) -> tuple[IscsiTask, Given, Given]:
    """A task that is answered while data is on the way; its memory and that of the answer."""
    memory, data = Given(), Given()
    open_task = task(connection, expected=100)
    open_task.transfer = Transfer(first_burst=100, unsolicited=True, in_order=True)
    open_task.transfer.open(memoryview(bytearray(100)), memory)
    connection.tasks.answer(open_task, 2, sense=b"\x70", release=data)
    return open_task, memory, data


def test_an_answer_waits_for_data_that_is_on_the_way() -> None:
    connection = connect()
    open_task, memory, data = waiting(connection)
    assert pdus(connection) == []
    assert connection.tasks.by_tag == {open_task.itt: open_task}
    assert (memory.times, data.times) == (1, 0)


@pytest.mark.parametrize("how", ["forget", "end_silently"])
def test_a_waiting_answer_can_be_dropped(how: str) -> None:
    connection = connect()
    open_task, memory, data = waiting(connection)
    getattr(connection.tasks, how)(open_task)
    assert not connection.tasks.by_tag
    assert (memory.times, data.times) == (1, 1)
    assert [pdu.opcode for pdu in pdus(connection)] in ([], [wire.NOP_IN])


def test_nothing_is_sent_once_the_connection_closes() -> None:
    connection = connect()
    given = Given()
    open_task = task(connection, reads=True, expected=10)
    connection.replies.closing = True
    connection.tasks.answer(open_task, 0, data=memoryview(bytes(10)), release=given)
    ping(connection)
    event(connection)
    connection.set_queue_depth(100)
    assert connection.tx.pending == 0
    assert not connection.tasks.by_tag
    assert given.times == 1


def test_data_is_given_back_with_a_status_that_takes_none() -> None:
    connection = connect()
    given = Given()
    connection.tasks.answer(task(connection), 0, data=memoryview(b""), release=given)
    assert given.times == 1


def test_parameters_can_change_between_connect() -> None:
    connection = connect()
    parameters = connection.replies.parameters
    connection.agree(replace(parameters, max_xmit_data_segment_length=512))
    connection.tasks.answer(task(connection), 0, data=memoryview(bytes(600)))
    assert [len(pdu.data) for pdu in pdus(connection)] == [512, 88]
