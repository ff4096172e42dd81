"""Random commands from several initiators at several nodes while faults happen."""

from __future__ import annotations

import random
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Final

from scstfs.scsi.sense import decode
from tests.cluster.history import CONFLICT, DONE, Operation, Outcome
from tests.cluster.world import NodeProcess, World, wait_until
from tests.support.initiator import ClosedError, Initiator, LoginError, Task
from tests.support.model_reservations import Request
from tests.support.reservations import (
    CLEAR,
    IGNORE,
    KEYS,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    TYPES,
    pr_in,
    pr_out,
    read_keys,
)

BLOCK: Final = 512
CLIENTS: Final = 4
#: Longer than commands wait at a closed unit, and than a node lives after it was cut off.
TIMEOUT: Final = 14.0

GOOD, BUSY, RESERVATION_CONFLICT = 0x00, 0x08, 0x18
_UNIT_ATTENTION: Final = 6
_TIMED_OUT: Final = (0xB, 0x2E, 2)
#: CLEARED BY ANOTHER INITIATOR.
_ABORTED: Final = (6, 0x2F, 0)


class Client(threading.Thread):
    """An initiator that sends one command after the other, and writes down what it got."""

    def __init__(self, number: int, node: NodeProcess, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.node = node
        self.operations: list[Operation] = []
        self.failure: BaseException | None = None
        self._random = random.Random(seed)
        self._stop_request = stop
        self._initiator: Initiator | None = None
        self._written = 0

    def run(self) -> None:
        try:
            while not self._stop_request.is_set():
                self.one(*self._choose())
                time.sleep(self._random.random() * 0.05)
        except BaseException as failure:
            self.failure = failure

    def close(self) -> None:
        if self._initiator is not None:
            self._initiator.close()
            self._initiator = None

    # Choosing

    def _choose(self) -> tuple[str, object]:
        chance = self._random
        kind = chance.choices(
            ["out", "keys", "write", "read", "reserve", "release"], [8, 4, 5, 3, 1, 2]
        )[0]
        if kind == "write":
            self._written += 1
            return kind, self.number * 1000 + self._written
        if kind != "out":
            return kind, None
        action = chance.choices(
            [REGISTER, IGNORE, RESERVE, RELEASE, PREEMPT, PREEMPT_AND_ABORT, CLEAR],
            [3, 3, 4, 3, 2, 2, 1],
        )[0]
        own, other = self.number, chance.randrange(1, CLIENTS + 1)
        if action in (REGISTER, IGNORE):
            new = 0 if chance.random() < 0.15 else own
            key = chance.choice([0, own]) if action == REGISTER else 0
            return kind, Request(action, key=key, new=new)
        if action in (RESERVE, RELEASE):
            return kind, Request(action, chance.choice(TYPES[:4]), key=own)
        if action == CLEAR:
            return kind, Request(action, key=own)
        return kind, Request(action, chance.choice(TYPES[:4]), key=own, new=other)

    # Sending

    def one(self, kind: str, argument: object) -> Operation | None:
        """Send a command; None if it was certainly not executed."""
        initiator = self._connected()
        if initiator is None:
            return None
        cdb, data, expect = _command(kind, argument)
        invoked = time.monotonic()
        try:
            task = initiator.issue(cdb, data_out=data, expect=expect)
            is_answered = _wait(initiator, task)
        except (ClosedError, OSError):
            self.close()
            # Its nexus is lost, and what it had sent may have been done, or may yet be.
            self.note(Operation(self.number, kind, argument, invoked))
            self.note(Operation(self.number, "lose", None, invoked))
            return None
        returned = time.monotonic()
        if not is_answered:
            self.note(Operation(self.number, kind, argument, invoked))
            return None
        if _was_not_executed(task):
            return None
        outcome = _outcome(kind, task)
        if outcome is None:
            self.note(Operation(self.number, kind, argument, invoked))
            return None
        operation = Operation(self.number, kind, argument, invoked, returned, outcome)
        self.note(operation)
        return operation

    def insist(self, kind: str) -> None:
        """Send a command until it is executed."""
        wait_until(lambda: self.one(kind, None) is not None, 30)

    def note(self, operation: Operation) -> None:
        self.operations.append(operation)

    def _connected(self) -> Initiator | None:
        if self._initiator is None:
            try:
                self._initiator = self.node.log_in(self.number, timeout=TIMEOUT)
            except (ClosedError, LoginError, OSError, RuntimeError):
                time.sleep(0.1)
        return self._initiator


def _command(kind: str, argument: object) -> tuple[bytes, bytes, int]:
    match kind:
        case "out":
            assert isinstance(argument, Request)
            cdb, data = pr_out(argument.action, argument.kind, key=argument.key, new=argument.new)
            return cdb, data, 0
        case "keys":
            return pr_in(KEYS), b"", 4096
        case "reserve":
            return bytes((0x16, 0, 0, 0, 0, 0)), b"", 0
        case "release":
            return bytes((0x17, 0, 0, 0, 0, 0)), b"", 0
        case "write":
            assert isinstance(argument, int)
            cdb = struct.pack(">BxIxHx", 0x2A, 0, 1)
            return cdb, struct.pack(">I", argument).ljust(BLOCK, b"\0"), 0
    return struct.pack(">BxIxHx", 0x28, 0, 1), b"", BLOCK


def _wait(initiator: Initiator, task: Task) -> bool:
    """Wait for an answer; False if another initiator has aborted the command.

    Without TAS it gets no answer, but the next command has a unit attention.
    """
    end, probe = time.monotonic() + TIMEOUT, None
    while not task.done:
        assert isinstance(initiator.sock, socket.socket)
        if not select.select([initiator.sock], [], [], 0.5)[0]:
            if time.monotonic() > end:
                raise TimeoutError
            if probe is None or probe.done:
                probe = initiator.issue(bytes(6))
            continue
        initiator.pump()
        if probe is not None and probe.done and _triple(probe) == _ABORTED:
            return task.done
    while probe is not None and not probe.done:
        initiator.pump()
    return True


def _was_not_executed(task: Task) -> bool:
    triple = _triple(task)
    return task.status == BUSY or (triple is not None and triple[0] == _UNIT_ATTENTION)


def _triple(task: Task) -> tuple[int, int, int] | None:
    found = decode(task.sense) if task.sense else None
    return None if found is None else found.triple


def _outcome(kind: str, task: Task) -> Outcome:
    if task.status == RESERVATION_CONFLICT:
        return CONFLICT
    if task.status != GOOD:
        triple = _triple(task)
        return None if triple in (None, _TIMED_OUT) else triple
    if kind == "keys":
        generation, keys = read_keys(task.data)
        return generation, tuple(keys)
    if kind == "read":
        return int(struct.unpack_from(">I", task.data)[0])
    return DONE


# Faults


class Faults:
    """What can happen to a world, each undone by `mend`."""

    def __init__(self, world: World, chance: random.Random, longest: float) -> None:
        self.world = world
        self.chance = chance
        self.longest = longest
        self.etcd = [name for name in world.network.hosts if name.startswith("etcd")]
        self.kinds: list[Callable[[], None]] = [
            self.isolate,
            self.mute,
            self.deafen,
            self.cut_from_all,
            self.lose_packets,
            self.pause,
            self.kill,
            self.kill_member,
            self.pause_member,
            self.move_leader,
        ]

    def node(self) -> NodeProcess:
        return self.chance.choice(self.world.nodes)

    def last(self) -> None:
        time.sleep(self.chance.uniform(0.3, self.longest))

    def isolate(self) -> None:
        self.world.network.isolate(self.node().name, *self.etcd)
        self.last()

    def mute(self) -> None:
        self.world.network.mute(self.node().name, *self.etcd)
        self.last()

    def deafen(self) -> None:
        self.world.network.deafen(self.node().name, *self.etcd)
        self.last()

    def cut_from_all(self) -> None:
        self.world.network.isolate(self.node().name)
        self.last()

    def lose_packets(self) -> None:
        name = self.node().name
        end = time.monotonic() + self.chance.uniform(0.5, self.longest)
        while time.monotonic() < end:
            self.world.network.mute(name)
            time.sleep(self.chance.random() * 0.1)
            self.world.network.mend(name)
            time.sleep(self.chance.random() * 0.2)

    def pause(self) -> None:
        self.node().pause()
        self.last()

    def kill(self) -> None:
        node = self.node()
        node.kill()
        time.sleep(self.chance.random())
        node.start()

    def kill_member(self) -> None:
        self.chance.choice(self.world.members).kill()
        self.last()

    def pause_member(self) -> None:
        self.chance.choice(self.world.members).send(signal.SIGSTOP)
        self.last()

    def move_leader(self) -> None:
        self.world.move_leader(self.chance)
        self.last()

    def mend(self) -> None:
        """Undo everything, and wait until all nodes serve."""
        self.world.mend()
        for node in self.world.nodes:
            node.wait_until_open(30)


def run_history(world: World, seed: int, faults: int, longest: float) -> list[Operation]:
    """Let clients send commands while ``faults`` faults happen one after the other."""
    chance = random.Random(seed)
    stop = threading.Event()
    nodes = world.nodes
    clients = [
        Client(number, nodes[number % len(nodes)], chance.randrange(1 << 30), stop)
        for number in range(1, CLIENTS + 1)
    ]
    nemesis = Faults(world, chance, longest)
    started = [time.monotonic()]
    for client in clients:
        client.start()
    try:
        for _ in range(faults):
            time.sleep(chance.uniform(0.2, 0.6))
            chance.choice(nemesis.kinds)()
            started.append(time.monotonic())
            nemesis.mend()
        time.sleep(0.3)
    finally:
        stop.set()
        for client in clients:
            client.join(3 * TIMEOUT)
    operations: list[Operation] = []
    for client in clients:
        if client.failure is not None:
            raise client.failure
        # A node that was without lease has lost its nexuses for the others.
        for at in started:
            client.note(Operation(client.number, "lose", None, at - longest - 1))
        for kind in ("keys", "read", "keys"):
            client.insist(kind)
        operations += client.operations
        client.close()
    return operations
