from __future__ import annotations

import pytest

from scstfs.core import access, task_management
from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.core.session import SessionState
from scstfs.core.unit_attention import UnitAttention, UnitAttentionQueue
from scstfs.handlers import medium_change
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi import sense
from scstfs.scsi.alua import AccessState
from scstfs.scsi.control import ControlValues
from scstfs.scsi.sense import Sense
from scstfs.scsi.status import Status
from tests.support.target import GOOD, Initiator, System

TEST_UNIT_READY = bytes(6)
READ = bytes.fromhex("28000000000000000100")
INQUIRY = bytes.fromhex("120000002400")
REPORT_LUNS = bytes.fromhex("a00000000000000001000000")
REQUEST_SENSE = bytes.fromhex("030000001200")
MODE_SELECT = bytes.fromhex("151000001000"), bytes(4) + bytes.fromhex("0a0a20100000000000000000")

RESET, LUNS, INQUIRY_CHANGED = (6, 0x29, 0), (6, 0x3F, 0x0E), (6, 0x3F, 3)
CAPACITY, MODES, ALUA = (6, 0x2A, 9), (6, 0x2A, 1), (6, 0x2A, 6)

Triple = tuple[int, int, int]


def pending(initiator: Initiator, lun: int = 0) -> list[Triple]:
    return [ua.sense.triple for ua in initiator.session.tgt_devs[lun].unit_attentions]


def events(initiator: Initiator) -> list[Triple]:
    found = [event.triple for event in initiator.events if event is not None]
    assert len(found) == len(initiator.events)
    initiator.events.clear()
    return found


# The queue


def queue_of(*conditions: Sense) -> UnitAttentionQueue:
    queue = UnitAttentionQueue()
    for condition in conditions:
        queue.add(UnitAttention(condition))
    return queue


def test_first_in_first_out() -> None:
    queue = queue_of(sense.RESET, sense.MODE_PARAMETERS_CHANGED, sense.CAPACITY_CHANGED)
    assert queue.take().sense is sense.RESET
    assert queue.take().sense is sense.MODE_PARAMETERS_CHANGED
    assert queue
    assert queue.take().sense is sense.CAPACITY_CHANGED
    assert not queue


def test_equal_conditions_are_one() -> None:
    queue = queue_of(sense.RESET, sense.CAPACITY_CHANGED, sense.RESET)
    queue.add(UnitAttention(sense.CAPACITY_CHANGED), at_head=True)
    assert [ua.sense for ua in queue] == [sense.RESET, sense.CAPACITY_CHANGED]


def test_at_the_head() -> None:
    queue = queue_of(sense.CAPACITY_CHANGED)
    queue.add(UnitAttention(sense.NEXUS_LOSS), at_head=True)
    assert queue.take().sense is sense.NEXUS_LOSS


def test_discarding() -> None:
    queue = queue_of(sense.RESET, sense.CAPACITY_CHANGED)
    queue.discard(sense.RESET)
    queue.discard(sense.RESET)
    assert [ua.sense for ua in queue] == [sense.CAPACITY_CHANGED]


# Delivery


async def test_a_new_nexus_starts_with_one(system: System, disk: VdiskDevice) -> None:
    one = system.initiator(clear=False)
    assert pending(one) == [RESET]
    assert one.session.tgt_devs[0].quick.read is None
    refused = await one.execute(READ, data_in=512)
    assert refused.triple == RESET
    assert refused.status is Status.CHECK_CONDITION
    assert one.session.tgt_devs[0].quick.read is not None
    assert (await one.execute(READ, data_in=512)).status is Status.GOOD


async def test_one_for_each_command(system: System, disk: VdiskDevice) -> None:
    one = system.initiator()
    nexus = one.session.tgt_devs[0]
    nexus.queue_unit_attention(sense.CAPACITY_CHANGED)
    nexus.queue_unit_attention(sense.MODE_PARAMETERS_CHANGED)
    assert (await one.execute(TEST_UNIT_READY)).triple == CAPACITY
    assert (await one.execute(TEST_UNIT_READY)).triple == MODES
    assert await one.execute(TEST_UNIT_READY) == GOOD


@pytest.mark.parametrize("command", [INQUIRY, REPORT_LUNS])
async def test_exempt_commands(system: System, disk: VdiskDevice, command: bytes) -> None:
    one = system.initiator()
    one.session.tgt_devs[0].queue_unit_attention(sense.CAPACITY_CHANGED)
    assert (await one.execute(command, data_in=256)).status is Status.GOOD
    assert pending(one) == [CAPACITY]


async def test_request_sense_takes_one(system: System, disk: VdiskDevice) -> None:
    one = system.initiator()
    nexus = one.session.tgt_devs[0]
    for condition in (sense.CAPACITY_CHANGED, sense.INQUIRY_DATA_CHANGED):
        nexus.queue_unit_attention(condition)
    # Without room for it nothing is taken.
    assert await one.execute(REQUEST_SENSE[:4] + bytes(2)) == GOOD
    answer = await one.execute(REQUEST_SENSE, data_in=18)
    assert answer.status is Status.GOOD
    assert answer.data == sense.CAPACITY_CHANGED.encode()
    answer = await one.execute(b"\x03\x01" + REQUEST_SENSE[2:], data_in=18)
    assert answer.data[:4] == bytes.fromhex("72063f03")
    assert (await one.execute(REQUEST_SENSE, data_in=18)).data[2] == 0
    assert nexus.quick.read is not None


async def test_the_session_s_are_told_once(system: System, disk: VdiskDevice) -> None:
    await system.add_disk("other")
    one = system.initiator()
    one.session.report_luns_changed()
    one.session.tgt_devs[1].queue_unit_attention(sense.CAPACITY_CHANGED)
    assert pending(one, 0) == [LUNS]
    assert pending(one, 1) == [LUNS, CAPACITY]
    assert (await one.execute(TEST_UNIT_READY, lun=0)).triple == LUNS
    assert pending(one, 0) == []
    assert pending(one, 1) == [CAPACITY]


@pytest.mark.parametrize("lun", [0, 5])
async def test_report_luns_makes_it_superfluous(
    system: System, disk: VdiskDevice, lun: int
) -> None:
    await system.add_disk("other")
    one = system.initiator()
    one.session.report_luns_changed()
    assert (await one.execute(REPORT_LUNS, data_in=256, lun=lun)).status is Status.GOOD
    assert pending(one, 0) == pending(one, 1) == []
    assert one.session.tgt_devs[1].quick.read is not None


async def test_descriptor_format(
    system: System, disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VdiskDevice, "control", ControlValues(d_sense=1))
    one = system.initiator()
    nexus = one.session.tgt_devs[0]
    nexus.queue_unit_attention(sense.CAPACITY_CHANGED)
    nexus.queue_unit_attention(sense.RESET)
    assert (await one.execute(TEST_UNIT_READY)).sense.hex() == "72062a0900000000"
    # Some are fixed for ever.
    assert (await one.execute(TEST_UNIT_READY)).sense[0] == 0x70


# Asynchronous events


@pytest.mark.parametrize("disabled", [False, True])
@pytest.mark.parametrize("takes_events", [False, True])
async def test_events_come_first(
    system: System, disk: VdiskDevice, disabled: bool, takes_events: bool
) -> None:
    system.target.aen_disabled = disabled
    one = system.initiator()
    one.takes_events = takes_events
    disk.report_to_all(sense.CAPACITY_CHANGED)
    by_event = takes_events and not disabled
    assert events(one) == ([CAPACITY] if by_event else [])
    assert pending(one) == ([] if by_event else [CAPACITY])
    assert (one.session.tgt_devs[0].quick.read is not None) is by_event
    # Changed LUNs are reported by an event even so.
    one.clear_unit_attentions()
    one.session.report_luns_changed()
    assert events(one) == ([LUNS] if takes_events else [])
    assert pending(one) == ([] if takes_events else [LUNS])


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.CLOSING])
async def test_sessions_that_are_not_ready_hear_nothing(
    system: System, disk: VdiskDevice, state: SessionState
) -> None:
    one = system.initiator()
    one.takes_events = True
    one.session.state = state
    disk.report_to_all(sense.CAPACITY_CHANGED)
    one.session.report_luns_changed()
    assert events(one) == []
    assert pending(one) == []


async def test_which_lun_an_event_is_about(
    system: System, disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = system.initiator()
    luns: list[bytes] = []

    def report_aen(lun: bytes, sense_data: bytes) -> bool:
        luns.append(lun)
        return True

    monkeypatch.setattr(one, "report_aen", report_aen)
    access.replace_lun(system.target.default_acg, disk, 9, read_only=False, tell=True)
    disk.report_to_all(sense.CAPACITY_CHANGED)
    # In SCST's order LUN 0 comes before LUN 9; without any LUN it is 0, too.
    assert [lun.hex() for lun in luns] == ["00" * 8, "00" * 8, "0009" + "00" * 6]
    access.remove_device(disk)
    assert luns[-1] == bytes(8)


# Who gets what


async def test_mode_select_is_told_to_others(system: System, disk: VdiskDevice) -> None:
    access.add_lun(system.target.default_acg, disk, 1, read_only=False)
    one, other = system.initiator(), system.initiator()
    assert await one.execute(*MODE_SELECT) == GOOD
    # The same device under another LUN is another nexus.
    assert pending(one) == []
    assert pending(one, 1) == pending(other) == pending(other, 1) == [MODES]


@pytest.mark.parametrize("whole_target", [False, True])
async def test_resets_are_told_to_all(
    system: System, disk: VdiskDevice, whole_target: bool
) -> None:
    elsewhere = await system.add_disk("elsewhere")
    hidden = system.group("hidden", "c")
    access.add_lun(hidden, disk, 7, read_only=False)
    one, other, third = (system.initiator(name) for name in "abc")
    done = []
    if whole_target:
        task_management.target_reset(one.session, lambda: done.append(True))
    else:
        task_management.logical_unit_reset(one.session.tgt_devs[0], lambda: done.append(True))
    assert done
    assert pending(one) == pending(other) == pending(third, 7) == [RESET]
    expected = [RESET] if whole_target else []
    assert pending(one, 1) == pending(other, 1) == expected
    assert elsewhere.tgt_devs


async def test_luns_that_come_and_go(system: System, disk: VdiskDevice) -> None:
    acg = system.target.default_acg
    one, grouped = system.initiator("a"), system.initiator("b", system.group("g", "b"))
    other = await system.add_disk("other")
    assert pending(one) == [LUNS]
    assert pending(one, 1) == [RESET, LUNS]
    one.clear_unit_attentions()
    access.replace_lun(acg, disk, 1, read_only=False, tell=True)
    assert pending(one) == []
    assert pending(one, 1) == [RESET, INQUIRY_CHANGED]
    access.replace_lun(acg, other, 1, read_only=False, tell=False)
    assert pending(one, 1) == [RESET]
    # A missing LUN is added instead of replaced.
    access.replace_lun(acg, other, 2, read_only=False, tell=False)
    assert pending(one, 2) == [RESET, LUNS]
    one.clear_unit_attentions()
    access.remove_lun(acg.luns[1])
    access.report_luns_changed(acg)
    assert pending(one) == [LUNS]
    system.delete("disk")
    assert pending(one, 2) == [LUNS]
    assert events(grouped) == []


async def test_not_every_device_is_about_luns(
    system: System, disk: VdiskDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.add_disk("other")
    one = system.initiator()
    monkeypatch.setattr(disk, "type", 0x0F)
    one.session.report_luns_changed()
    assert pending(one, 0) == []
    assert pending(one, 1) == [LUNS]


async def test_identification_and_capacity(system: System, disk: VdiskDevice) -> None:
    one = system.initiator()
    disk.change_identity("usn", b"1234")
    assert pending(one) == [INQUIRY_CHANGED]
    one.clear_unit_attentions()
    await medium_change.resync_size(disk)
    assert pending(one) == []
    with (system.directory / "disk").open("r+b") as file:
        file.truncate(2 << 20)
    await medium_change.resync_size(disk)
    assert pending(one) == [CAPACITY]


async def test_access_states(system: System, disk: VdiskDevice) -> None:
    group = system.scst.device_groups["dg"] = DeviceGroup(system.scst, "dg")
    group.add(disk)
    ports = group.target_groups["tg"] = TargetGroup(group, "tg")
    ports.targets["target"] = GroupTarget("target", system.target)
    elsewhere = group.target_groups["there"] = TargetGroup(group, "there")
    one = system.initiator()
    elsewhere.set_state(AccessState.OFFLINE)
    elsewhere.set_preferred(True)
    assert pending(one) == []
    ports.set_preferred(True)
    assert pending(one) == [ALUA]
    one.clear_unit_attentions()
    ports.set_preferred(True)
    ports.set_state(AccessState.ACTIVE)
    ports.set_state(AccessState.TRANSITIONING)
    assert pending(one) == []
    ports.set_state(AccessState.ACTIVE)
    assert pending(one) == [ALUA]
