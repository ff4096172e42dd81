"""The cluster as the core sees it: follows ``cluster_name`` and ``cluster_mode``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import trio

from scstfs.cluster.cluster_config import ClusterConfig
from scstfs.cluster.cluster_node import ClusterNode
from scstfs.cluster.cluster_report import describe
from scstfs.cluster.etcd import Etcd
from scstfs.cluster.etcd_keys import GROUP, UNIT, ItemName
from scstfs.cluster.group_side import GroupSide
from scstfs.cluster.item import SharedItem
from scstfs.cluster.replica import ClusterPort
from scstfs.cluster.unit_side import UnitSide
from scstfs.core.alua import DeviceGroup
from scstfs.core.device import Device
from scstfs.core.scst import Scst
from scstfs.core.shared_group import GroupStates
from scstfs.core.target import Target
from scstfs.persist.unit_state import UnitState
from scstfs.scsi.transport_id import Protocol

log = logging.getLogger(__name__)

#: How often ``cluster_name`` is looked at, and waiting commands are (seconds).
_TICK: Final = 0.25
_AFTER_FAILURE: Final = 1.0
#: How long etcd may take to notice that a lease has ended (seconds).
_EXPIRY_SECONDS: Final = 2


class Cluster:
    """See the module's text; `core.scst.Membership` and `core.scst.Watcher`."""

    def __init__(self, scst: Scst, config: ClusterConfig, etcd: Etcd) -> None:
        """Register with ``scst``."""
        self._scst: Final = scst
        self._config: Final = config
        self.etcd: Final = etcd
        self.node: ClusterNode | None = None
        self._units: dict[Device, SharedItem[UnitState]] = {}
        self._groups: dict[DeviceGroup, SharedItem[GroupStates]] = {}
        self._nursery: trio.Nursery | None = None
        scst.cluster = self
        scst.watchers.append(self)

    async def run(self) -> None:
        """Take part in the cluster that ``cluster_name`` names, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._look_around)
                while True:
                    name = self._scst.cluster_name
                    if not name:
                        await trio.sleep(_TICK)
                        continue
                    try:
                        await self._take_part(name)
                    except Exception:
                        # A bug here must not end what is not shared.
                        log.exception("cluster %s failed", name)
                        await trio.sleep(_AFTER_FAILURE)
        finally:
            self._nursery = None
            with trio.move_on_after(1, shield=True):
                await self.etcd.close()

    async def _take_part(self, name: str) -> None:
        config = self._config
        node = self.node = ClusterNode(self.etcd, name, config.node, config.ttl, self._ports)
        for item in self._items():
            node.add(item)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.run)
                while self._scst.cluster_name == name:
                    await trio.sleep(_TICK)
                nursery.cancel_scope.cancel()
        finally:
            self.node = None

    async def _look_around(self) -> None:
        while True:
            await trio.sleep(_TICK)
            self._follow_groups()
            for item in self._items():
                item.expire()

    def _items(self) -> list[SharedItem[Any]]:
        return [*self._units.values(), *self._groups.values()]

    def _add(self, item: SharedItem[Any]) -> None:
        if self.node is not None:
            self.node.add(item)

    def _remove(self, item: SharedItem[Any]) -> None:
        node = self.node
        if node is None or node.items.get(item.name) is not item:
            item.detach()
            return
        node.remove(item)
        if self._nursery is not None:
            self._nursery.start_soon(node.leave, [item.name])

    # Device groups

    def _follow_groups(self) -> None:
        """Share the states of device groups in which a device is shared."""
        wanted = {
            group
            for group in self._scst.device_groups.values()
            if any(device in self._units for device in group.devices)
        }
        for group in self._groups.keys() - wanted:
            self._remove(self._groups.pop(group))
            shared, group.shared = group.shared, None
            if isinstance(shared, GroupSide):
                shared.thaw()
        for group in wanted - self._groups.keys():
            item = self._groups[group] = SharedItem[GroupStates](ItemName(GROUP, group.name))
            item.side = group.shared = GroupSide(group, item)
            self._add(item)

    # Devices

    def device_appeared(self, device: Device) -> None:
        """See Watcher."""
        self.mode_changed(device)

    def device_changed(self, device: Device) -> None:
        """See Watcher; the identification cannot change in cluster mode."""

    def device_disappears(self, device: Device) -> None:
        """See Watcher."""
        if device in self._units:
            self._unshare(device)

    def mode_changed(self, device: Device) -> None:
        """See Membership."""
        if device.cluster_mode and device not in self._units:
            self._share(device)
        elif not device.cluster_mode and device in self._units:
            self._unshare(device)

    def _share(self, device: Device) -> None:
        name = ItemName(UNIT, _unit_id(device))
        item = SharedItem[UnitState](name)
        unit = UnitSide(device, self._config.node, item)
        item.side = unit
        device.shared = unit
        same = [other for other, known in self._units.items() if known.name == name]
        self._units[device] = item
        if not name.name:
            log.error("%s cannot be served in cluster mode: it has no t10_dev_id", device)
        elif same:
            log.error("%s and %s are the same unit of the cluster, %s", same[0], device, name.name)
        else:
            self._add(item)
        log.info("%s is in cluster mode, as %s", device, name)

    def _unshare(self, device: Device) -> None:
        item, unit = self._units.pop(device), device.shared
        assert isinstance(unit, UnitSide)
        file = device.pr.file
        self._remove(item)
        unit.leave()
        if device.alive and file is not None and self._nursery is not None:
            state = device.pr.save_state()
            self._nursery.start_soon(self._save, device, partial(file.save, state))
        log.info("%s is not in cluster mode any more", device)

    async def _save(self, device: Device, save: Any) -> None:
        try:
            await self._scst.env.runtime.run_blocking(save)
        except OSError as error:
            log.error("%s: cannot save persistent reservations: %s", device, error)

    # Target ports

    def _ports(self) -> Mapping[int, ClusterPort]:
        return {
            target.rel_tgt_id: ClusterPort(self._config.node, target.name, target.driver.protocol)
            for target in self._scst.targets()
            if _is_port(target)
        }

    def owner_of(self, rel_tgt_id: int) -> str | None:
        """See Membership."""
        node = self.node
        port = None if node is None else node.replica.ports.get(rel_tgt_id)
        return None if port is None or port.node == self._config.node else port.node

    async def freed(self, rel_tgt_id: int) -> None:
        """See Membership."""
        with trio.move_on_after(_EXPIRY_SECONDS):
            while self._scst.cluster_name and not self._knows_others():
                await trio.sleep(_TICK)
        with trio.move_on_after(self._config.ttl + _EXPIRY_SECONDS):
            while self.owner_of(rel_tgt_id) is not None:
                await trio.sleep(_TICK)

    def _knows_others(self) -> bool:
        return self.node is not None and self.node.replica.is_complete

    def other_ports(self, protocol: int) -> Iterable[int]:
        """See Membership."""
        ports = {} if self.node is None else self.node.replica.ports
        return [
            number
            for number, port in sorted(ports.items())
            if port.protocol == protocol and port.node != self._config.node
        ]

    # For users

    def describe(self) -> list[str]:
        """See Membership."""
        return describe(self._config, self.node, self.etcd.url, self._units, self._groups)


def _unit_id(device: Device) -> str:
    """By what nodes know that their devices are the same unit: SCST's t10_dev_id.

    A device of the machine has none; its address must be the same on all nodes.
    """
    try:
        return device.describe().identity.t10_dev_id.decode(errors="surrogateescape")
    except NotImplementedError:
        return device.name


def _is_port(target: Target) -> bool:
    is_transport = target.driver.protocol != Protocol.COPY_MANAGER
    return bool(is_transport and target.is_active and target.rel_tgt_id)
