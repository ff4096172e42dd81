"""An initiator that works on a disk at random and knows every byte of what it owns.

Slots of the disk belong to sessions by turns, so that sessions meet everywhere but in a block. What
they share is one block with a counter, which each moves on by COMPARE AND WRITE: an update that is
lost, or done twice, shows in the sum.
"""

from __future__ import annotations

import random
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.support.initiator import Initiator, Task
from tests.support.iscsi_login import ISID, NAME

BLOCK: Final = 512
SLOT: Final = 1 << 20
"""Bytes; a slot has one command at a time."""

_DEPTH: Final = 8
_MOST_COMPARED: Final = 32
"""Blocks of a COMPARE AND WRITE."""
_READ, _WRITE, _UNMAP, _COMPARE_AND_WRITE, _WRITE_SAME = 0x88, 0x8A, 0x42, 0x89, 0x93
_FUA: Final = 0x08
_GOOD, _CHECK_CONDITION = 0, 2
_MISCOMPARE: Final = 0xE
_COUNTER: Final = struct.Struct(">Q")


def cdb_16(code: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    """READ (16) and its like."""
    return struct.pack(">BBQIBB", code, flags, lba, blocks, 0, 0)


def log_in(portal: str, target: str, number: int) -> Initiator:
    """The session of a separate initiator, without a pending unit attention."""
    host, port = portal.rsplit(":", 1)
    isid = ISID[:5] + bytes([number])
    initiator = Initiator.connect(host, int(port), name=f"{NAME}{number}", isid=isid, timeout=50)
    initiator.login(target)
    initiator.command(bytes(6))
    return initiator


class Mismatch(AssertionError):  # noqa: N818  it is not an error of the program
    """The disk holds something else than it must."""


@dataclass(frozen=True, slots=True)
class _Command:
    """The command under way in a slot, and the action at its end."""

    slot: int
    task: Task
    end: Callable[[Task], None]


class Worker:
    """One session's work.

    Attributes:
        moved: bytes that were read, written, unmapped or compared so far.
        seen: how often each kind of command was done.
        increments: of the counter, by this session.
    """

    def __init__(self, initiator: Initiator, size: int, number: int, of: int, seed: str) -> None:
        """Own every slot in turn of a disk of *size* bytes but the first, which has the counter."""
        self.moved = self.increments = 0
        self.seen: Counter[str] = Counter()
        self._initiator = initiator
        self._chance = random.Random(f"{seed} {number}")
        self._slots = list(range(1 + number, size // SLOT, of))
        self._model = {slot: bytearray(SLOT) for slot in self._slots}
        self._random = self._chance.randbytes(2 * SLOT)
        self._under_way: list[_Command] = []

    def run(self, amount: int) -> None:
        """Work until a number of bytes was moved, then read all; raises Mismatch."""
        while self.moved < amount:
            self._fill()
            self._collect()
            if self._chance.random() < 0.02:
                self._count()
        while self._under_way:
            self._collect()
        for slot in self._slots:
            self._read(slot, 0, SLOT).end(self._initiator.wait(self._under_way.pop().task))

    # Commands

    def _fill(self) -> None:
        busy = {command.slot for command in self._under_way}
        free = [slot for slot in self._slots if slot not in busy]
        for slot in self._chance.sample(free, _DEPTH - len(self._under_way)):
            length = self._chance.choice((1, 8, 64, 256, SLOT // BLOCK)) * BLOCK
            length = self._chance.randrange(BLOCK, length + BLOCK, BLOCK)
            start = self._chance.randrange(0, SLOT - length + BLOCK, BLOCK)
            (does,) = self._chance.choices(
                (self._read, self._write, self._unmap, self._compare, self._write_same),
                (40, 38, 10, 9, 3),
            )
            does(slot, start, length)

    def _issue(
        self,
        name: str,
        slot: int,
        length: int,
        cdb: bytes,
        end: Callable[[Task], None],
        **more: object,
    ) -> _Command:
        self.seen[name] += 1
        self.moved += length
        command = _Command(slot, self._initiator.issue(cdb, **more), end)
        self._under_way.append(command)
        return command

    def _data(self, length: int) -> bytes:
        at = self._chance.randrange(SLOT)
        return self._random[at : at + length]

    def _read(self, slot: int, start: int, length: int) -> _Command:
        def end(task: Task) -> None:
            self._good(task)
            if task.data != self._model[slot][start : start + length]:
                raise Mismatch(f"slot {slot}, {length} bytes at {start}")

        cdb = cdb_16(_READ, self._lba(slot, start), length // BLOCK)
        return self._issue("read", slot, length, cdb, end, expect=length)

    def _write(self, slot: int, start: int, length: int) -> None:
        data = self._data(length)
        flags = _FUA if self._chance.random() < 0.02 else 0
        cdb = cdb_16(_WRITE, self._lba(slot, start), length // BLOCK, flags)
        self._issue("write", slot, length, cdb, self._sets(slot, start, data), data_out=data)

    def _unmap(self, slot: int, start: int, length: int) -> None:
        extent = struct.pack(">QI4x", self._lba(slot, start), length // BLOCK)
        data = struct.pack(">HH4x", 6 + len(extent), len(extent)) + extent
        cdb = struct.pack(">B6xHx", _UNMAP, len(data))
        # A hole in a file reads as zeros.
        self._issue(
            "unmap", slot, length, cdb, self._sets(slot, start, bytes(length)), data_out=data
        )

    def _write_same(self, slot: int, start: int, length: int) -> None:
        block = self._data(BLOCK)
        cdb = cdb_16(_WRITE_SAME, self._lba(slot, start), length // BLOCK)
        end = self._sets(slot, start, block * (length // BLOCK))
        self._issue("write same", slot, length, cdb, end, data_out=block)

    def _compare(self, slot: int, start: int, length: int) -> None:
        length = min(length, _MOST_COMPARED * BLOCK)
        expected, data = bytearray(self._model[slot][start : start + length]), self._data(length)
        end = self._sets(slot, start, data)
        if self._chance.random() < 0.3:
            expected[self._chance.randrange(length)] ^= 1
            end = self._miscompares
        cdb = cdb_16(_COMPARE_AND_WRITE, self._lba(slot, start), length // BLOCK)
        self._issue("compare and write", slot, length, cdb, end, data_out=bytes(expected) + data)

    def _count(self) -> None:
        """Add one to the counter that all sessions share."""
        initiator = self._initiator
        while True:
            before = initiator.command(cdb_16(_READ, 0, 1), expect=BLOCK).data
            (count,) = _COUNTER.unpack_from(before)
            after = _COUNTER.pack(count + 1).ljust(BLOCK, b"\0")
            task = initiator.command(cdb_16(_COMPARE_AND_WRITE, 0, 1), data_out=before + after)
            if task.status == _GOOD:
                self.increments += 1
                return
            self._miscompares(task)

    # Answers

    def _collect(self) -> None:
        command = self._under_way.pop(0)
        command.end(self._initiator.wait(command.task))
        del self._initiator.tasks[command.task.itt]

    def _sets(self, slot: int, start: int, data: bytes) -> Callable[[Task], None]:
        def end(task: Task) -> None:
            self._good(task)
            self._model[slot][start : start + len(data)] = data

        return end

    @staticmethod
    def _good(task: Task) -> None:
        if task.status != _GOOD:
            raise Mismatch(f"status {task.status:#x}, sense {task.sense.hex()}")

    @staticmethod
    def _miscompares(task: Task) -> None:
        if task.status != _CHECK_CONDITION or task.sense[2] & 0xF != _MISCOMPARE:
            raise Mismatch(f"no miscompare: status {task.status:#x}, sense {task.sense.hex()}")

    @staticmethod
    def _lba(slot: int, start: int) -> int:
        return (slot * SLOT + start) // BLOCK


def counter(initiator: Initiator) -> int:
    """The counter that the sessions share."""
    data = initiator.command(cdb_16(_READ, 0, 1), expect=BLOCK).data
    return int(_COUNTER.unpack_from(data)[0])


def soak(
    portal: str, target: str, size: int, amount: int, seed: str, sessions: int = 2
) -> list[Worker]:
    """Let sessions move *amount* bytes together on a disk full of zeros; raises Mismatch."""
    initiators = [log_in(portal, target, number) for number in range(sessions)]
    workers = [
        Worker(initiator, size, number, sessions, seed)
        for number, initiator in enumerate(initiators)
    ]
    failures: list[BaseException] = []

    def work(worker: Worker) -> None:
        try:
            worker.run(amount // sessions)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        for failure in failures:
            raise failure
        increments = sum(worker.increments for worker in workers)
        if counter(initiators[0]) != increments:
            raise Mismatch(f"counted to {counter(initiators[0])}, not to {increments}")
    finally:
        for initiator in initiators:
            initiator.close()
    return workers
