"""Inputs of gates are declared, so that no change of them can be forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.core.gated import EPOCH, Gated, GatedDict
from scstfs.handlers.medium_change import change_medium
from scstfs.handlers.vdisk import VdiskDevice
from tests.support import reservations
from tests.support.recorder import Recorder
from tests.support.reservations import pr_out
from tests.support.target import GOOD, Initiator, System

KEY = 7


class Thing:
    first: Gated[int] = Gated(1)
    second: Gated[str] = Gated()

    def __init__(self) -> None:
        self.second = "made"


def begins_an_epoch(change: Callable[[], object]) -> bool:
    before = EPOCH.now
    change()
    return EPOCH.now is not before


def test_an_attribute_has_a_value_for_each_object() -> None:
    one, two = Thing(), Thing()
    assert (one.first, one.second) == (1, "made")
    one.first, one.second = 2, "changed"
    assert (one.first, one.second, two.first, two.second) == (2, "changed", 1, "made")


def test_what_has_not_been_set_is_missing() -> None:
    thing = Thing.__new__(Thing)
    with pytest.raises(AttributeError):
        _ = thing.second
    with pytest.raises(AttributeError):
        del thing.first


def test_another_value_begins_an_epoch() -> None:
    thing = Thing()
    assert begins_an_epoch(lambda: setattr(thing, "first", 2))
    assert not begins_an_epoch(lambda: setattr(thing, "first", 2))
    assert begins_an_epoch(lambda: setattr(thing, "first", 1))
    assert not begins_an_epoch(lambda: thing.first)


def test_a_dict_s_changes_begin_an_epoch() -> None:
    items = GatedDict({"a": 1})
    heard: list[object] = []
    items.observe(heard.append)
    changes: tuple[Callable[[], object], ...] = (
        lambda: items.__setitem__("b", 2),
        lambda: items.setdefault("c", 3),
        lambda: items.update(d=4),
        lambda: items.pop("d"),
        lambda: items.__delitem__("c"),
        lambda: items.popitem(),
        lambda: items.clear(),
        lambda: items.__ior__({"a": 1}),
    )
    assert all(begins_an_epoch(change) for change in changes)
    assert heard == ["b", "c", "d", "d", "c", "b", "a", "a"]
    assert not begins_an_epoch(lambda: items["a"])
    mutators = {name for name in vars(dict) if not name.startswith("__")} - {
        *("copy", "fromkeys", "get", "items", "keys", "values")
    }
    assert all(getattr(GatedDict, name) is not getattr(dict, name) for name in mutators)


async def test_a_decision_holds_for_an_epoch(system: System, disk: VdiskDevice) -> None:
    tgt_dev = system.initiator().session.tgt_devs[0]
    decided = tgt_dev.quick
    assert decided.read is not None
    assert tgt_dev.quick is decided
    disk.reserved_by = system.initiator("other").session
    assert tgt_dev.quick.read is None


# Every kind of device, with all inputs that may close its gates


async def _disk(system: System) -> VdiskDevice:
    return await system.add_disk("device")


async def _write_through(system: System) -> VdiskDevice:
    return await system.add_disk("device", write_through=1, thin_provisioned=1)


async def _nullio(system: System) -> VdiskDevice:
    return await system.add("vdisk_nullio", "device", size_mb=1)


async def _cd_rom(system: System) -> VdiskDevice:
    device = await system.add("vcdrom", "device")
    (system.directory / "image").write_bytes(bytes(1 << 20))
    await change_medium(device, str(system.directory / "image"))
    device.medium.changed = False
    return device


MAKERS: dict[str, Callable[[System], Awaitable[VdiskDevice]]] = {
    "disk": _disk,
    "write through": _write_through,
    "nullio": _nullio,
    "CD-ROM": _cd_rom,
}


def _in_device_group(system: System, device: VdiskDevice) -> None:
    group = system.scst.device_groups["g"] = DeviceGroup(system.scst, "g")
    group.add(device)
    for name, target in (("elsewhere", None), (system.target.name, system.target)):
        target_group = group.target_groups[name] = TargetGroup(group, name)
        target_group.targets[name] = GroupTarget(name, target)


async def _reserve(initiator: Initiator, kind: int) -> None:
    assert await initiator.execute(*pr_out(reservations.IGNORE, new=KEY)) == GOOD
    assert await initiator.execute(*pr_out(reservations.RESERVE, kind, key=KEY)) == GOOD


#: CD-ROMs have no persistent reservations.
CASES = [
    (maker, kind)
    for maker in MAKERS
    for kind in (None, reservations.WE, reservations.EA_AR)
    if kind is None or maker != "CD-ROM"
]


@pytest.mark.parametrize(("maker", "kind"), CASES)
async def test_gates_look_at_nothing_that_is_not_declared(
    system: System, maker: str, kind: int | None
) -> None:
    device = await MAKERS[maker](system)
    _in_device_group(system, device)
    one, two = system.initiator("one"), system.initiator("two")
    if kind is not None:
        await _reserve(one, kind)
    recorder = Recorder()
    for initiator in (one, two):
        tgt_dev = initiator.session.tgt_devs[0]
        # Opcode tables are made when they are first wanted, and never change.
        device.decide(tgt_dev)
        with recorder.recording():
            decided = device.decide(tgt_dev)
        assert decided.read is not None or initiator is two
    assert recorder.undeclared == set()
    # It has met what it is about.
    assert recorder.read >= {
        *("TgtDev.is_gone", "UnitAttentionQueue._queue", "Aca.faulted", "Session.reinstating"),
        *("TargetGroup.state", "Acg.black_hole", "Target.forward_dst", "TraceLog.flags"),
        *("PersistentReservations.reservation", "VdiskDevice.reserved_by", "Medium.store"),
        *("Medium.changed", "VdiskDevice.busy", "VdiskDevice.sanitize_failed"),
    }


async def test_the_recorder_finds_what_is_not_declared(system: System, disk: VdiskDevice) -> None:
    tgt_dev = system.initiator().session.tgt_devs[0]
    recorder = Recorder()
    with recorder.recording():
        assert tgt_dev.session.name
        assert tgt_dev.session.tgt_devs
        assert disk.env.trace.flags
    assert recorder.undeclared == {"Session.name", "Session.tgt_devs"}
    assert disk.decide(tgt_dev).read is not None
