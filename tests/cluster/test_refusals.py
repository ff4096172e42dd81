"""What etcd does not do, and answers that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.cluster.cluster_config import EtcdAccess
from scstfs.cluster.etcd import Etcd, EtcdRefused, Put, Unreachable
from scstfs.cluster.unit_side import UnitSide
from scstfs.persist.unit_state import UnitState
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import TransportId
from tests.cluster.nodes import Nodes, nodes_of, until
from tests.support.etcd import Member, one_member
from tests.support.reservations import REGISTER, SPEC_I_PT, pr_out
from tests.support.target import GOOD

A, B = 0xA, 0xB


async def test_what_is_too_large_is_refused(etcd: Member) -> None:
    client = Etcd(EtcdAccess(urls=(etcd.url,)))
    with pytest.raises(EtcdRefused):
        await client.transact((), [Put("/large", "x" * (2 << 20))])
    await client.close()


async def test_nobody_listens() -> None:
    client = Etcd(EtcdAccess(urls=("http://127.0.0.1:1", "http://127.0.0.1:2")))
    with pytest.raises(Unreachable):
        await client.grant(3)
    await client.close()


async def test_the_next_member_is_asked(etcd: Member) -> None:
    client = Etcd(EtcdAccess(urls=("http://127.0.0.1:1", etcd.url)))
    _lease, ttl = await client.grant(5)
    assert ttl == 5
    assert client.url == etcd.url
    await client.close()


@pytest.mark.logs("etcd refuses a change")
async def test_a_change_that_etcd_does_not_take_is_an_error_of_the_command(
    tmp_path: Path,
) -> None:
    small = ("--max-request-bytes", "4096")
    with one_member(tmp_path / "etcd", *small) as member:
        async with nodes_of(tmp_path, member.url, "small", 2) as nodes:
            one = nodes[0].initiator("one", 1)
            ports = b"".join(TransportId.iscsi(f"iqn.x{n}", bytes(6)).data for n in range(200))
            many = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=ports)
            result = await one.execute(*many)
            assert (result.status, result.triple) == (Status.CHECK_CONDITION, (5, 0x55, 4))
            assert nodes[0].keys == []
            # Everything else goes on.
            assert await one.execute(*pr_out(REGISTER, new=B)) == GOOD
            assert nodes[1].keys == [B]


@pytest.mark.logs("failed", "Traceback")
async def test_a_bug_in_one_item_does_not_end_the_node(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = nodes[1].disk.shared
    assert isinstance(shared, UnitSide)
    broken = True
    adopt = shared.adopt

    def fail_once(state: UnitState, *, is_next: bool, is_mine: bool) -> None:
        nonlocal broken
        if broken:
            broken = False
            raise RuntimeError("a bug")
        adopt(state, is_next=is_next, is_mine=is_mine)

    monkeypatch.setattr(shared, "adopt", fail_once)
    one = nodes[0].initiator("one", 1)
    assert await one.execute(*pr_out(REGISTER, new=A)) == GOOD
    assert not broken
    await until(lambda: nodes[1].is_open)
    assert nodes[1].keys == [A]
