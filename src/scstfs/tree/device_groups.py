"""``device_groups/``: the devices and target groups of ALUA."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import trio

from scstfs.core.alua import DeviceGroup, GroupTarget, SharedAccessStates, TargetGroup
from scstfs.core.scst import Scst
from scstfs.core.sharing import Agreed
from scstfs.core.waiting import settled
from scstfs.observable import Observable
from scstfs.scsi.alua import AccessState
from scstfs.sysfs import mgmt
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each, EachLink, Sub
from scstfs.sysfs.entry import itself
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import Lexer, MgmtWrite, mgmt_attr
from scstfs.sysfs.numbers import in_range, kstrtoul
from scstfs.sysfs.text import first_line
from scstfs.sysfs.values import flag, truncated
from scstfs.tree import paths
from scstfs.tree.naming import require_free

log = logging.getLogger(__name__)

T = TypeVar("T")

# The kernel copies an identifier to eight bytes on its stack.
_LONGEST_NUMBER: Final = 7
_MAX_ID: Final = 0xFFFF

_parse_id: Final = truncated(in_range(kstrtoul, 1, _MAX_ID), _LONGEST_NUMBER)


def parse(data: bytes) -> MgmtWrite:
    """A command is one line; anything after the first newline is ignored."""
    return mgmt.parse(data.partition(b"\n")[0])


def _management(
    usage: str,
    actions: Mapping[str, Callable[[T, str], Awaitable[None] | None]],
    *,
    queued: bool,
    accepts: str,
    refuses: str,
    effect: str,
) -> Attr[T, MgmtWrite]:
    """A ``mgmt`` file whose commands are a verb and a name."""

    def manage(obj: T, command: MgmtWrite) -> Awaitable[None] | None:
        action = command.select(actions)
        return action(obj, _name(command.arguments))

    return mgmt_attr(
        lambda obj: usage,
        manage,
        queued=queued,
        since="2.1",
        parse=parse,
        accepts=accepts,
        refuses=refuses,
        effect=effect,
    )


def _name(arguments: Lexer) -> str:
    return arguments.required_word("Name")


_GROUP_USAGE: Final = 'Usage: echo "create group_name" >mgmt\n       echo "del group_name" >mgmt\n'


# Targets of a target group


def _set_rel_tgt_id(entry: GroupTarget, value: int) -> None:
    entry.rel_tgt_id = value


_REMOTE_TARGET: Final[DirType[GroupTarget]] = DirType(
    "target on another node",
    (
        Attr(
            name="rel_tgt_id",
            mode=0o644,
            show=lambda entry: str(entry.rel_tgt_id),
            key=lambda entry: True,
            parse=_parse_id,
            store=_set_rel_tgt_id,
            since="2.1",
            reads="the relative target port identifier that the other node uses, 0 if not set",
            accepts="1 to 65535",
            refuses="EINVAL: anything else",
            key_when="always",
            effect="shows in REPORT TARGET PORT GROUPS",
        ),
    ),
)


def _remote(group: TargetGroup, name: str) -> GroupTarget | None:
    entry = group.targets.get(name)
    return entry if entry is not None and entry.target is None else None


def _targets(group: TargetGroup) -> Observable:
    return group.targets


def _remotes(group: TargetGroup) -> list[str]:
    return [name for name, entry in group.targets.items() if entry.target is None]


def _locals(group: TargetGroup) -> list[str]:
    return [name for name, entry in group.targets.items() if entry.target is not None]


def _local(group: TargetGroup, name: str) -> paths.Path | None:
    entry = group.targets.get(name)
    return None if entry is None or entry.target is None else paths.target(entry.target)


def _add_target(group: TargetGroup, name: str) -> None:
    if group.device_group.find_entry(name) is not None:
        raise SysfsError(errno.EEXIST, f"Target {name} is in a group of these devices already")
    require_free(TARGET_GROUP, group, name)
    target = group.device_group.registry.find_target(name)
    group.targets[name] = GroupTarget(name, target)


def _delete_target(group: TargetGroup, name: str) -> None:
    found = group.device_group.find_entry(name)
    if found is None:
        raise invalid(f"Target {name} not found")
    owner, entry = found
    del owner.targets[entry.name]


# Target groups

_STATES: Final = {
    "active": AccessState.ACTIVE,
    "nonoptimized": AccessState.NONOPTIMIZED,
    "standby": AccessState.STANDBY,
    "unavailable": AccessState.UNAVAILABLE,
    "offline": AccessState.OFFLINE,
    "transitioning": AccessState.TRANSITIONING,
}
_STATE_NAMES: Final = {state: name for name, state in _STATES.items()}


def _set_group_id(group: TargetGroup, value: int) -> None:
    group.group_id = value
    if group.device_group.shared is not None:
        group.device_group.shared.appeared(group)


async def _set_preferred(group: TargetGroup, data: bytes) -> None:
    preferred = in_range(kstrtoul, 0, 1)(data) == 1
    number = group.group_id
    if not await _agreed(group, lambda shared, done: shared.prefer(number, preferred, done)):
        group.set_preferred(preferred)


async def _set_state(group: TargetGroup, name: str) -> None:
    state = _STATES.get(name)
    if state is None:
        raise invalid(f"Unknown state {name}")
    wanted = {group.group_id: state}
    if not await _agreed(group, lambda shared, done: shared.change(wanted, done)):
        group.set_state(state)
    await settled(group.when_reopened)


async def _agreed(group: TargetGroup, change: Callable[[SharedAccessStates, Agreed], None]) -> bool:
    """Wait until all nodes that share the states have made a change; False if there are none.

    It is then made here only, also where they cannot be asked: a node must be configurable before
    it has found the others.  It takes their states over when it has.
    """
    shared = group.device_group.shared
    if shared is None or not group.group_id:
        return False
    done = trio.Event()
    failures: list[Exception] = []

    def agreed(error: Exception | None) -> None:
        if error is not None:
            failures.append(error)
        done.set()

    change(shared, agreed)
    await done.wait()
    if failures:
        log.warning("%s: set on this node only: the others cannot be asked", group.name)
    return not failures


TARGET_GROUP: Final[DirType[TargetGroup]] = DirType(
    "target group",
    (
        _management(
            'Usage: echo "add target" >mgmt\n       echo "del target" >mgmt\n',
            {"add": _add_target, "del": _delete_target},
            queued=True,
            accepts="`add TARGET`, `del TARGET`",
            refuses="EINVAL: an unknown action or target, no name; EEXIST: the target is in a "
            "target group of this device group",
            effect="a name that is a target here becomes a link to it, any other one a target on "
            "another node; `del` looks in all target groups of the device group",
        ),
        Attr(
            name="group_id",
            mode=0o644,
            show=lambda group: str(group.group_id),
            key=lambda group: True,
            parse=_parse_id,
            store=_set_group_id,
            since="2.1",
            reads="the target port group identifier, 0 if not set",
            accepts="1 to 65535",
            refuses="EINVAL: anything else",
            key_when="always",
            effect="shows in INQUIRY and REPORT TARGET PORT GROUPS",
        ),
        Attr(
            name="preferred",
            mode=0o644,
            show=lambda group: flag(group.preferred),
            key=lambda group: group.preferred,
            parse=bytes,
            store=_set_preferred,
            queued=True,
            since="2.1",
            reads="1 if these targets are preferred",
            accepts="0 or 1",
            refuses="EINVAL: anything else",
            key_when="1",
            effect="unit attention ASYMMETRIC ACCESS STATE CHANGED",
        ),
        Attr(
            name="state",
            mode=0o644,
            show=lambda group: _STATE_NAMES.get(group.state, "???"),
            key=lambda group: True,
            parse=first_line,
            store=_set_state,
            queued=True,
            since="2.1",
            reads="active, nonoptimized, standby, unavailable, offline or transitioning",
            accepts="one of these words",
            refuses="EINVAL: anything else, lba-dependent too",
            key_when="always",
            effect="decides which commands are executed; unit attention ASYMMETRIC ACCESS "
            "STATE CHANGED, except for the state transitioning",
        ),
        Each(
            children=_remotes,
            follows=_targets,
            get=_remote,
            dirtype=_REMOTE_TARGET,
            label="TARGET",
            about="a target on another node",
        ),
        EachLink(
            children=_locals,
            follows=_targets,
            target=_local,
            label="TARGET",
            about="to a target here",
        ),
    ),
)


# Device groups


def _add_target_group(group: DeviceGroup, name: str) -> None:
    require_free(_TARGET_GROUPS, group, name)
    group.target_groups[name] = TargetGroup(group, name)


def _delete_target_group(group: DeviceGroup, name: str) -> None:
    if group.target_groups.pop(name, None) is None:
        raise invalid(f"Target group {name} not found")


_TARGET_GROUPS: Final[DirType[DeviceGroup]] = DirType(
    "target groups",
    (
        _management(
            _GROUP_USAGE,
            {"create": _add_target_group, "add": _add_target_group, "del": _delete_target_group},
            queued=True,
            accepts="`create NAME` (or `add`), `del NAME`",
            refuses="EINVAL: an unknown action or group, no name; EEXIST: the group exists",
            effect="a new group is active and has no identifier",
        ),
        Each(
            children=lambda group: group.target_groups,
            get=lambda group, name: group.target_groups.get(name),
            dirtype=TARGET_GROUP,
            label="TARGET_GROUP",
            about="a target group",
        ),
    ),
)


def _add_device(group: DeviceGroup, name: str) -> None:
    registry = group.registry
    device = registry.devices.get(name)
    # SCST looks for the name in all groups before it looks for the device.
    if device is not None and device.group is not None:
        raise SysfsError(errno.EEXIST, f"Device {name} is in a device group already")
    if device is None:
        raise invalid(f"Device {name} not found")
    require_free(_GROUP_DEVICES, group, name)
    group.add(device)


def _delete_device(group: DeviceGroup, name: str) -> None:
    device = group.registry.devices.get(name)
    if device is None or device not in group.devices:
        raise invalid(f"Device {name} is not in group {group.name}")
    group.remove(device)


def _device(group: DeviceGroup, name: str) -> paths.Path | None:
    device = group.registry.devices.get(name)
    return None if device is None or device not in group.devices else paths.device(device)


_GROUP_DEVICES: Final[DirType[DeviceGroup]] = DirType(
    "devices of a group",
    (
        _management(
            'Usage: echo "add device" >mgmt\n       echo "del device" >mgmt\n',
            {"add": _add_device, "del": _delete_device},
            queued=True,
            accepts="`add DEVICE`, `del DEVICE`",
            refuses="EINVAL: an unknown action or device, no name; EEXIST: the device is in a "
            "group",
            effect="the states of the target groups apply to the device",
        ),
        EachLink(
            children=lambda group: [device.name for device in group.devices],
            follows=lambda group: group.devices,
            named=lambda device: device.name,
            target=_device,
            label="DEVICE",
            about="to a device of the group",
        ),
    ),
)

DEVICE_GROUP: Final[DirType[DeviceGroup]] = DirType(
    "device group",
    (
        Sub(name="devices", dirtype=_GROUP_DEVICES, of=itself, about="which devices"),
        Sub(name="target_groups", dirtype=_TARGET_GROUPS, of=itself, about="through which targets"),
    ),
)


def _create(scst: Scst, name: str) -> None:
    require_free(DEVICE_GROUPS, scst, name)
    scst.device_groups[name] = DeviceGroup(scst, name)


async def _delete(scst: Scst, name: str) -> None:
    group = scst.device_groups.get(name)
    if group is None:
        raise invalid(f"Device group {name} not found")
    for target_group in group.target_groups.values():
        target_group.set_state(AccessState.ACTIVE)
    devices = list(group.devices)
    del scst.device_groups[name]
    group.dissolve()
    for device in devices:
        await settled(device.when_reopened)


DEVICE_GROUPS: Final[DirType[Scst]] = DirType(
    "device groups",
    (
        _management(
            _GROUP_USAGE,
            {"create": _create, "add": _create, "del": _delete},
            queued=False,
            accepts="`create NAME` (or `add`), `del NAME`",
            refuses="EINVAL: an unknown action or group, no name; EEXIST: the group exists",
            effect="`del` deletes everything in the group",
        ),
        Each(
            children=lambda scst: scst.device_groups,
            get=lambda scst, name: scst.device_groups.get(name),
            dirtype=DEVICE_GROUP,
            label="DEVICE_GROUP",
            about="devices that are reached in the same way",
        ),
    ),
)
