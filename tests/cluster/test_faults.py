"""Nodes and members of etcd that stop, die or are cut off: real processes in real networks."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Iterator

import pytest

from tests.cluster.world import TTL, NodeProcess, World, wait_until, world
from tests.support.initiator import Initiator, Task
from tests.support.reservations import (
    EA_RO,
    IGNORE,
    KEYS,
    PREEMPT_AND_ABORT,
    REGISTER,
    RESERVE,
    pr_in,
    pr_out,
    read_keys,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

GOOD, BUSY, CONFLICT = 0x00, 0x08, 0x18
BLOCK = 512
A, B = 0xA, 0xB
#: As many as 32 sessions may send while nobody answers.
SESSIONS = 32
QUEUED = 1024
#: etcd looks for leases that have ended twice a second, and elects a leader in between.
EXPIRY = TTL + 3.0


def out(initiator: Initiator, *arguments: int, **options: int) -> Task:
    """Send PERSISTENT RESERVE OUT."""
    cdb, data = pr_out(*arguments, **options)  # type: ignore[arg-type]
    return initiator.issue(cdb, data_out=data)


def do(initiator: Initiator, *arguments: int, **options: int) -> int:
    """The status of PERSISTENT RESERVE OUT."""
    return initiator.wait(out(initiator, *arguments, **options)).status


def write(initiator: Initiator, lba: int, data: bytes) -> Task:
    return initiator.issue(struct.pack(">BxIxHx", 0x2A, lba, len(data) // BLOCK), data_out=data)


def read(initiator: Initiator, lba: int) -> Task:
    cdb = struct.pack(">BxIxHx", 0x28, lba, 1)
    return initiator.command(cdb, expect=BLOCK)


def keys(initiator: Initiator) -> list[int]:
    task = initiator.command(pr_in(KEYS), expect=4096)
    assert task.status == GOOD
    return read_keys(task.data)[1]


def ready(initiator: Initiator) -> None:
    """Fetch unit attentions until there is none, and try again while the unit is busy."""
    wait_until(lambda: initiator.command(bytes(6)).status == GOOD)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("faults"), "a", "b") as made:
        for node in made.nodes:
            node.start()
        yield made


@pytest.fixture
def whole(pair: World) -> World:
    """All nodes serve, and nobody is registered."""
    pair.mend()
    for node in pair.nodes:
        node.wait_until_open()
    first = pair.nodes[0].log_in(9)
    assert do(first, IGNORE, new=9) == GOOD
    assert do(first, 3, key=9) == GOOD  # CLEAR
    first.close()
    return pair


def test_a_stopped_node_executes_none_of_its_queued_writes(whole: World) -> None:
    stopped, other = whole.nodes
    winner = other.log_in(99)
    victims = [stopped.log_in(number) for number in range(SESSIONS)]
    assert do(winner, REGISTER, new=B) == GOOD
    for victim in victims:
        assert do(victim, REGISTER, new=A) == GOOD
    assert do(victims[0], RESERVE, EA_RO, key=A) == GOOD
    zeros = bytes(BLOCK * QUEUED)
    assert winner.wait(write(winner, 0, zeros)).status == GOOD
    stopped.pause()
    queued = [
        (victim, write(victim, SESSIONS * number + at, b"n" * BLOCK))
        for at, victim in enumerate(victims)
        for number in range(QUEUED // SESSIONS)
    ]
    started = time.monotonic()
    assert do(winner, PREEMPT_AND_ABORT, EA_RO, key=B, new=A) == GOOD
    assert time.monotonic() - started < EXPIRY
    stopped.go_on()
    stopped.wait_until_open()
    for victim in victims:
        ready(victim)
    done = [task for _, task in queued if task.done]
    assert GOOD not in {task.status for task in done}
    assert whole.file("disk").read_bytes()[: BLOCK * QUEUED] == zeros
    assert keys(victims[0]) == [B]
    assert victims[0].wait(write(victims[0], 0, b"n" * BLOCK)).status == CONFLICT
    for initiator in (*victims, winner):
        initiator.close()


def registered(one: NodeProcess, other: NodeProcess) -> tuple[Initiator, Initiator]:
    """An initiator of each node, with the keys A and B."""
    first, second = one.log_in(1), other.log_in(2)
    assert do(first, REGISTER, new=A) == GOOD
    assert do(second, REGISTER, new=B) == GOOD
    return first, second


def come_back(whole: World, victim: Initiator) -> None:
    """Mend the first node's network: it serves again, and knows that A was preempted."""
    whole.network.mend("a")
    whole.nodes[0].wait_until_open(3)
    ready(victim)
    assert keys(victim) == [B]


@pytest.mark.full
def test_a_node_that_is_cut_off_fences_itself_and_comes_back(whole: World) -> None:
    lone, other = whole.nodes
    victim, winner = registered(lone, other)
    whole.network.isolate("a", "etcd1", "etcd2", "etcd3")
    assert victim.wait(write(victim, 0, bytes(BLOCK))).status == GOOD
    started = time.monotonic()
    assert do(winner, PREEMPT_AND_ABORT, EA_RO, key=B, new=A) == GOOD
    assert time.monotonic() - started < EXPIRY
    # The write waits, and ends with BUSY: nothing is executed.
    late = victim.wait(write(victim, 0, b"n" * BLOCK))
    assert late.status == BUSY
    come_back(whole, victim)
    victim.close()
    winner.close()


@pytest.mark.full
def test_a_node_that_hears_nothing_does_not_go_on(whole: World) -> None:
    lone, other = whole.nodes
    victim, winner = registered(lone, other)
    whole.network.deafen("a", "etcd1", "etcd2", "etcd3")
    assert do(winner, PREEMPT_AND_ABORT, EA_RO, key=B, new=A) == GOOD
    assert "state=member" not in lone.status()
    come_back(whole, victim)
    victim.close()
    winner.close()


def test_units_outlast_the_loss_of_etcd_without_a_restart(whole: World) -> None:
    first, second = whole.nodes
    one, other = first.log_in(1), second.log_in(2)
    assert do(one, REGISTER, new=A) == GOOD
    for member in whole.members:
        member.kill()
    assert one.wait(write(one, 0, bytes(BLOCK))).status == GOOD
    wait_until(lambda: not first.is_open() and not second.is_open(), TTL + 1)
    started = time.monotonic()
    assert one.wait(write(one, 0, bytes(BLOCK))).status == BUSY
    assert 4.5 < time.monotonic() - started < 7
    assert do(one, REGISTER, key=A, new=B) == BUSY
    for member in whole.members:
        member.start()
    wait_until(whole.etcd_answers)
    for node in whole.nodes:
        node.wait_until_open(1.5)
    ready(other)
    assert keys(other) == [A]
    assert do(one, REGISTER, key=A, new=B) == GOOD
    one.close()
    other.close()


@pytest.mark.full
def test_the_loss_of_one_member_does_not_show(whole: World) -> None:
    one, other = whole.nodes[0].log_in(1), whole.nodes[1].log_in(2)
    assert do(one, REGISTER, new=A) == GOOD
    for member in whole.members:
        member.send(signal.SIGSTOP)
        started = time.monotonic()
        assert do(other, IGNORE, new=B) == GOOD
        assert time.monotonic() - started < EXPIRY
        assert keys(one) == [A, B]
        assert one.wait(write(one, 0, bytes(BLOCK))).status == GOOD
        member.send(signal.SIGCONT)
        wait_until(whole.etcd_answers)
    assert all(node.is_open() for node in whole.nodes)
    one.close()
    other.close()


@pytest.mark.full
def test_a_killed_node_is_gone_and_comes_back(whole: World) -> None:
    dying, other = whole.nodes
    one, survivor = dying.log_in(1), other.log_in(2)
    assert do(one, REGISTER, new=A) == GOOD
    assert do(survivor, REGISTER, new=B) == GOOD
    dying.kill()
    one.close()
    started = time.monotonic()
    assert do(survivor, IGNORE, new=B) == GOOD
    assert time.monotonic() - started < EXPIRY
    assert keys(survivor) == [A, B]
    dying.start()
    dying.wait_until_open()
    again = dying.log_in(1)
    assert keys(again) == [A, B]
    assert do(again, RESERVE, EA_RO, key=A) == GOOD
    again.close()
    survivor.close()
