"""The root of everything: what ``/sys/kernel/scst_tgt`` itself shows, and what is below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from scstfs.core.environment import Environment
from scstfs.core.target import Target, TargetDriver
from scstfs.observable import ObservableDict

if TYPE_CHECKING:
    from scstfs.core.alua import DeviceGroup
    from scstfs.core.device import DevHandler, Device
    from scstfs.core.session import Session


class Watcher(Protocol):
    """An observer of all devices: the copy manager."""

    def device_appeared(self, device: Device) -> None:
        """``device`` was registered."""

    def device_changed(self, device: Device) -> None:
        """The identification of ``device`` changed."""

    def device_disappears(self, device: Device) -> None:
        """``device`` is being deleted; its LUNs are still there."""


class Membership(Protocol):
    """The cluster as the core sees it (``scstfs.cluster``)."""

    def mode_changed(self, device: Device) -> None:
        """``device.cluster_mode`` was set."""

    def owner_of(self, rel_tgt_id: int) -> str | None:
        """The other node that has a target port of this relative identifier."""

    async def freed(self, rel_tgt_id: int) -> None:
        """Wait until no other node has a target port of this relative identifier, 0 for any.

        Not longer than it may take to find the other nodes, and than one that has died counts as
        alive.
        """

    def other_ports(self, protocol: int) -> Iterable[int]:
        """Relative identifiers of the ports of other nodes that speak ``protocol``."""

    def describe(self) -> list[str]:
        """Lines for users: members, lease, units."""


@runtime_checkable
class RegisteredDriver(TargetDriver, Protocol):
    """A target driver that is registered."""

    @property
    def scst(self) -> Scst:
        """What it is registered with."""


def registry_of(target: Target) -> Scst:
    """Where the driver of ``target`` is registered."""
    driver = target.driver
    assert isinstance(driver, RegisteredDriver)
    return driver.scst


class Scst:
    """One SCST: devices, handlers, target drivers, device groups and global settings."""

    def __init__(self, env: Environment) -> None:
        self.env: Final = env
        self.devices: ObservableDict[str, Device] = ObservableDict()
        self.handlers: dict[str, DevHandler] = {}
        self.drivers: dict[str, RegisteredDriver] = {}
        self.device_groups: ObservableDict[str, DeviceGroup] = ObservableDict()
        self._devices_of: dict[DevHandler, ObservableDict[str, Device]] = {}
        self.watchers: list[Watcher] = []
        #: Names of devices that are being made.
        self.reserved_names: set[str] = set()

        self.setup_id = 0
        self.cluster_name = ""
        #: What other nodes do; None if there are none to ask.
        self.cluster: Membership | None = None
        self.force_global_sgv_pool = False
        self.max_tasklet_cmd = 10
        self.poll_us = 0
        self._next_rel_tgt_id = 1

    # Looking around

    def targets(self) -> Iterator[Target]:
        """Every target of every driver, in order of creation."""
        for driver in self.drivers.values():
            yield from driver.targets.values()

    def sessions(self) -> Iterator[Session]:
        """Every session of every target."""
        for target in self.targets():
            yield from target.sessions.values()

    def devices_of(self, handler: DevHandler) -> ObservableDict[str, Device]:
        """The devices that *handler* has, by name; kept by `core.device_registration`."""
        return self._devices_of.setdefault(handler, ObservableDict())

    def find_target(self, name: str) -> Target | None:
        """The first target called ``name``, whatever its driver."""
        return next((target for target in self.targets() if target.name == name), None)

    def device_changed(self, device: Device) -> None:
        """The identification of ``device`` changed."""
        for watcher in self.watchers:
            watcher.device_changed(device)

    def cluster_mode_changed(self, device: Device) -> None:
        """``device.cluster_mode`` was set."""
        if self.cluster is not None:
            self.cluster.mode_changed(device)

    # Relative target port identifiers

    def rel_tgt_id_is_free(self, rel_tgt_id: int, *, for_target: Target | None = None) -> bool:
        """No active target but ``for_target`` uses ``rel_tgt_id``, on any node."""
        if self.cluster is not None and self.cluster.owner_of(rel_tgt_id) is not None:
            return False
        return not any(
            target.rel_tgt_id == rel_tgt_id
            for target in self.targets()
            if target.is_active and target is not for_target
        )

    def next_rel_tgt_id(self) -> int:
        """The next automatic identifier: counts up, skips those in use, wraps after 65535.

        Raises OverflowError when all are in use.
        """
        for _ in range(0xFFFF):
            candidate = self._next_rel_tgt_id
            self._next_rel_tgt_id = candidate % 0xFFFF + 1
            if self.rel_tgt_id_is_free(candidate):
                return candidate
        raise OverflowError("no relative target port identifier is free")
