from __future__ import annotations

import re

import pytest

from scstfs.core import access
from scstfs.core.persistent import PersistentReservations
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.persist.reservations import SavedRegistrant, SavedReservations
from scstfs.scsi.pr import PrType
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import TransportId
from tests.support.reservations import (
    CAPABILITIES,
    EA_AR,
    FULL_STATUS,
    IGNORE,
    KEYS,
    REGISTER,
    RESERVATION,
    RESERVE,
    TYPES,
    WE,
    pr_in,
    pr_out,
    read_full_status,
    read_keys,
    read_reservation,
)
from tests.support.target import GOOD, Initiator, System

RESERVE_6 = bytes.fromhex("160000000000")


async def register(initiator: Initiator, key: int, flags: int = 0) -> None:
    assert await initiator.execute(*pr_out(IGNORE, new=key, flags=flags)) == GOOD


async def keys(initiator: Initiator) -> tuple[int, list[int]]:
    return read_keys((await initiator.execute(pr_in(KEYS), data_in=4096)).data)


async def reservation(initiator: Initiator) -> tuple[int, int] | None:
    return read_reservation((await initiator.execute(pr_in(RESERVATION), data_in=4096)).data)


# Nexuses come and go


async def test_a_registration_outlives_its_session(system: System, disk: VdiskDevice) -> None:
    first = system.initiator("a", port=1)
    await register(first, 0xA)
    assert first.session.tgt_devs[0].registrant is disk.pr.registrants[0]
    await first.end()
    assert disk.pr.registrants[0].tgt_dev is None
    again = system.initiator("a", port=1)
    assert again.session.tgt_devs[0].registrant is disk.pr.registrants[0]
    assert disk.pr.registrants[0].tgt_dev is again.session.tgt_devs[0]


async def test_another_port_is_somebody_else(system: System, disk: VdiskDevice) -> None:
    first = system.initiator("a")
    await register(first, 0xA)
    await first.end()
    assert system.initiator("a").session.tgt_devs[0].registrant is None


async def test_the_target_port_is_part_of_the_nexus(system: System, disk: VdiskDevice) -> None:
    first = system.initiator("a", port=1)
    await register(first, 0xA)
    await first.end()
    system.target.rel_tgt_id = 7
    assert system.initiator("a", port=1).session.tgt_devs[0].registrant is None
    assert disk.pr.registrants[0].rel_tgt_id == 0


async def test_a_second_session_of_the_same_ports(system: System, disk: VdiskDevice) -> None:
    first, second = system.initiator("a", port=1), system.initiator("a", port=1)
    await register(first, 0xA)
    assert second.session.tgt_devs[0].registrant is None
    # Which is registered, but not as this session: nothing changes.
    assert await second.execute(*pr_out(REGISTER, new=0xB)) == GOOD
    assert await keys(first) == (2, [0xA])
    assert (await second.execute(*pr_out(RESERVE, WE, key=0xA))).status == 0x18
    # It takes over when the other ends.
    await first.end()
    assert second.session.tgt_devs[0].registrant is disk.pr.registrants[0]
    assert await second.execute(*pr_out(RESERVE, WE, key=0xA)) == GOOD


@pytest.mark.logs("b of target cannot reach disk, which has persistent reservation registrants")
async def test_a_transport_without_ports_does_not_see_registered_devices(
    system: System, disk: VdiskDevice
) -> None:
    first = system.initiator("a")
    await register(first, 0xA)
    nameless = system.initiator("b", port=None)
    assert not nameless.session.tgt_devs


@pytest.mark.parametrize("command", [pr_out(REGISTER, new=1), (pr_in(KEYS), b"")])
async def test_a_transport_without_ports_forbids_reservations(
    system: System, disk: VdiskDevice, command: tuple[bytes, bytes]
) -> None:
    first = system.initiator("a")
    nameless = system.initiator("b", port=None)
    cdb, data = command
    refused = await first.execute(cdb, data, None if data else 4096)
    assert refused.triple == (5, 0x20, 0)
    await nameless.end()
    assert (await first.execute(cdb, data, None if data else 4096)).status is Status.GOOD


async def test_sessions_without_ports_are_never_registered(
    system: System, disk: VdiskDevice
) -> None:
    nameless = system.initiator("b", port=None)
    disk.pr.register(TransportId.sas(1), 0, 1)
    disk.pr.bind(nameless.session.tgt_devs[0])
    assert nameless.session.tgt_devs[0].registrant is None


# Reading


async def test_read_keys(system: System, disk: VdiskDevice) -> None:
    a, b = system.initiator("a"), system.initiator("b")
    assert await keys(a) == (0, [])
    await register(a, 0xA)
    await register(b, 0xB)
    assert await keys(a) == (2, [0xA, 0xB])
    # Not registered, and it does not matter.
    assert await keys(system.initiator("c")) == (2, [0xA, 0xB])


@pytest.mark.parametrize("kind", TYPES)
async def test_read_reservation(system: System, disk: VdiskDevice, kind: int) -> None:
    a, b = system.initiator("a"), system.initiator("b")
    await register(a, 0xA)
    await register(b, 0xB)
    assert await reservation(a) is None
    assert await a.execute(*pr_out(RESERVE, kind, key=0xA)) == GOOD
    assert await reservation(b) == (0xA if kind < 7 else 0, kind)
    found = read_full_status((await b.execute(pr_in(FULL_STATUS), data_in=4096)).data)
    assert [(r.key, r.holder, r.scope_and_type, r.rel_tgt_id) for r in found] == [
        (0xA, True, kind, 0),
        (0xB, kind >= 7, kind if kind >= 7 else 0, 0),
    ]
    ids = [i.session.transport_id for i in (a, b)]
    assert [r.transport_id for r in found] == [i.data for i in ids if i is not None]


@pytest.mark.parametrize("aptpl", [0, 1])
async def test_report_capabilities(system: System, disk: VdiskDevice, aptpl: int) -> None:
    a = system.initiator("a")
    await register(a, 0xA, aptpl)
    found = await a.execute(pr_in(CAPABILITIES), data_in=4096)
    assert found.data == bytes((0, 8, 0x1D, 0xC0 | aptpl, 0xEA, 1, 0, 0))


async def test_unknown_actions(system: System, disk: VdiskDevice) -> None:
    a = system.initiator("a")
    refused = await a.execute(pr_in(4), data_in=4096)
    assert refused.triple == (5, 0x24, 0)
    # Without flags nothing is checked.
    assert await a.execute(pr_in(4, 0)) == GOOD


@pytest.mark.parametrize("action", [KEYS, RESERVATION, CAPABILITIES, FULL_STATUS])
async def test_nothing_is_told_while_reserved(
    system: System, disk: VdiskDevice, action: int
) -> None:
    a, b = system.initiator("a"), system.initiator("b")
    assert await a.execute(RESERVE_6) == GOOD
    for initiator in (a, b):
        refused = await initiator.execute(pr_in(action), data_in=4096)
        assert refused.status is Status.RESERVATION_CONFLICT


async def test_dump(system: System, disk: VdiskDevice) -> None:
    def dump() -> list[str]:
        return [re.sub(r"(reg|tgt_dev) [0-9a-f]{16}", r"\1 *", line) for line in disk.pr.dump()]

    head = "Persistent reservations for device disk:"
    assert dump() == [head, "  No registrants", "Not reserved"]
    a = system.initiator("a", port=1)
    await register(a, 0xABC)
    disk.pr.register(TransportId.iscsi("iqn.x", bytes(6)), 5, 1)
    lines = [
        head,
        "  [0] registrant 01:01:01:01:01:01:01:01/0, key 0000000000000abc (reg *, tgt_dev *)",
        "  [1] registrant iqn.x,i,0x0/5, key 0000000000000001 (reg *, tgt_dev *)",
    ]
    assert dump() == [*lines, "Not reserved"]
    assert disk.pr.dump()[2].endswith("tgt_dev 0000000000000000)")
    await a.execute(*pr_out(RESERVE, WE, key=0xABC))
    assert dump()[3] == (
        "Reservation holder is 01:01:01:01:01:01:01:01/0 (key 0000000000000abc, scope 0, type 1, "
        "reg *, tgt_dev *)"
    )
    disk.pr.clear_reservation()
    await a.execute(*pr_out(RESERVE, EA_AR, key=0xABC))
    assert dump()[3] == "All registrants are reservation holders (scope 0, type 8)"


# Saving


SAVED = SavedReservations(
    aptpl=True,
    reservation=(WE, 0),
    registrants=tuple(
        SavedRegistrant(TransportId.sas(number).data, 3, bytes(7) + bytes((number,)), number == 2)
        for number in (1, 2)
    ),
)


def loaded(disk: VdiskDevice, saved: SavedReservations | None) -> PersistentReservations:
    reservations = disk.pr
    file = reservations.file
    assert file is not None
    reservations.load(file, saved)
    return reservations


async def test_load_and_save(disk: VdiskDevice) -> None:
    reservations = loaded(disk, SAVED)
    assert [r.key for r in reservations.registrants] == [1, 2]
    assert reservations.holder is reservations.registrants[1]
    assert reservations.reservation is not None
    assert reservations.reservation.type is PrType.WRITE_EXCLUSIVE
    assert reservations.generation == 0
    assert reservations.save_state() == SAVED


async def test_what_all_hold_nobody_holds_alone(disk: VdiskDevice) -> None:
    # SCST marks a holder if the reservation was once of another type.
    reservations = loaded(disk, SavedReservations(True, (7, 0), SAVED.registrants))
    assert reservations.holder is None
    assert all(reservations.is_holder(r) for r in reservations.registrants)


async def test_a_file_that_is_not_there_changes_nothing(disk: VdiskDevice) -> None:
    loaded(disk, SAVED)
    assert loaded(disk, None).save_state() == SAVED


async def test_another_file_replaces_everything(disk: VdiskDevice) -> None:
    loaded(disk, SAVED)
    other = SavedReservations(aptpl=True, reservation=None, registrants=SAVED.registrants[:1])
    assert loaded(disk, other).save_state() == other


async def test_rollback(system: System, disk: VdiskDevice) -> None:
    a, b = system.initiator("a"), system.initiator("b")
    await register(a, 0xA)
    await a.execute(*pr_out(RESERVE, WE, key=0xA))
    before, state = disk.pr.snapshot(), disk.pr.save_state()
    disk.pr.registrants[0].key = 0xC
    transport_id = b.session.transport_id
    assert transport_id is not None
    disk.pr.register(transport_id, 0, 0xB)
    disk.pr.remove(disk.pr.registrants[0])
    disk.pr.generation, disk.pr.aptpl = 9, True
    disk.pr.rollback(before)
    assert disk.pr.save_state() == state
    assert disk.pr.generation == 1
    assert a.session.tgt_devs[0].registrant is disk.pr.registrants[0]
    assert b.session.tgt_devs[0].registrant is None
    assert b.session.tgt_devs[0].quick.write is None
    assert a.session.tgt_devs[0].quick.write is not None


async def test_rollback_after_sessions_came_and_went(system: System, disk: VdiskDevice) -> None:
    a = system.initiator("a", port=1)
    await register(a, 0xA)
    before = disk.pr.snapshot()
    disk.pr.remove(disk.pr.registrants[0])
    access.leave(a.session)
    again = system.initiator("a", port=1)
    disk.pr.rollback(before)
    assert again.session.tgt_devs[0].registrant is disk.pr.registrants[0]
    assert disk.pr.registrants[0].tgt_dev is again.session.tgt_devs[0]
