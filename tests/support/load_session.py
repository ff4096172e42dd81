"""An initiator that keeps many commands under way and knows the possible effects of each.

It owns some blocks of each logical unit, writes and reads them with commands that do not overlap,
and collects in `LoadSession.faults` all that contradicts these rules: a command gets at most one
status; a block has the data of the last write that ended GOOD, or of one that was aborted or whose
connection was closed since; a write that was refused or given up has no later effect.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from scstfs.scsi.sense import decode
from scstfs.scsi.status import Status
from tests.support.initiator import ClosedError, Initiator, LoginError, Task
from tests.support.iscsi_login import ISID, NAME

BLOCK: Final = 4096
#: Blocks of each logical unit that one session owns.
OWN: Final = 64
_MOST_BLOCKS: Final = 8
_DEPTH: Final = 32
_ABORT_TASK, _LOGICAL_UNIT_RESET, _WARM_RESET, _SUCCESS = 1, 5, 6, 0

_HEAD = struct.Struct(">BBHQ")


def stamp(session: int, lun: int, lba: int, number: int) -> bytes:
    """The contents of a block after a session's write ``number``."""
    return _HEAD.pack(session, lun, lba, number).ljust(64, b".") * (BLOCK // 64)


def read_stamp(block: bytes) -> tuple[int, int, int, int] | None:
    """Session, LUN, LBA and number; None for a block that was never written."""
    if not any(block):
        return None
    fields = _HEAD.unpack_from(block)
    return (fields[0], fields[1], fields[2], fields[3]) if block == stamp(*fields) else (-1,) * 4


@dataclass(eq=False)
class Transfer:
    """A READ or WRITE that is under way."""

    task: Task
    lun: int
    lba: int
    blocks: int
    number: int
    """Of the write; 0 for a read."""


@dataclass(eq=False)
class LoadSession:
    """Runs in its own thread from `start` to `stop`; logs in again when its session ends."""

    portal: tuple[str, int]
    target: str
    session: int
    luns: tuple[int, ...]
    strict: frozenset[int]
    """LUNs whose logical unit never changes."""
    seed: str
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    #: Numbers of the writes that may be in a block.
    possible: dict[tuple[int, int], set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed} {self.session}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"load {self.session}", daemon=True)
        self._number = 0
        self._flying: dict[int, Transfer] = {}
        """By ITT."""
        self._busy: set[tuple[int, int]] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let it finish its commands and log out."""
        self._stop.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.faults.append(f"session {self.session} does not end: {len(self._flying)} flying")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._one_session()
        except BaseException as error:
            flying = [
                f"LUN {t.lun} write {t.number} tag {t.task.itt}" for t in self._flying.values()
            ]
            self.faults.append(f"session {self.session}: {error!r}; under way: {flying}")

    # One session

    def _one_session(self) -> None:
        try:
            initiator = Initiator.connect(
                *self.portal,
                name=f"{NAME}{self.session}",
                isid=ISID[:5] + bytes([self.session]),
                timeout=15,
            )
        except OSError:
            time.sleep(0.02)
            return
        with initiator:
            try:
                initiator.login(self.target)
            except (ClosedError, LoginError, OSError):
                self.seen["refused logins"] += 1
                time.sleep(0.02)
                return
            self.seen["logins"] += 1
            try:
                self._work(initiator)
            except (ClosedError, ConnectionError):
                self.seen["closed"] += 1
                for transfer in list(self._flying.values()):
                    self._give_up(transfer, "closed with")
            self.faults += initiator.complaints

    def _work(self, initiator: Initiator) -> None:
        while not self._stop.is_set():
            while len(self._flying) < _DEPTH and self._fly(initiator):
                pass
            if self._chance.random() < 0.01:
                self._manage(initiator)
            if self._flying:
                self._land(initiator)
            else:
                # It also carries the window.
                initiator.ping()
        deadline = time.monotonic() + 20
        while self._flying:
            if time.monotonic() > deadline:
                left = [str(transfer.task.command) for transfer in self._flying.values()]
                self.faults.append(f"session {self.session}: never answered: {left}")
                return
            self._land(initiator)
        initiator.logout()

    def _fly(self, initiator: Initiator) -> bool:
        if (initiator.max_cmd_sn - initiator.cmd_sn) & 0xFFFFFFFF >= 0x80000000:
            # Commands outside the window would be ignored (RFC 7143 4.2.2.1).
            return False
        chance = self._chance
        lun, blocks = chance.choice(self.luns), chance.randint(1, _MOST_BLOCKS)
        lba = self.session * OWN + chance.randrange(OWN - blocks)
        wanted = {(lun, lba + n) for n in range(blocks)}
        if wanted & self._busy:
            return False
        self._busy |= wanted
        attribute = chance.choices((1, 2, 3), (20, 1, 1))[0]
        cdb = struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)
        number, data = 0, b""
        if chance.random() < 0.5:
            self._number = number = self._number + 1
            data = b"".join(stamp(self.session, lun, lba + n, number) for n in range(blocks))
            cdb = b"\x2a" + cdb[1:]
        task = initiator.issue(
            cdb,
            lun=lun,
            expect=0 if data else blocks * BLOCK,
            data_out=data,
            attribute=attribute,
        )
        self._flying[task.itt] = Transfer(task, lun, lba, blocks, number)
        self.seen["issued"] += 1
        return True

    def _land(self, initiator: Initiator) -> None:
        initiator.record.clear()
        if not self._done():
            initiator.pump()
        for transfer in self._done():
            self._landed(transfer)
            del initiator.tasks[transfer.task.itt]

    def _done(self) -> list[Transfer]:
        return [transfer for transfer in self._flying.values() if transfer.task.done]

    # Results of commands

    def _end(self, transfer: Transfer, how: str) -> None:
        del self._flying[transfer.task.itt]
        self._busy -= {(transfer.lun, transfer.lba + n) for n in range(transfer.blocks)}
        self.seen[how] += 1

    def _may_be(self, lun: int, lba: int) -> set[int]:
        return self.possible.setdefault((lun, lba), {0})

    def _give_up(self, transfer: Transfer, how: str) -> None:
        """A command whose result is unknown."""
        self._end(transfer, how)
        if transfer.number:
            for n in range(transfer.blocks):
                self._may_be(transfer.lun, transfer.lba + n).add(transfer.number)

    def _landed(self, transfer: Transfer) -> None:
        task = transfer.task
        status = Status(task.status)
        if status is Status.TASK_ABORTED:
            self._give_up(transfer, "TASK ABORTED")
            return
        condition = decode(task.sense)
        triple = "" if condition is None else f" {bytes(condition.triple).hex('/')}"
        self._end(transfer, f"{status.name}{triple}")
        if status is not Status.GOOD:
            return
        if transfer.number:
            for n in range(transfer.blocks):
                self.possible[transfer.lun, transfer.lba + n] = {transfer.number}
        else:
            self._check(transfer, task.data)

    def _check(self, transfer: Transfer, data: bytes) -> None:
        if len(data) != transfer.blocks * BLOCK:
            self.faults.append(f"{len(data)} bytes for {transfer.blocks} blocks")
            return
        for n in range(transfer.blocks):
            block = data[n * BLOCK : (n + 1) * BLOCK]
            self.check_block(transfer.lun, transfer.lba + n, block)

    def check_block(self, lun: int, lba: int, block: bytes) -> None:
        """Record an error in the contents of a block."""
        found = read_stamp(block)
        if found is not None and found[:3] != (self.session, lun, lba):
            self.faults.append(f"session {self.session} LUN {lun} LBA {lba} has {found}")
        number = 0 if found is None else found[3]
        if lun in self.strict and number not in self._may_be(lun, lba):
            self.faults.append(
                f"session {self.session} LUN {lun} LBA {lba} has write {number}, "
                f"not one of {sorted(self._may_be(lun, lba))}"
            )
        self.possible[lun, lba] = {number}

    # Task management

    def _manage(self, initiator: Initiator) -> None:
        """Perform a function; commands that it aborts are not answered any more."""
        lun, kind = self._chance.choice(self.luns), self._chance.random()
        victims = [t for t in self._flying.values() if t.lun == lun]
        if kind < 0.6 and victims:
            victims = [self._chance.choice(victims)]
            if not self._perform(initiator, _ABORT_TASK, lun, victims[0].task):
                return
        elif kind < 0.9:
            if not self._perform(initiator, _LOGICAL_UNIT_RESET, lun):
                return
        else:
            victims = list(self._flying.values())
            self._perform(initiator, _WARM_RESET, 0)
        for victim in victims:
            if victim.task.itt in self._flying and not victim.task.done:
                self._give_up(victim, "aborted")
                del initiator.tasks[victim.task.itt]

    def _perform(
        self, initiator: Initiator, function: int, lun: int, task: Task | None = None
    ) -> bool:
        response = initiator.task_management(function, lun=lun, task=task)
        self.seen[f"function {function}: {response}"] += 1
        return response == _SUCCESS
