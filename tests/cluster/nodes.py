"""Several nodes in one process that serve one disk, with a real etcd between them.

Each has a core and a cluster of its own; only the file and the event loop are the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from scstfs.cluster.cluster_config import ClusterConfig, EtcdAccess
from scstfs.cluster.etcd import Etcd
from scstfs.cluster.membership import Cluster
from scstfs.handlers.vdisk import VdiskDevice
from tests.support.target import DISK_SIZE, Initiator, System, target

PATIENCE: Final = 15.0
UNIT: Final = "shared-disk"


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.005)


class RunningNode:
    """A node: its core with one target, and its part in the cluster."""

    def __init__(self, system: System, cluster: Cluster) -> None:
        self.system = system
        self.cluster = cluster
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            await self.cluster.run()

    @property
    def disk(self) -> VdiskDevice:
        disk = self.system.scst.devices["disk"]
        assert isinstance(disk, VdiskDevice)
        return disk

    @property
    def is_open(self) -> bool:
        shared = self.disk.shared
        return shared is not None and not shared.is_closed and shared.fence.is_open

    @property
    def keys(self) -> list[int]:
        return [registrant.key for registrant in self.disk.pr.registrants]

    def initiator(self, name: str, port: int) -> Initiator:
        return self.system.initiator(name, port=port)


class Nodes(list[RunningNode]):
    """The nodes."""

    async def opened(self) -> None:
        """Wait until all of them execute commands."""
        await until(lambda: all(node.is_open for node in self))


@asynccontextmanager
async def node_of(
    directory: Path,
    file: Path,
    url: str,
    cluster_name: str,
    number: int,
    *,
    ttl: int = 2,
    t10_dev_id: str = UNIT,
) -> AsyncIterator[RunningNode]:
    """A node with a disk in cluster mode, LUN 0 of its target."""
    directory.mkdir(exist_ok=True)
    config = ClusterConfig(etcd=EtcdAccess(urls=(url,)), node=f"node{number}", ttl=ttl)
    async with target(directory) as system, trio.open_nursery() as nursery:
        node = RunningNode(system, Cluster(system.scst, config, Etcd(config.etcd)))
        system.target.rel_tgt_id = number
        system.scst.cluster_name = cluster_name
        nursery.start_soon(node.run)
        await system.add(
            "vdisk_fileio", "disk", filename=file, cluster_mode=1, t10_dev_id=t10_dev_id
        )
        yield node
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def nodes_of(
    directory: Path, url: str, cluster_name: str, number: int
) -> AsyncIterator[Nodes]:
    """Nodes that are open."""
    file = directory / "disk"
    with file.open("wb") as opened:
        opened.truncate(DISK_SIZE)
    async with AsyncExitStack() as stack:
        nodes = Nodes()
        for one in range(1, number + 1):
            place = directory / f"node{one}"
            made = node_of(place, file, url, cluster_name, one)
            nodes.append(await stack.enter_async_context(made))
        await nodes.opened()
        yield nodes
