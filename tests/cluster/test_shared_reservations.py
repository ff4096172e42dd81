"""Reservations of a disk that two nodes serve."""

from __future__ import annotations

import trio

from scstfs.scsi.status import Status
from tests.cluster.nodes import Nodes
from tests.support.nexuses import REGISTRATION_PREEMPTED, RELEASED, pending
from tests.support.reservations import (
    FULL_STATUS,
    KEYS,
    PREEMPT,
    REGISTER,
    RELEASE,
    RESERVE,
    WE,
    WE_RO,
    pr_in,
    pr_out,
    read_full_status,
    read_keys,
)
from tests.support.target import GOOD

A, B = 0xA, 0xB
WRITE = bytes.fromhex("2a000000000000000100")
READ = bytes.fromhex("28000000000000000100")
BLOCK = bytes(512)


async def test_all_nodes_know_a_registration_when_it_is_answered(nodes: Nodes) -> None:
    one = nodes[0].initiator("one", 1)
    other = nodes[1].initiator("other", 2)
    assert await one.execute(*pr_out(REGISTER, new=A)) == GOOD
    assert nodes[1].keys == [A]
    assert await other.execute(*pr_out(REGISTER, new=B)) == GOOD
    for initiator in (one, other):
        result = await initiator.execute(pr_in(KEYS), data_in=4096)
        assert read_keys(result.data) == (2, [A, B])
        result = await initiator.execute(pr_in(FULL_STATUS), data_in=4096)
        status = read_full_status(result.data)
        assert [(r.key, r.rel_tgt_id) for r in status] == [(A, 1), (B, 2)]


async def test_a_reservation_holds_on_the_other_node(nodes: Nodes) -> None:
    one = nodes[0].initiator("one", 1)
    other = nodes[1].initiator("other", 2)
    assert await other.execute(WRITE, BLOCK) == GOOD
    assert await one.execute(*pr_out(REGISTER, new=A)) == GOOD
    assert await one.execute(*pr_out(RESERVE, WE, key=A)) == GOOD
    assert (await other.execute(WRITE, BLOCK)).status is Status.RESERVATION_CONFLICT
    assert (await other.execute(READ, data_in=512)).status is Status.GOOD
    assert (await one.execute(WRITE, BLOCK)).status is Status.GOOD
    assert await one.execute(*pr_out(RELEASE, WE, key=A)) == GOOD
    assert await other.execute(WRITE, BLOCK) == GOOD


async def test_the_other_node_has_the_unit_attentions(nodes: Nodes) -> None:
    one = nodes[0].initiator("one", 1)
    other = nodes[1].initiator("other", 2)
    assert await one.execute(*pr_out(REGISTER, new=A)) == GOOD
    assert await other.execute(*pr_out(REGISTER, new=B)) == GOOD
    assert await one.execute(*pr_out(RESERVE, WE_RO, key=A)) == GOOD
    assert await one.execute(*pr_out(RELEASE, WE_RO, key=A)) == GOOD
    assert pending(other) == [RELEASED]
    other.clear_unit_attentions()
    assert await one.execute(*pr_out(PREEMPT, WE, key=A, new=B)) == GOOD
    assert pending(other) == [REGISTRATION_PREEMPTED]
    assert pending(one) == []
    assert nodes[1].keys == [A]


def compare_and_write(expected: bytes, new: bytes) -> tuple[bytes, bytes]:
    return bytes.fromhex("89000000000000000000000000010000"), expected + new


async def test_compare_and_write_is_atomic_among_nodes(nodes: Nodes) -> None:
    """Each increments a counter, over and over; no increment is lost."""
    initiators = [node.initiator("one", port) for port, node in enumerate(nodes, 1)]
    rounds, done = 20, [0, 0]

    async def count(at: int) -> None:
        initiator = initiators[at]
        while done[at] < rounds:
            before = (await initiator.execute(READ, data_in=512)).data
            number = int.from_bytes(before[:4], "big")
            after = (number + 1).to_bytes(4, "big").ljust(512, b"\0")
            result = await initiator.execute(*compare_and_write(before, after))
            if result == GOOD:
                done[at] += 1
            else:
                assert result.triple == (0xE, 0x1D, 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count, 0)
        nursery.start_soon(count, 1)
    data = (await initiators[0].execute(READ, data_in=512)).data
    assert int.from_bytes(data[:4], "big") == 2 * rounds


async def test_the_token_stays_where_it_is_used(nodes: Nodes) -> None:
    one = nodes[0].initiator("one", 1)
    revisions = set()
    for _ in range(3):
        assert await one.execute(*compare_and_write(BLOCK, BLOCK)) == GOOD
        cluster = nodes[0].cluster.node
        assert cluster is not None
        revisions.add(next(iter(cluster.items.values())).shared.revision)
    assert len(revisions) == 1
