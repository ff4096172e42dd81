"""What may come in any order, in any order: RFC 7143 4.2.2.1, 4.2.5.2, 11.7, 13.10 to 13.19."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import Connect
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_wire import FINAL, NO_TAG, Pdu
from tests.support.live_target import TARGET

#: Blocks of 512 bytes that belong to one write.
AREA = 256
LENGTHS = st.sampled_from([512, 1024, 4096, 8192, 65536, AREA * 512])
SETTINGS = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def keys(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Any values of the keys that say how data is transferred."""
    switch = st.sampled_from(["Yes", "No"])
    size = st.sampled_from(["512", "1000", "4096", "65536", "262144"])
    return [
        *((name, draw(switch)) for name in ("InitialR2T", "ImmediateData")),
        *((name, draw(switch)) for name in ("DataPDUInOrder", "DataSequenceInOrder")),
        *((name, draw(size)) for name in ("MaxRecvDataSegmentLength", "MaxBurstLength")),
        ("FirstBurstLength", draw(size)),
        ("MaxOutstandingR2T", draw(st.sampled_from(["1", "2", "8"]))),
    ]


class Writer:
    """Writes several pieces of data at a time, in an order that a random generator chooses."""

    def __init__(self, initiator: Initiator, rng: random.Random) -> None:
        self.initiator = initiator
        self.rng = rng
        initiator.answer_r2ts = False
        #: Data-Out PDUs that may be sent now: of each sequence in its own order.
        self.sequences: list[list[Pdu]] = []
        self._answered: dict[int, int] = {}

    def begin(self, lba: int, data: bytes) -> Task:
        """Send a command, with as much unsolicited data as was agreed on."""
        initiator = self.initiator
        cdb = b"\x2a\0" + lba.to_bytes(4, "big") + b"\0" + (len(data) // 512).to_bytes(2, "big")
        first = int(initiator.parameter("FirstBurstLength"))
        immediate = unsolicited = 0
        if initiator.parameter("ImmediateData") == "Yes":
            immediate = self.rng.choice([0, 512, min(len(data), first)])
            immediate = min(immediate, len(data), first)
        if initiator.parameter("InitialR2T") == "No":
            unsolicited = max(0, min(len(data), first) - immediate)
            if self.rng.random() < 0.3:
                unsolicited = 0
        task = initiator.prepare(
            cdb + b"\0", data_out=data, immediate_data=immediate, unsolicited=unsolicited
        )
        initiator.send(task.command)
        if unsolicited:
            self._add(task, immediate, unsolicited, NO_TAG)
        return task

    def _add(self, task: Task, offset: int, length: int, ttt: int) -> None:
        self.initiator.data_out_size = self.rng.choice([512, 1000, 8192, 65536])
        pdus = self.initiator.data_out_pdus(task, offset, length, ttt)
        if self.initiator.parameter("DataPDUInOrder") == "No":
            self.rng.shuffle(pdus)
            for number, pdu in enumerate(pdus):
                pdu["data_sn"] = number
                pdu.header[1] = FINAL if pdu is pdus[-1] else 0
        self.sequences.append(pdus)

    def finish(self, tasks: list[Task]) -> None:
        """Send data until all tasks have been answered."""
        while not all(task.done for task in tasks):
            if self.sequences:
                sequence = self.rng.choice(self.sequences)
                self.initiator.send(sequence.pop(0))
                self.sequences = [sequence for sequence in self.sequences if sequence]
            else:
                self.initiator.pump()
            for task in tasks:
                answered = self._answered.get(task.itt, 0)
                for r2t in task.r2ts[answered:]:
                    self._add(task, r2t["buffer_offset"], r2t["desired_length"], r2t["ttt"])
                self._answered[task.itt] = len(task.r2ts)


@pytest.mark.slow
def test_any_legal_transfer_writes_and_reads_the_same(connect: Connect) -> None:
    @SETTINGS
    @given(keys(), st.lists(LENGTHS, min_size=1, max_size=4), st.integers(0, 2**32))
    def check(offers: list[tuple[str, str]], lengths: list[int], seed: int) -> None:
        initiator = connect()
        initiator.login(TARGET, keys=offers)
        initiator.command("000000000000")
        rng = random.Random(seed)
        writer = Writer(initiator, rng)
        pieces = [rng.randbytes(length) for length in lengths]
        tasks = [writer.begin(number * AREA, data) for number, data in enumerate(pieces)]
        writer.finish(tasks)
        assert [task.status for task in tasks] == [0] * len(tasks)
        for number, data in enumerate(pieces):
            cdb = b"\x28\0" + (number * AREA).to_bytes(4, "big") + b"\0"
            cdb += (len(data) // 512).to_bytes(2, "big") + b"\0"
            assert initiator.command(cdb, expect=len(data)).data == data
        initiator.close()

    check()


@pytest.mark.slow
def test_commands_may_arrive_in_any_order(initiator: Initiator) -> None:
    """The last one by CmdSN has the last word, and each is answered once."""

    @SETTINGS
    @given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
    def check(order: list[int], doubled: set[int]) -> None:
        tasks = [
            initiator.prepare("2a000000000000000100", data_out=bytes([number]) * 512)
            for number in range(12)
        ]
        for number in order:
            initiator.send(tasks[number].command)
            if number in doubled:
                initiator.send(tasks[number].command)
        for task in tasks:
            assert initiator.wait(task).status == 0
        read = initiator.command("28000000000000000100", expect=512)
        assert read.data == bytes([11]) * 512
        assert read.answer["exp_cmd_sn"] == read.command["cmd_sn"] + 1

    check()


@pytest.mark.slow
def test_requests_of_all_kinds_may_arrive_in_any_order(initiator: Initiator) -> None:
    """Numbered pings, text, task management and commands: each is answered in its turn."""

    @SETTINGS
    @given(st.permutations(range(8)), st.lists(st.integers(0, 3), min_size=8, max_size=8))
    def check(order: list[int], kinds: list[int]) -> None:
        first = initiator.cmd_sn
        requests = [
            (
                initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}, data=b"ping"),
                initiator.request(wire.TEXT_REQUEST, {"ttt": NO_TAG}),
                initiator.request(
                    wire.TASK_REQUEST, {"flags": FINAL | 2, "referenced_tag": NO_TAG}
                ),
                initiator.request(wire.NOP_OUT, {"ttt": NO_TAG}),
            )[kind]
            for kind in kinds
        ]
        for number, request in enumerate(requests):
            request.header[0] &= 0x3F
            request["cmd_sn"] = first + number
        before = len(initiator.record)
        for number in order:
            initiator.send(requests[number])
        while not all(request["itt"] in initiator.answers for request in requests):
            initiator.pump()
        initiator.cmd_sn = first + 8
        answered = [entry.pdu["itt"] for entry in initiator.record[before:] if not entry.sent]
        assert answered == [request["itt"] for request in requests]

    check()
