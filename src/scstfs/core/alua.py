"""Asymmetric logical unit access: device groups and target groups (SPC-4 5.15).

A device group lists the target groups through which its devices are reached. A target group has an
access state; its targets are local targets or the names of targets on another node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from scstfs.core.gated import Gated, GatedDict
from scstfs.observable import ObservableDict
from scstfs.scsi import sense
from scstfs.scsi.alua import AccessState, StatusCode, TargetPortGroup

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.device import Answer, Device
    from scstfs.core.session import TgtDev
    from scstfs.core.sharing import Agreed
    from scstfs.core.target import Target

log = logging.getLogger(__name__)


class GroupTarget:
    """A target in a target group; ``target`` is None for one on another node."""

    def __init__(self, name: str, target: Target | None) -> None:
        self.name = name
        self.target: Final = target
        self._rel_tgt_id = 0

    @property
    def rel_tgt_id(self) -> int:
        """The port's relative identifier: the local target's own, or the one configured."""
        return self.target.rel_tgt_id if self.target is not None else self._rel_tgt_id

    @rel_tgt_id.setter
    def rel_tgt_id(self, value: int) -> None:
        self._rel_tgt_id = value


class TargetGroup:
    """Target ports that share one access state for the devices of the device group."""

    state: Gated[AccessState] = Gated(AccessState.ACTIVE)

    def __init__(self, device_group: DeviceGroup, name: str) -> None:
        self.device_group = device_group
        self.name = name
        self.group_id = 0
        self.preferred = False
        #: The initial value is SCST's; there is no other.
        self.status_code = StatusCode.IMPLICIT
        self.targets: Final[GatedDict[str, GroupTarget]] = GatedDict()

    def forget(self, target: Target) -> None:
        """``target`` is deleted; a target of its name on another node stays."""
        for name, entry in list(self.targets.items()):
            if entry.target is target:
                del self.targets[name]

    def has_target(self, target: Target) -> bool:
        """Return whether the local ``target``, not merely its name, is in the group."""
        return any(entry.target is target for entry in self.targets.values())

    def tgt_devs(self) -> list[TgtDev]:
        """The nexuses between this group's local targets and the group's devices."""
        return [
            tgt_dev
            for device in self.device_group.devices
            for tgt_dev in device.tgt_devs
            if self.has_target(tgt_dev.session.target)
        ]

    def _concerned(self) -> list[Device]:
        """The devices reached through this group, whose handlers follow the state."""
        devices = list(self.device_group.devices)
        if all(entry.target is not None for entry in self.targets.values()):
            return devices
        reached = {tgt_dev.device for tgt_dev in self.tgt_devs()}
        return [device for device in devices if device in reached]

    def when_reopened(self, call: Callable[[], None]) -> None:
        """Call ``call`` when all devices have followed the state."""
        devices = list(self.device_group.devices)
        left = len(devices) + 1

        def followed() -> None:
            nonlocal left
            left -= 1
            if not left:
                call()

        for device in devices:
            device.when_reopened(followed)
        followed()

    @property
    def is_explicit(self) -> bool:
        """An initiator has set the state."""
        return self.status_code is StatusCode.SET_TARGET_PORT_GROUPS

    def set_state(
        self, state: AccessState, asked_by: TgtDev | None = None, *, explicit: bool = False
    ) -> None:
        """Enter ``state`` and tell initiators, except of a transition that has only begun.

        The nexus ``asked_by``, which sent SET TARGET PORT GROUPS, is not told (SPC-4 5.15.2.6);
        ``explicit``: one that is connected to another node did.
        """
        if state is self.state:
            return
        log.info("ALUA state of %s/%s is now %s", self.device_group.name, self.name, state.name)
        self.state = state
        explicit = explicit or asked_by is not None
        self.status_code = StatusCode.SET_TARGET_PORT_GROUPS if explicit else StatusCode.IMPLICIT
        for device in self._concerned():
            device.access_state_changed(state)
        for tgt_dev in self.tgt_devs():
            if state is not AccessState.TRANSITIONING and tgt_dev is not asked_by:
                tgt_dev.session.report(tgt_dev, sense.ALUA_STATE_CHANGED)

    def set_preferred(self, preferred: bool) -> None:
        """Set the PREF bit; tell initiators if it changed."""
        if preferred == self.preferred:
            return
        self.preferred = preferred
        for tgt_dev in self.tgt_devs():
            tgt_dev.session.report(tgt_dev, sense.ALUA_STATE_CHANGED)

    def describe(self) -> TargetPortGroup:
        """The group as REPORT TARGET PORT GROUPS shows it."""
        return TargetPortGroup(
            group_id=self.group_id,
            state=self.state,
            preferred=self.preferred,
            ports=tuple(entry.rel_tgt_id for entry in self.targets.values()),
            status_code=self.status_code,
        )


class SharedAccessStates(Protocol):
    """What a device group has whose states are those of all nodes (``core.shared_group``)."""

    def change(self, states: Mapping[int, AccessState], done: Agreed) -> None:
        """Give target groups, by their identifiers, other states on all nodes."""

    def change_by(self, cmd: Command, states: Mapping[int, AccessState]) -> Answer:
        """Do that on behalf of SET TARGET PORT GROUPS, and then answer it."""

    def prefer(self, group_id: int, preferred: bool, done: Agreed) -> None:
        """Set the PREF bit of a target group on all nodes."""

    def appeared(self, group: TargetGroup) -> None:
        """A target group has got its identifier."""


class Registry(Protocol):
    """Where a group looks up devices and targets."""

    @property
    def devices(self) -> Mapping[str, Device]:
        """All devices, by name."""

    def find_target(self, name: str) -> Target | None:
        """The first target called ``name``, whatever its driver."""


def group_of(device: Device) -> DeviceGroup | None:
    """The device group that ``device`` is in."""
    group = device.group
    assert group is None or isinstance(group, DeviceGroup)
    return group


class DeviceGroup:
    """Devices that are reached through the same target groups."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name
        #: Changed by ``add`` and ``remove`` only.
        self.devices: ObservableDict[Device, None] = ObservableDict()
        #: What it has in cluster mode, where there is a cluster.
        self.shared: SharedAccessStates | None = None
        self.target_groups: Final[GatedDict[str, TargetGroup]] = GatedDict()

    def add(self, device: Device) -> None:
        """Add a device, which must not be in a group."""
        assert device.group is None
        device.group = self
        self.devices[device] = None

    def remove(self, device: Device) -> None:
        """Remove a device from the group."""
        del self.devices[device]
        device.group = None

    def dissolve(self) -> None:
        """Delete the group; its devices are then in no group."""
        for device in list(self.devices):
            self.remove(device)

    def state_of(self, target: Target) -> AccessState:
        """See PortGroups."""
        group = self.find_by_target(target)
        return AccessState.ACTIVE if group is None else group.state

    def find_by_target(self, target: Target) -> TargetGroup | None:
        """The target group that ``target`` is in."""
        return next((g for g in self.target_groups.values() if g.has_target(target)), None)

    def find_entry(self, name: str) -> tuple[TargetGroup, GroupTarget] | None:
        """The first entry for a target of this name in any of the target groups."""
        for group in self.target_groups.values():
            entry = group.targets.get(name)
            if entry is not None:
                return group, entry
        return None

    def find_by_id(self, group_id: int) -> TargetGroup | None:
        """The target group with this identifier."""
        return next((g for g in self.target_groups.values() if g.group_id == group_id), None)
