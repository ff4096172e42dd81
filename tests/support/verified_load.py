"""An initiator that keeps many commands under way and knows what every block must hold.

Each client has its own region, divided into slots; a slot has one command at a time. Every block
that is written names its client, its place and its version, so stale, torn and misplaced blocks are
detected. If a lost connection leaves it open whether a write was done, two versions are possible
until a read decides.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.initiator import ClosedError, Initiator, Task
from tests.support.iscsi_login import LoginError

BLOCK = 4096
SLOT_BLOCKS = 64
"""256 KiB, the larger of the two sizes of transfers."""
DEPTH = 32
REGION_BLOCKS = DEPTH * SLOT_BLOCKS
SECTORS = BLOCK // 512

_MARK = struct.Struct(">IIQ")
_GOOD, _CHECK_CONDITION, _BUSY, _TASK_SET_FULL = 0, 2, 8, 0x28
_UNIT_ATTENTION = 6
#: Errors that end a connection or a login; the client then logs in again.
LOST = (ClosedError, LoginError, OSError)


def block_of(client: int, block: int, version: int) -> bytes:
    return _MARK.pack(client, block, version) * (BLOCK // _MARK.size)


class MismatchError(AssertionError):
    """A block does not have the data written to it."""


@dataclass
class Operation:
    """A command of a slot that is under way."""

    task: Task
    first: int
    count: int
    version: int
    """Of a write; 0 for a read."""


class Client:
    """One initiator port with its region; `run` is the work of a thread."""

    def __init__(
        self, number: int, log_in: Callable[[], Initiator], seed: int, pause_seconds: float
    ) -> None:
        """*pause_seconds* is how long it waits before it takes the next answer."""
        self.number = number
        self._pause_seconds = pause_seconds
        self.operations = self.reconnects = 0
        self._log_in = log_in
        self._dice = random.Random(seed * 1000 + number)
        self._version = 0
        self._first = number * REGION_BLOCKS
        #: The versions that a block may have; 0 is one that was never written.
        self._possible = [{0} for _ in range(REGION_BLOCKS)]
        self._under_way: dict[int, Operation] = {}

    def run(self, stop: threading.Event) -> None:
        """Read and write until stopped, also over broken connections, then verify."""
        while not stop.is_set():
            self._with_session(lambda initiator: self._work(initiator, stop))
        while not self._with_session(self._verify):
            pass

    def _with_session(self, work: Callable[[Initiator], None]) -> bool:
        """Run over a new connection; return whether it came to its end."""
        try:
            initiator = self._log_in()
        except LOST:
            self.reconnects += 1
            return False
        with initiator:
            try:
                work(initiator)
                initiator.logout()
            except LOST:
                self.reconnects += 1
                self._forget_outcomes()
                return False
            finally:
                complaints = initiator.complaints
                if complaints:
                    raise MismatchError(complaints)
            return True

    def _forget_outcomes(self) -> None:
        """It is unknown which of the writes under way were done."""
        for operation in self._under_way.values():
            if operation.version:
                for block in range(operation.first, operation.first + operation.count):
                    self._possible[block].add(operation.version)
        self._under_way.clear()

    def _work(self, initiator: Initiator, stop: threading.Event) -> None:
        while self._under_way or not stop.is_set():
            window = (initiator.max_cmd_sn - initiator.cmd_sn + 1) & 0xFFFFFFFF
            for slot in range(DEPTH):
                if window and slot not in self._under_way and not stop.is_set():
                    self._under_way[slot] = self._issue(initiator, slot)
                    window -= 1
            initiator.pump()
            self._collect(initiator)
            time.sleep(self._pause_seconds)

    def _issue(self, initiator: Initiator, slot: int) -> Operation:
        dice = self._dice
        large, writes = dice.random() < 0.25, dice.random() < 0.5
        count = SLOT_BLOCKS if large else 1
        first = slot * SLOT_BLOCKS + (0 if large else dice.randrange(SLOT_BLOCKS))
        return self._start(initiator, first, count, writes=writes)

    def _start(self, initiator: Initiator, first: int, count: int, *, writes: bool) -> Operation:
        opcode = 0x8A if writes else 0x88
        lba = (self._first + first) * SECTORS
        cdb = struct.pack(">BBQIBB", opcode, 0, lba, count * SECTORS, 0, 0)
        if not writes:
            return Operation(initiator.issue(cdb, expect=count * BLOCK), first, count, 0)
        self._version += 1
        data = b"".join(
            block_of(self.number, self._first + block, self._version)
            for block in range(first, first + count)
        )
        # Recorded before it is sent: sending may fail in the middle.
        operation = Operation(initiator.prepare(cdb, data_out=data), first, count, self._version)
        self._under_way[first // SLOT_BLOCKS] = operation
        initiator.send(operation.task.command)
        if operation.task.unsolicited:
            given = len(operation.task.command.data)
            initiator.send_data(operation.task, given, operation.task.unsolicited)
        return operation

    def _collect(self, initiator: Initiator) -> None:
        for slot, operation in list(self._under_way.items()):
            if operation.task.done:
                del self._under_way[slot]
                self._finish(operation)
                del initiator.tasks[operation.task.itt]
        initiator.record.clear()

    def _finish(self, operation: Operation) -> None:
        task = operation.task
        if task.status in (_BUSY, _TASK_SET_FULL):
            return
        if task.status == _CHECK_CONDITION and task.sense[2] & 0xF == _UNIT_ATTENTION:
            return
        assert task.status == _GOOD, (task.status, task.sense.hex())
        self.operations += 1
        if operation.version:
            for block in range(operation.first, operation.first + operation.count):
                self._possible[block] = {operation.version}
        else:
            self._check(operation.first, task.data)

    def _check(self, first: int, data: bytes) -> None:
        for index in range(len(data) // BLOCK):
            block = first + index
            found = data[index * BLOCK : (index + 1) * BLOCK]
            client, place, version = _MARK.unpack_from(found)
            possible = self._possible[block]
            if version not in possible or found != self._expected(block, version):
                raise MismatchError(
                    f"client {self.number}, block {block}: {client} {place} {version}, {possible}"
                )
            possible.intersection_update({version})

    def _expected(self, block: int, version: int) -> bytes:
        if not version:
            return bytes(BLOCK)
        return block_of(self.number, self._first + block, version)

    def _verify(self, initiator: Initiator) -> None:
        """Read the whole region."""
        for slot in range(DEPTH):
            while True:
                first = slot * SLOT_BLOCKS
                operation = self._start(initiator, first, SLOT_BLOCKS, writes=False)
                initiator.wait(operation.task)
                initiator.record.clear()
                if operation.task.status == _GOOD:
                    self._check(first, operation.task.data)
                    break
