"""Task management functions: effects, time of the response, and `trace_mcmds`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from scstfs.core.target import BlackHole
from scstfs.drivers.iscsi.server import Server
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.iscsi.codes import TaskFunction, TaskResponse
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.scsi import sense
from tests.support import iscsi_wire as wire
from tests.support.fake_store import FakeStore
from tests.support.iscsi_wire import FINAL, NO_TAG, Pdu
from tests.support.still_wire import Port, sent
from tests.support.threads import ManualPool
from tests.support.whole import Whole

FLUSH = bytes.fromhex("35000000000000000000")
COMPLETE, SUCCEEDED = TaskResponse.FUNCTION_COMPLETE, TaskResponse.FUNCTION_SUCCEEDED
REJECTED, NO_LUN = TaskResponse.FUNCTION_REJECTED, TaskResponse.LUN_DOES_NOT_EXIST
NO_TASK = TaskResponse.TASK_DOES_NOT_EXIST
NO_REASSIGNMENT = TaskResponse.REASSIGNMENT_NOT_SUPPORTED
#: The functions of RFC 7144 were negotiated.
LEVEL_2 = SessionParameters(protocol_level=2)

OF_A_LUN = [
    TaskFunction.ABORT_TASK_SET,
    TaskFunction.CLEAR_ACA,
    TaskFunction.CLEAR_TASK_SET,
    TaskFunction.LOGICAL_UNIT_RESET,
    TaskFunction.QUERY_TASK_SET,
    TaskFunction.QUERY_ASYNCHRONOUS_EVENT,
]
ADDED_BY_RFC_7144 = [
    TaskFunction.QUERY_TASK,
    TaskFunction.QUERY_TASK_SET,
    TaskFunction.I_T_NEXUS_RESET,
    TaskFunction.QUERY_ASYNCHRONOUS_EVENT,
]


class One:
    """A session with LUN 0, whose blocking work waits for the test."""

    def __init__(self, everything: Whole, parameters: SessionParameters = LEVEL_2) -> None:
        target = everything.iscsi.targets["iqn.t"]
        server = Server(everything.scst, everything.iscsi)
        self.nexus, self.connection = Port(server, target, parameters, 32).log_in(1)
        self.tgt_dev = self.nexus.core.tgt_devs[0]
        self.pool = ManualPool()
        self.pool.serve(self.tgt_dev)
        self.cmd_sn = 1
        while self.tgt_dev.unit_attentions:
            self.tgt_dev.take_unit_attention()

    def send(self, pdu: Pdu) -> None:
        self.connection.rx.feed(pdu.raw)
        self.connection.process()

    def flush(self, itt: int = 7) -> None:
        """Begin a command that a worker thread executes."""
        command = Pdu.make(
            wire.SCSI_COMMAND, flags=FINAL | 1, itt=itt, cmd_sn=self.cmd_sn, cdb=FLUSH
        )
        self.send(command)
        self.cmd_sn += 1

    def manage(self, code: int, *, lun: int = 0, tag: int = NO_TAG, ref: int = 0) -> None:
        """Send a function."""
        request = Pdu.make(
            wire.TASK_REQUEST,
            immediate=True,
            flags=FINAL | code,
            lun=lun.to_bytes(2, "big") + bytes(6),
            itt=100,
            referenced_tag=tag,
            cmd_sn=self.cmd_sn,
            ref_cmd_sn=ref,
        )
        self.send(request)

    def answer(self) -> int | None:
        """The response, if there is one; other PDUs are ignored."""
        answers = [pdu for pdu in sent(self.nexus.wire) if pdu.opcode == wire.TASK_RESPONSE]
        assert len(answers) <= 1
        return answers[0]["response"] if answers else None

    @property
    def shown(self) -> list[tuple[str, int, int, int]]:
        """What `trace_mcmds` would show."""
        pending = self.nexus.core.pending_functions
        return [(f.function, f.lun, f.tag, f.waits_for) for f in pending]


@pytest.fixture
async def served(everything: Whole, tmp_path: Path) -> Whole:
    """A target with a disk whose store always needs a worker thread."""
    directory = await everything.add_target()
    await everything.add_file(tmp_path / "disk")
    await everything.write(f"{directory}/luns/mgmt", "add disk 0\n")
    device = everything.scst.devices["disk"]
    assert isinstance(device, VdiskDevice)
    device.medium.install(FakeStore())
    return everything


# Which functions exist


@pytest.mark.parametrize("code", list(TaskFunction))
async def test_functions_of_rfc_7144_have_to_be_agreed_on(
    served: Whole, code: TaskFunction
) -> None:
    for level in (0, 1):
        one = One(served, SessionParameters(protocol_level=level))
        one.manage(code)
        assert (one.answer() == REJECTED) is (code in ADDED_BY_RFC_7144)
        assert one.shown == []
        assert not one.nexus.wire.reason or code is TaskFunction.TARGET_COLD_RESET


@pytest.mark.parametrize("code", [0, 13, 127])
async def test_what_is_no_function_is_rejected(served: Whole, code: int) -> None:
    one = One(served)
    one.manage(code)
    assert one.answer() == REJECTED


@pytest.mark.parametrize("code", sorted({*TaskFunction} - {1, 8, 9}))
async def test_a_tag_where_none_belongs_is_rejected(served: Whole, code: int) -> None:
    one = One(served)
    one.manage(code, tag=5)
    assert one.answer() == REJECTED


@pytest.mark.parametrize("code", OF_A_LUN)
async def test_functions_are_about_a_lun_that_exists(served: Whole, code: TaskFunction) -> None:
    for lun, expected in ((0, COMPLETE), (5, NO_LUN)):
        one = One(served)
        one.manage(code, lun=lun)
        assert one.answer() == expected


# What each does


async def test_abort_task_is_answered_when_the_task_has_ended(served: Whole) -> None:
    one = One(served)
    one.flush()
    one.manage(TaskFunction.ABORT_TASK, tag=7, ref=1)
    assert one.answer() is None
    assert one.shown == [("ABORT_TASK", 0, 7, 1)]
    one.pool.drain()
    assert one.answer() == COMPLETE
    assert one.shown == []
    assert not one.tgt_dev.commands


async def test_a_task_that_is_not_there(served: Whole) -> None:
    one = One(served)
    one.flush()
    one.pool.drain()
    one.manage(TaskFunction.ABORT_TASK, tag=7, ref=1)
    assert one.answer() == NO_TASK


async def test_queries_tell_whether_there_is_a_task(served: Whole) -> None:
    one = One(served)
    one.manage(TaskFunction.QUERY_TASK_SET)
    assert one.answer() == COMPLETE
    one.flush()
    one.manage(TaskFunction.QUERY_TASK_SET)
    assert one.answer() == SUCCEEDED
    one.manage(TaskFunction.QUERY_TASK, tag=7, ref=1)
    assert one.answer() == SUCCEEDED
    one.manage(TaskFunction.QUERY_TASK, tag=8, ref=1)
    assert one.answer() == COMPLETE
    assert len(one.tgt_dev.commands) == 1
    one.pool.drain()


@pytest.mark.parametrize(
    ("code", "name", "reset", "spares_others"),
    [
        (TaskFunction.ABORT_TASK_SET, "ABORT_TASK_SET", False, True),
        (TaskFunction.CLEAR_TASK_SET, "CLEAR_TASK_SET", False, False),
        (TaskFunction.LOGICAL_UNIT_RESET, "LUN_RESET", True, False),
        (TaskFunction.TARGET_WARM_RESET, "TARGET_RESET", True, False),
        (TaskFunction.TARGET_COLD_RESET, "TARGET_RESET", True, False),
        (TaskFunction.I_T_NEXUS_RESET, "I_T_NEXUS_RESET", False, True),
    ],
)
async def test_what_ends_tasks_waits_for_their_end(
    served: Whole, code: TaskFunction, name: str, reset: bool, spares_others: bool
) -> None:
    one, other = One(served), One(served)
    one.flush()
    other.flush()
    one.manage(code)
    assert one.answer() is None
    assert one.shown == [(name, 0, NO_TAG, 1)]
    one.pool.drain()
    other.pool.drain()
    assert one.answer() == COMPLETE
    answered = [pdu.opcode for pdu in sent(other.nexus.wire)]
    is_separate = one.tgt_dev.device.separate_task_sets
    spared = spares_others or (is_separate and code is TaskFunction.CLEAR_TASK_SET)
    assert (wire.SCSI_RESPONSE in answered) is spared
    told = [ua.sense for ua in one.tgt_dev.unit_attentions]
    assert told == ([sense.RESET] if reset else [])


@pytest.mark.parametrize(
    ("code", "closed"),
    [
        (TaskFunction.TARGET_WARM_RESET, ("", "")),
        (TaskFunction.TARGET_COLD_RESET, ("TARGET COLD RESET", "TARGET COLD RESET")),
        (TaskFunction.I_T_NEXUS_RESET, ("I_T NEXUS RESET", "")),
        (TaskFunction.LOGICAL_UNIT_RESET, ("", "")),
    ],
)
async def test_whose_connections_are_closed(
    served: Whole, code: TaskFunction, closed: tuple[str, str]
) -> None:
    one, other = One(served), One(served)
    one.manage(code)
    assert one.answer() == COMPLETE
    assert (one.nexus.wire.reason, other.nexus.wire.reason) == closed


async def test_only_who_has_an_aca_condition_clears_it(served: Whole) -> None:
    await served.write("targets/iscsi/iqn.t/luns/mgmt", "clear\n")
    await served.write("handlers/vdisk_nullio/mgmt", "add_device shared tst=0\n")
    await served.write("targets/iscsi/iqn.t/luns/mgmt", "add shared 0\n")
    one, other = One(served), One(served)
    aca = one.tgt_dev.aca
    aca.faulted = one.tgt_dev
    other.manage(TaskFunction.CLEAR_ACA)
    assert other.answer() == REJECTED
    assert aca.faulted is one.tgt_dev
    one.manage(TaskFunction.CLEAR_ACA)
    assert one.answer() == COMPLETE
    assert aca.faulted is None


async def test_query_asynchronous_event_tells_the_first_unit_attention(served: Whole) -> None:
    one = One(served)
    for condition, depth in ((sense.CAPACITY_CHANGED, 1), (sense.RESET, 2), (sense.NEXUS_LOSS, 2)):
        one.tgt_dev.queue_unit_attention(condition)
        one.manage(TaskFunction.QUERY_ASYNCHRONOUS_EVENT)
        (pdu,) = sent(one.nexus.wire)
        assert pdu["response"] == SUCCEEDED
        assert bytes(pdu.header[8:11]) == bytes((depth << 4 | 6, 0x2A, 0x09)), pdu.header.hex()
    assert len(list(one.tgt_dev.unit_attentions)) == 3


async def test_tasks_are_not_reassigned(served: Whole) -> None:
    one = One(served)
    one.flush()
    one.manage(TaskFunction.TASK_REASSIGN, tag=7)
    assert one.answer() == NO_REASSIGNMENT
    one.pool.drain()


# Functions without a response


@pytest.mark.parametrize("hole", list(BlackHole))
async def test_functions_that_fall_into_the_black_hole(served: Whole, hole: BlackHole) -> None:
    one = One(served)
    one.nexus.core.acg.black_hole = hole
    one.manage(TaskFunction.LOGICAL_UNIT_RESET)
    is_swallowed = hole in (BlackHole.ALL, BlackHole.DATA_COMMANDS_AND_TASK_MANAGEMENT)
    assert one.answer() == (None if is_swallowed else COMPLETE)
    assert one.shown == []
    assert bool(one.tgt_dev.unit_attentions) is not is_swallowed
    # The next function may have the same tag.
    one.nexus.core.acg.black_hole = BlackHole.NONE
    one.manage(TaskFunction.ABORT_TASK_SET)
    assert one.answer() == COMPLETE


async def test_functions_are_traced(served: Whole, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    one, trace = One(served), served.iscsi.trace
    for flags, told in ((0, []), (trace.bit("mgmt"), [f"{one.nexus}: LUN_RESET, LUN 3, tag 5"])):
        trace.flags = flags
        one.manage(TaskFunction.LOGICAL_UNIT_RESET, lun=3, tag=5)
        assert caplog.messages == told
