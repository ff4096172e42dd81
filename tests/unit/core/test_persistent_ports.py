"""PERSISTENT RESERVE OUT for other ports: ALL_TG_PT, SPEC_I_PT, REGISTER AND MOVE."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scstfs.core import persistent_out
from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.core.target import Target
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import TransportId
from tests.support.nexuses import BAD_CDB, BAD_LENGTH, BAD_LIST, CONFLICT, A, B, C, Nexuses, outcome
from tests.support.reservations import (
    ALL_TG_PT,
    EA,
    IGNORE,
    REGISTER,
    RESERVE,
    SPEC_I_PT,
    WE,
    WE_AR,
    WE_RO,
    move,
    pr_out,
)
from tests.support.target import GOOD, Initiator, Result, System

READ = bytes.fromhex("28000000000000000100")


# ALL_TG_PT


@pytest.fixture
def more_targets(system: System) -> list[Target]:
    """The target has relative identifier 1; there are others with 2 and 0."""
    system.target.rel_tgt_id = 1
    others = [Target(system.driver, name, cpus=1) for name in ("t2", "t0", "forwarding")]
    others[0].rel_tgt_id, others[2].rel_tgt_id, others[2].forward_dst = 2, 3, True
    system.driver.targets.update({target.name: target for target in others})
    return others


def ports(disk: VdiskDevice) -> list[int]:
    return [registrant.rel_tgt_id for registrant in disk.pr.registrants]


async def test_all_target_ports(
    nexuses: Nexuses, disk: VdiskDevice, more_targets: list[Target]
) -> None:
    (one,) = await nexuses.add(0)
    assert await one.execute(*pr_out(REGISTER, new=A, flags=ALL_TG_PT)) == GOOD
    assert ports(disk) == [1, 2]
    # A new key is for the own port alone, but all of them go together.
    assert await one.execute(*pr_out(REGISTER, key=A, new=B, flags=ALL_TG_PT)) == GOOD
    assert nexuses.keys == [B, A]
    assert await one.execute(*pr_out(REGISTER, key=B, flags=ALL_TG_PT)) == GOOD
    assert nexuses.keys == []


async def test_ports_of_the_other_node(
    nexuses: Nexuses, disk: VdiskDevice, more_targets: list[Target]
) -> None:
    scst = disk.scst
    group = scst.device_groups["dg"] = DeviceGroup(scst, "dg")
    group.add(disk)
    there = group.target_groups["tg"] = TargetGroup(group, "tg")
    for name, rel_tgt_id in (("remote1", 11), ("remote2", 12), ("unnumbered", 0)):
        there.targets[name] = GroupTarget(name, None)
        there.targets[name].rel_tgt_id = rel_tgt_id
    there.targets["t2"] = GroupTarget("t2", more_targets[0])
    (one,) = await nexuses.add(0)
    assert await one.execute(*pr_out(IGNORE, new=A, flags=ALL_TG_PT)) == GOOD
    assert ports(disk) == [1, 2, 11, 12]


async def test_a_port_without_number_registers_nothing(nexuses: Nexuses, disk: VdiskDevice) -> None:
    (one,) = await nexuses.add(0)
    command = pr_out(REGISTER, new=A, flags=ALL_TG_PT | SPEC_I_PT, ports=b"nonsense")
    assert await one.execute(*command) == GOOD
    assert ports(disk) == []


# SPEC_I_PT


def iscsi(name: str, isid: int | None = None) -> bytes:
    return TransportId.iscsi(name, None if isid is None else isid.to_bytes(6, "big")).data


async def test_other_ports_are_registered(nexuses: Nexuses, disk: VdiskDevice) -> None:
    one, other = await nexuses.add(0, B)
    present = other.session.transport_id
    assert present is not None
    listed = TransportId.sas(9).data + present.data + iscsi("iqn.x", 1) + TransportId.sas(9).data
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed)
    assert await one.execute(*command) == GOOD
    # Who is registered already gets the new key.
    assert nexuses.keys == [A, A, A, A]
    assert disk.pr.registrants[0].tgt_dev is other.session.tgt_devs[0]
    assert disk.pr.registrants[3].tgt_dev is one.session.tgt_devs[0]


async def test_an_iscsi_name_stands_for_its_sessions(nexuses: Nexuses, disk: VdiskDevice) -> None:
    one, *others = await nexuses.add(0, 0, 0, 0)
    for number, other in enumerate(others):
        name = "iqn.other" if number == 1 else "IQN.x"
        other.session.transport_id = TransportId(iscsi(name, number))
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=iscsi("iqn.X"))
    assert await one.execute(*command) == GOOD
    assert [r.tgt_dev for r in disk.pr.registrants] == [
        others[0].session.tgt_devs[0],
        others[2].session.tgt_devs[0],
        one.session.tgt_devs[0],
    ]


@pytest.mark.parametrize(
    ("listed", "length", "expected"),
    [
        (TransportId.sas(9).data, 28 + 23, BAD_LENGTH),
        (TransportId.sas(9).data[:20], None, BAD_LIST),
        (iscsi("iqn.x", 1)[:-4], None, BAD_LIST),
    ],
)
async def test_lists_that_are_cut(
    nexuses: Nexuses, listed: bytes, length: int | None, expected: object
) -> None:
    (one,) = await nexuses.add(0)
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed, length=length)
    assert outcome(await one.execute(*command)) == expected
    assert nexuses.keys == []


async def test_there_is_an_end_of_registrations(
    nexuses: Nexuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistent_out, "MOST_REGISTRANTS", 3)
    (one,) = await nexuses.add(0)
    listed = b"".join(TransportId.sas(number).data for number in range(3))
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed)
    assert outcome(await one.execute(*command)) == (5, 0x55, 4)
    assert nexuses.keys == []
    command = pr_out(REGISTER, new=A, flags=SPEC_I_PT, ports=listed[:48])
    assert await one.execute(*command) == GOOD
    assert nexuses.keys == [A, A, A]


# REGISTER AND MOVE


def other_port(one: Initiator) -> bytes:
    transport_id = one.session.transport_id
    assert transport_id is not None
    return transport_id.data


@pytest.mark.parametrize("unreg", [False, True])
async def test_move(nexuses: Nexuses, unreg: bool) -> None:
    one, other = await nexuses.add(A, 0)
    await one.execute(*pr_out(RESERVE, EA, key=A))
    command = move(other_port(other), 0, key=A, new=B, unreg=unreg, aptpl=True)
    assert await one.execute(*command) == GOOD
    assert nexuses.keys == ([B] if unreg else [A, B])
    assert nexuses.held == (B, EA)
    assert nexuses.disk.pr.aptpl
    assert nexuses.disk.pr.generation == 2
    assert nexuses.attentions == [[], []]
    assert await other.execute(READ, data_in=512) == Result(Status.GOOD, data=bytes(512))
    assert outcome(await one.execute(READ, data_in=512)) == CONFLICT


async def test_move_to_who_is_registered(nexuses: Nexuses) -> None:
    one, other = await nexuses.add(A, B)
    await one.execute(*pr_out(RESERVE, WE_RO, key=A))
    command = move(other_port(other), 0, key=A, new=C, aptpl=False)
    assert await one.execute(*command) == GOOD
    assert nexuses.keys == [A, C]
    assert nexuses.held == (C, WE_RO)


async def test_move_to_who_is_not_there(nexuses: Nexuses) -> None:
    (one,) = await nexuses.add(A)
    await one.execute(*pr_out(RESERVE, WE, key=A))
    command = move(iscsi("iqn.x", 1), 77, key=A, new=B, unreg=True, aptpl=False)
    assert await one.execute(*command) == GOOD
    (moved,) = nexuses.disk.pr.registrants
    assert (moved.transport_id.data, moved.rel_tgt_id, moved.key) == (iscsi("iqn.x", 1), 77, B)
    assert nexuses.held == (B, WE)


MoveOf = Callable[[Initiator, Initiator], tuple[bytes, bytes]]


def moving(
    *, key: int = A, new: int = B, to: bytes | None = None, cut: int | None = None
) -> MoveOf:
    def make(one: Initiator, other: Initiator) -> tuple[bytes, bytes]:
        cdb, data = move(other_port(other) if to is None else to, 0, key=key, new=new, aptpl=True)
        if cut is None:
            return cdb, data
        return cdb[:5] + cut.to_bytes(4, "big") + cdb[9:], data[:cut]

    return make


@pytest.mark.parametrize(
    ("reserved", "by_holder", "command", "expected"),
    [
        (WE, True, moving(key=B), CONFLICT),
        (None, True, moving(), BAD_CDB),
        (WE, False, moving(key=B), CONFLICT),
        (WE, True, moving(new=0), BAD_CDB),
        (WE_AR, True, moving(), CONFLICT),
        (WE, True, moving(cut=47), BAD_LIST),
        (WE, True, moving(to=bytes(8)), BAD_LIST),
        (WE, True, lambda one, other: moving(to=other_port(one))(one, other), BAD_LIST),
        (WE, True, moving(to=iscsi("iqn.x" * 9, 1)[:24]), BAD_LIST),
    ],
    ids=[
        "wrong key", "not reserved", "not holder", "no new key", "all registrants", "cut",
        "short id", "same port", "cut id",
    ],
)  # fmt: skip
async def test_moves_that_are_refused(
    nexuses: Nexuses, reserved: int | None, by_holder: bool, command: MoveOf, expected: object
) -> None:
    one, other = await nexuses.add(A, B)
    if reserved is not None:
        await one.execute(*pr_out(RESERVE, reserved, key=A))
    before = nexuses.disk.pr.save_state()
    sender = one if by_holder else other
    assert outcome(await sender.execute(*command(one, other))) == expected
    assert nexuses.disk.pr.save_state() == before
