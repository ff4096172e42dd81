"""LUN sets: what may be added, which sessions see it, and which unit attentions report changes."""

from __future__ import annotations

import pytest

from scstfs.core import access, execute, session_lifecycle
from scstfs.core.errors import AlreadyExists, Refused
from scstfs.core.taskset import TaskAttribute
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.status import Status
from tests.support.fake_store import FakeStore
from tests.support.reservations import IGNORE, pr_out
from tests.support.target import GOOD, Initiator, System
from tests.support.threads import ManualPool

READY, WRITE = bytes(6), bytes.fromhex("2a000000000000000100")
#: Beyond the end, with the NACA bit.
FAILS_WITH_NACA = bytes.fromhex("28007fffffff00000104")
DATA = bytes(range(256)) * 2
RESET, LUNS_CHANGED, INQUIRY_CHANGED = (6, 0x29, 0), (6, 0x3F, 0x0E), (6, 0x3F, 3)


@pytest.fixture
def pool(disk: VdiskDevice) -> ManualPool:
    """Threads for a store that always needs one."""
    disk.medium.install(FakeStore())
    return ManualPool()


async def test_a_lun_that_is_there_is_not_overwritten(system: System) -> None:
    first, second = await system.add_disk("first"), await system.add_disk("second")
    acg, initiator = system.target.default_acg, system.initiator()
    before = acg.luns[0], initiator.session.tgt_devs[0]
    with pytest.raises(AlreadyExists, match="virt_lun 0 already exists"):
        access.add_lun(acg, second, 0, read_only=False)
    assert (acg.luns[0], initiator.session.tgt_devs[0]) == before
    assert [acg_dev.lun for acg_dev in first.exports.values() if acg_dev.acg is acg] == [0]
    assert [acg_dev.lun for acg_dev in second.exports.values() if acg_dev.acg is acg] == [1]


async def test_a_lun_that_the_target_refuses_is_neither_added_nor_replaced(
    system: System,
) -> None:
    await system.add_disk("plain")
    protected = await system.add("vdisk_nullio", "protected", size_mb=1)
    protected.settings.dif_type = 1
    group = system.group("group")
    with pytest.raises(Refused, match="T10-PI"):
        access.add_lun(group, protected, 0, read_only=False)
    acg = system.target.default_acg
    kept = acg.luns[0]
    with pytest.raises(Refused, match="T10-PI"):
        access.replace_lun(acg, protected, 0, read_only=False, tell=True)
    assert not group.luns
    assert acg.luns[0] is kept


# A nexus's beginning and end


def reported(initiator: Initiator, lun: int = 0) -> list[tuple[int, int, int]]:
    """The pending unit attentions."""
    return [ua.sense.triple for ua in initiator.session.tgt_devs[lun].unit_attentions]


async def test_a_nexus_begins_with_a_power_on(system: System, disk: VdiskDevice) -> None:
    one = system.initiator(clear=False)
    assert reported(one) == [RESET]
    assert disk.tgt_devs == [one.session.tgt_devs[0]]
    assert one.session.tgt_devs[0].device is disk


@pytest.mark.logs("session nameless of target cannot reach disk")
async def test_a_transport_without_ports_does_not_see_what_has_registrants(
    system: System, disk: VdiskDevice
) -> None:
    free = await system.add_disk("free")
    assert await system.initiator("one").execute(*pr_out(IGNORE, new=7)) == GOOD
    nameless = system.initiator("nameless", port=None)
    assert list(nameless.session.tgt_devs) == [1]
    assert nameless.session.tgt_devs[1].device is free


async def test_what_a_nexus_reserved_is_free_when_it_ends(
    system: System, disk: VdiskDevice
) -> None:
    one, other = system.initiator("one"), system.initiator("other")
    for holder, is_free in ((one, True), (other, False)):
        disk.reserved_by = holder.session
        if one.session.tgt_devs:
            access.disconnect(one.session.tgt_devs[0])
        assert (disk.reserved_by is None) is is_free
    assert disk.tgt_devs == [other.session.tgt_devs[0]]


async def test_what_runs_goes_on_and_what_waits_is_sent_back(
    system: System, disk: VdiskDevice, pool: ManualPool
) -> None:
    one = system.initiator()
    tgt_dev = one.session.tgt_devs[0]
    pool.serve(tgt_dev)
    running = one.start(WRITE, DATA)
    waiting = one.start(READY, attribute=TaskAttribute.ORDERED)
    without_data = one.prepare(WRITE, data_out=512)
    access.disconnect(tgt_dev)
    assert tgt_dev.is_gone
    assert waiting.result.status is Status.BUSY
    assert (running.is_over, without_data.is_over) == (False, False)
    assert list(one.session.former) == list(disk.former) == [tgt_dev]
    pool.drain()
    assert running.result == GOOD
    # A command that still waits for its data is remembered, too.
    assert list(disk.former) == [tgt_dev]
    execute.run(without_data)
    assert without_data.result.status is Status.BUSY
    assert not one.session.former
    assert not disk.former


async def test_a_nexus_that_has_nothing_under_way_leaves_nothing(
    system: System, disk: VdiskDevice
) -> None:
    one = system.initiator()
    access.disconnect(one.session.tgt_devs[0])
    assert (one.session.former, disk.former, disk.tgt_devs) == ({}, {}, [])


async def test_an_aca_condition_goes_with_its_nexus(system: System) -> None:
    disk = await system.add_disk(tst=0)
    one, other = system.initiator("one"), system.initiator("other")
    assert one.start(FAILS_WITH_NACA, data_in=512).result.status is Status.CHECK_CONDITION
    assert disk.aca.faulted is one.session.tgt_devs[0]
    access.disconnect(other.session.tgt_devs[0])
    assert disk.aca.faulted is not None
    access.disconnect(one.session.tgt_devs[0])
    assert disk.aca.faulted is None


async def test_only_what_runs_is_waited_for(
    system: System, disk: VdiskDevice, pool: ManualPool
) -> None:
    one = system.initiator()
    tgt_dev = one.session.tgt_devs[0]
    pool.serve(tgt_dev)
    called: list[str] = []
    one.prepare(WRITE, data_out=512)
    disk.tasks.block()
    one.start(READY)
    access.when_retired([tgt_dev], lambda: called.append("nothing ran"))
    disk.tasks.unblock()
    one.start(WRITE, DATA)
    access.when_retired([tgt_dev], lambda: called.append("written"))
    assert called == ["nothing ran"]
    pool.drain()
    assert called == ["nothing ran", "written"]


# LUN sets


@pytest.mark.parametrize("tell", [True, False])
async def test_a_new_lun_is_seen_and_told(system: System, disk: VdiskDevice, tell: bool) -> None:
    second = await system.add_disk("second")
    acg, one = system.group("g", "one"), system.initiator("one")
    assert not one.session.tgt_devs
    access.add_lun(acg, disk, 0, read_only=False)
    one.clear_unit_attentions()
    (new,) = access.add_lun(acg, second, 3, read_only=True, tell=tell)
    assert one.session.tgt_devs[3] is new
    assert (new.device, new.lun, new.read_only) == (second, 3, True)
    assert reported(one) == ([LUNS_CHANGED] if tell else [])
    assert reported(one, 3) == ([RESET, LUNS_CHANGED] if tell else [RESET])


async def test_a_lun_goes_from_every_session_of_its_group(
    system: System, disk: VdiskDevice
) -> None:
    group = system.group("g", "three")
    access.add_lun(group, disk, 0, read_only=False)
    one, two, three = (system.initiator(name) for name in ("one", "two", "three"))
    default = system.target.default_acg
    old = [one.session.tgt_devs[0], two.session.tgt_devs[0]]
    assert access.remove_lun(default.luns[0]) == old
    assert (one.session.tgt_devs, two.session.tgt_devs, default.luns) == ({}, {}, {})
    assert disk.tgt_devs == [three.session.tgt_devs[0]]
    assert [acg_dev.acg for acg_dev in disk.exports.values()] == [group]


@pytest.mark.parametrize("tell", [True, False])
async def test_another_device_behind_a_lun(system: System, disk: VdiskDevice, tell: bool) -> None:
    second = await system.add_disk("second")
    acg, one = system.group("g", "one"), system.initiator("one")
    access.add_lun(acg, disk, 0, read_only=False)
    old = one.session.tgt_devs[0]
    assert access.replace_lun(acg, second, 0, read_only=True, tell=tell) == [old]
    assert (old.is_gone, disk.tgt_devs) == (True, [])
    new = one.session.tgt_devs[0]
    assert (new.device, new.read_only) == (second, True)
    assert reported(one) == ([RESET, INQUIRY_CHANGED] if tell else [RESET])
    # A LUN that does not exist is added.
    assert access.replace_lun(acg, disk, 1, read_only=False, tell=tell) == []
    assert one.session.tgt_devs[1].device is disk


async def test_a_device_goes_from_every_set(system: System, disk: VdiskDevice) -> None:
    second = await system.add_disk("second")
    group = system.group("g", "two")
    access.add_lun(group, disk, 0, read_only=False)
    access.add_lun(group, second, 1, read_only=False)
    one, two = system.initiator("one"), system.initiator("two")
    gone = [one.session.tgt_devs[0], two.session.tgt_devs[0]]
    assert set(access.remove_device(disk)) == set(gone)
    assert not disk.exports
    assert not disk.tgt_devs
    for initiator in (one, two):
        assert list(initiator.session.tgt_devs) == [1]
        assert reported(initiator, 1) == [LUNS_CHANGED]


# Sessions


async def test_a_session_leaves_nothing(system: System, disk: VdiskDevice) -> None:
    one, twin = system.initiator("one"), system.initiator("one")
    assert list(system.target.sessions) == ["one", "one_1"]
    await one.end()
    assert list(system.target.sessions.values()) == [twin.session]
    assert list(system.target.default_acg.sessions) == [twin.session]
    assert disk.tgt_devs == [twin.session.tgt_devs[0]]


async def test_a_session_that_moves_keeps_the_units_that_stay(system: System) -> None:
    disks = {name: await system.add_disk(name) for name in ("same", "locked", "other", "last")}
    group = system.group("g")
    for lun, (name, read_only) in enumerate(
        (("same", False), ("locked", True), ("last", False)), start=0
    ):
        access.add_lun(group, disks[name], lun, read_only=read_only)
    access.add_lun(group, disks["other"], 9, read_only=False)
    one, stays = system.initiator("one"), system.initiator("stays")
    old = dict(one.session.tgt_devs)
    group.initiators["one"] = None
    gone = access.reassign_sessions(system.scst)
    # The second LUN became read-only, the third is another device, the fourth is removed.
    assert gone == [old[1], old[2], old[3]]
    new = one.session.tgt_devs
    assert new[0] is old[0]
    assert new[0].acg_dev is group.luns[0]
    assert {lun: (t.device.name, t.read_only) for lun, t in new.items()} == {
        0: ("same", False),
        1: ("locked", True),
        2: ("last", False),
        9: ("other", False),
    }
    assert reported(one) == [LUNS_CHANGED]
    assert reported(one, 1) == reported(one, 2) == [RESET, LUNS_CHANGED, INQUIRY_CHANGED]
    assert reported(one, 9) == [RESET, LUNS_CHANGED]
    assert (one.session.acg, stays.session.acg) == (group, system.target.default_acg)
    assert list(group.sessions) == [one.session]
    # A set with the same logical units needs no report.
    one.clear_unit_attentions()
    del group.initiators["one"]
    same = system.group("same", "one")
    for lun, acg_dev in group.luns.items():
        access.add_lun(same, acg_dev.device, lun, read_only=acg_dev.read_only)
    assert access.reassign_sessions(system.scst) == []
    assert [reported(one, lun) for lun in new] == [[]] * 4


async def test_a_session_that_is_closing_does_not_move(
    system: System, disk: VdiskDevice, pool: ManualPool
) -> None:
    one = system.initiator("one")
    pool.serve(one.session.tgt_devs[0])
    one.start(WRITE, DATA)
    session_lifecycle.close_session(one.session)
    system.group("g", "one")
    assert access.reassign_sessions(system.scst) == []
    assert one.session.acg is system.target.default_acg
    pool.drain()
    assert not system.target.sessions


@pytest.mark.parametrize("ask", [True, False])
async def test_the_target_has_a_say_in_luns_that_are_not_its_own_idea(
    system: System, disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch, ask: bool
) -> None:
    second = await system.add_disk("second")
    said: list[object] = []
    monkeypatch.setattr(
        system.target, "check_lun", lambda device, *, read_only: said.append((device, read_only))
    )
    monkeypatch.setattr(system.target, "lun_added", said.append)
    group = system.group("g")
    access.add_lun(group, disk, 0, read_only=True, ask=ask)
    assert said == ([(disk, True), group.luns[0]] if ask else [])
    said.clear()
    access.replace_lun(group, second, 0, read_only=False, tell=True)
    assert said == [(second, False), group.luns[0]]
