"""Joining and leaving, names and ports, power on: two nodes in one process."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scstfs.core import task_management
from scstfs.core.scst import Scst
from scstfs.scsi.status import Status
from scstfs.sysfs.errors import SysfsError
from scstfs.tree.targets import require_unique
from tests.cluster.nodes import Nodes, node_of, until
from tests.support.etcd import Member
from tests.support.reservations import ALL_TG_PT as ALL_PORTS
from tests.support.reservations import (
    APTPL,
    EA,
    FULL_STATUS,
    IGNORE,
    REGISTER,
    RESERVE,
    pr_in,
    pr_out,
    read_full_status,
)
from tests.support.target import DISK_SIZE, GOOD

A, B = 0xA, 0xB
WRITE = bytes.fromhex("2a000000000000000100")
BLOCK = bytes(512)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as opened:
        opened.truncate(DISK_SIZE)
    return path


def saved(scst: Scst) -> bool:
    return scst.env.state.reservations_path("disk").exists()


async def test_a_port_of_another_node_is_taken(nodes: Nodes) -> None:
    scst, target = nodes[0].system.scst, nodes[0].system.target
    await until(lambda: scst.cluster is not None and scst.cluster.owner_of(2) == "node2")
    with pytest.raises(SysfsError) as refused:
        require_unique(scst, target, 2)
    assert refused.value.errno == errno.EBADSLT
    require_unique(scst, target, 3)
    assert scst.next_rel_tgt_id() == 3


async def test_a_node_that_has_just_started_knows_which_ports_are_taken(
    tmp_path: Path, file: Path, etcd: Member
) -> None:
    async with node_of(tmp_path / "1", file, etcd.url, "started", 1) as first:
        await until(lambda: first.is_open)
        async with node_of(tmp_path / "9", file, etcd.url, "started", 9) as second:
            scst = second.system.scst
            assert scst.cluster is not None
            await scst.cluster.freed(0)
            assert scst.next_rel_tgt_id() == 2


@pytest.mark.logs("relative target port 2 of target")
async def test_ports_that_clash_keep_a_node_from_serving(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = nodes
    one.system.target.rel_tgt_id = 2
    await until(lambda: not one.is_open)
    assert other.is_open
    assert "relative target port 2 of target is also that of target on node node2" in caplog.text
    one.system.target.rel_tgt_id = 7
    await until(lambda: one.is_open)


async def test_all_target_ports_are_those_of_all_nodes(nodes: Nodes) -> None:
    one = nodes[0].initiator("one", 1)
    assert await one.execute(*pr_out(REGISTER, new=A, flags=ALL_PORTS)) == GOOD
    status = read_full_status((await one.execute(pr_in(FULL_STATUS), data_in=4096)).data)
    assert [(entry.key, entry.rel_tgt_id) for entry in status] == [(A, 1), (A, 2)]
    # The same initiator port at the other node is registered.
    again = nodes[1].initiator("one", 1)
    assert await again.execute(*pr_out(RESERVE, EA, key=A)) == GOOD
    assert (await one.execute(WRITE, BLOCK)).status is Status.RESERVATION_CONFLICT
    assert await one.execute(*pr_out(REGISTER, key=A, new=0, flags=ALL_PORTS)) == GOOD
    assert nodes[1].keys == []


@pytest.mark.logs("there is another node called node2")
async def test_two_nodes_of_one_name_are_not_possible(
    nodes: Nodes, tmp_path: Path, etcd: Member, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = nodes[0].system.scst.cluster_name
    file = tmp_path / "disk"
    async with node_of(tmp_path / "third", file, etcd.url, cluster, 2) as third:
        await until(lambda: "there is another node called node2" in caplog.text)
        assert not third.is_open
        assert nodes[1].is_open
        # It may serve as soon as the other one has gone.
        nodes[1].scope.cancel()
        await until(lambda: third.is_open)


@pytest.mark.parametrize("aptpl", [0, APTPL])
async def test_power_on_ends_registrations_without_aptpl(
    tmp_path: Path, file: Path, etcd: Member, aptpl: int
) -> None:
    cluster = f"power {aptpl}"
    async with node_of(tmp_path / "1", file, etcd.url, cluster, 1) as first:
        await until(lambda: first.is_open)
        one = first.initiator("one", 1)
        assert await one.execute(*pr_out(REGISTER, new=A, flags=aptpl)) == GOOD
        async with node_of(tmp_path / "2", file, etcd.url, cluster, 2) as second:
            await until(lambda: second.is_open)
            assert second.keys == [A]
        # One node had power all the time.
        async with node_of(tmp_path / "2b", file, etcd.url, cluster, 2) as second:
            await until(lambda: second.is_open)
            assert second.keys == [A]
    async with node_of(tmp_path / "3", file, etcd.url, cluster, 3) as last:
        await until(lambda: last.is_open)
        assert last.keys == ([A] if aptpl else [])


async def test_a_device_leaves_and_enters_cluster_mode(nodes: Nodes) -> None:
    one, other = nodes
    disk = one.disk
    initiator = one.initiator("one", 1)
    assert await initiator.execute(*pr_out(REGISTER, new=A, flags=APTPL)) == GOOD
    assert not saved(one.system.scst)
    disk.cluster_mode = False
    one.system.scst.cluster_mode_changed(disk)
    # It keeps its registrations, in its own file.
    await until(lambda: saved(one.system.scst))
    assert one.keys == [A]
    assert await initiator.execute(*pr_out(IGNORE, new=B, flags=APTPL)) == GOOD
    assert (one.keys, other.keys) == ([B], [A])
    disk.cluster_mode = True
    one.system.scst.cluster_mode_changed(disk)
    await until(lambda: one.is_open)
    assert one.keys == [A]
    # The cluster has the state now: the file would bring back another one.
    await until(lambda: not saved(one.system.scst))


async def test_a_holder_by_reserve_goes_with_its_node(nodes: Nodes) -> None:
    one, other = nodes[0].initiator("one", 1), nodes[1].initiator("other", 2)
    reserve = bytes.fromhex("160000000000")
    assert await one.execute(reserve) == GOOD
    assert (await other.execute(reserve)).status is Status.RESERVATION_CONFLICT
    nodes[0].scope.cancel()
    await until(lambda: nodes[1].disk.reserved_by is None)
    assert await other.execute(reserve) == GOOD


async def test_a_logical_unit_reset_is_one_for_all_nodes(nodes: Nodes) -> None:
    one, other = nodes[0].initiator("one", 1), nodes[1].initiator("other", 2)
    assert await other.execute(bytes.fromhex("160000000000")) == GOOD
    done: list[bool] = []
    task_management.logical_unit_reset(one.session.tgt_devs[0], lambda: done.append(True))
    await until(lambda: bool(done))
    assert (await other.execute(bytes(6))).triple == (6, 0x29, 0)
    assert (await one.execute(bytes(6))).triple == (6, 0x29, 0)
    assert await one.execute(WRITE, BLOCK) == GOOD


async def test_a_node_tells_what_it_knows(nodes: Nodes) -> None:
    cluster = nodes[0].cluster
    lines = cluster.describe()
    assert lines[1].startswith("node node1 state=member lease=")
    assert any(line.startswith("member node2 release=") for line in lines)
    assert "port 2 node=node2 target=target" in lines
    assert lines[-1].startswith("unit disk id=shared-disk state=open revision=")
    assert lines[-1].endswith("users=node1,node2")
