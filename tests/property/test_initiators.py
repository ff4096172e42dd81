"""Several initiators, and all that they can do to each other, compared with a naive model.

Reservations of both kinds, resets, LUN sets that change, sessions that end and come back, reading
and writing: every answer, the pending unit attentions of every nexus in their order, asynchronous
events, the blocks, and whether the fast path is open have to be what the model says.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from unittest import mock

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.core import access, task_management
from scstfs.core.target import Target
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.sense import decode
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import Protocol as TransportProtocol
from tests.support import reservations, verdicts
from tests.support.model_nexuses import BLOCK, BLOCKS, Answer, Full, ModelNexuses, Nexus
from tests.support.model_reservations import ModelReservations, Request
from tests.support.reservations import (
    ALL_TG_PT,
    APTPL,
    CLEAR,
    FULL_STATUS,
    IGNORE,
    KEYS,
    MOVE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVATION,
    RESERVE,
    SPEC_I_PT,
    TYPES,
    pr_in,
    pr_out,
)
from tests.support.target import Initiator, Result, System, target

UNITS, PORTS, INITIATORS = 3, 2, 3
NEXUSES = [Nexus(initiator, port) for port in range(PORTS) for initiator in range(INITIATORS)]

TEST_UNIT_READY, INQUIRY = bytes(6), bytes.fromhex("12000000ff00")
REQUEST_SENSE, REPORT_LUNS = (
    bytes.fromhex("030000001200"),
    bytes.fromhex("a00000000000000001000000"),
)
RESERVE_6, RELEASE_6 = bytes.fromhex("160000000000"), bytes.fromhex("170000000000")
#: The caching page with WCE, as it is.
MODE_SELECT = (
    bytes.fromhex("151000001800"),
    bytes.fromhex("00000000 0812040000000000000000008014000000000000"),
)


def transport_id(initiator: int) -> bytes:
    return bytes((TransportProtocol.SAS, 0, 0, 0)) + bytes([initiator + 1]) * 8 + bytes(12)


class World:
    """The target, and the model of it."""

    def __init__(
        self, system: System, disks: Sequence[VdiskDevice], files: Sequence[Path], events: bool
    ) -> None:
        self.system = system
        self.disks = disks
        self.files = files
        self.ports = [system.target, Target(system.driver, "second", cpus=1)]
        system.driver.targets["second"] = self.ports[1]
        for number, port in enumerate(self.ports):
            port.rel_tgt_id = number + 1
        self.sessions: dict[Nexus, Initiator] = {}
        self.model = ModelNexuses(UNITS, PORTS, takes_events=events)
        access.add_lun(self.ports[1].default_acg, disks[0], 0, read_only=False)
        for number, unit in enumerate(self.model.units):
            self.model.map(0, number, unit)
        self.model.map(1, 0, self.model.units[0])
        for nexus in NEXUSES:
            self.log_in(nexus)

    def log_in(self, nexus: Nexus) -> None:
        acg = self.ports[nexus.port].default_acg
        name = f"initiator {nexus.initiator}"
        one = self.system.initiator(name, acg, port=nexus.initiator + 1, clear=False)
        one.takes_events = self.model.takes_events
        self.sessions[nexus] = one
        self.model.log_in(nexus)

    async def send(
        self, nexus: Nexus, lun: int, cdb: bytes, data: bytes = b"", data_in: int | None = None
    ) -> Result:
        with trio.fail_after(5):
            return await self.sessions[nexus].execute(cdb, data, data_in, lun=lun)

    async def settle(self, nexus: Nexus, lun: int) -> None:
        """Take the unit attentions that are pending, one with each command."""
        luns = self.model.nexuses[nexus]
        while lun in luns and luns[lun].queue:
            await Command(nexus, lun, "test_unit_ready").run(self)

    def check(self, result: Result, expected: Answer) -> None:
        if expected.conflict:
            assert result.status is Status.RESERVATION_CONFLICT
        elif expected.sense is None:
            assert result.status is Status.GOOD
        else:
            assert (result.status, result.triple) == (Status.CHECK_CONDITION, expected.sense)

    def compare(self) -> None:
        verdicts.check(self.system.scst)
        model = self.model
        for nexus, luns in model.nexuses.items():
            one = self.sessions[nexus]
            assert {lun: pending(one, lun) for lun in one.session.tgt_devs} == {
                lun: there.queue for lun, there in luns.items()
            }
            assert [e and e.triple for e in one.events] == model.events[nexus]
            for lun, tgt_dev in one.session.tgt_devs.items():
                assert (tgt_dev.quick.read is not None) is model.passes(nexus, lun, "W")
                assert (tgt_dev.quick.write is not None) is model.passes(nexus, lun, "")
        for disk, file, unit in zip(self.disks, self.files, model.units, strict=True):
            assert file.read_bytes() == unit.content
            state, held = disk.pr, unit.reservations
            assert [r.key for r in state.registrants] == list(held.keys.values())
            assert (state.generation, state.aptpl) == (held.generation, held.aptpl)
            kind = None if state.reservation is None else int(state.reservation.type)
            assert kind == held.kind
            owner = held.reserved_by
            assert disk.reserved_by is (
                self.sessions[owner].session if isinstance(owner, Nexus) else None
            )


def pending(initiator: Initiator, lun: int) -> list[tuple[int, int, int]]:
    return [c.sense.triple for c in initiator.session.tgt_devs[lun].unit_attentions]


class Operation(Protocol):
    async def run(self, world: World) -> None: ...


@dataclass(frozen=True)
class Command:
    """One without data-out that matters."""

    nexus: Nexus
    lun: int
    name: str

    async def run(self, world: World) -> None:
        cdb, data = {
            "test_unit_ready": (TEST_UNIT_READY, b""),
            "reserve": (RESERVE_6, b""),
            "release": (RELEASE_6, b""),
            "mode_select": MODE_SELECT,
        }[self.name]
        expected = getattr(world.model, self.name)(self.nexus, self.lun)
        world.check(await world.send(self.nexus, self.lun, cdb, data), expected)


@dataclass(frozen=True)
class Ask:
    """INQUIRY, REQUEST SENSE and REPORT LUNS, which nothing keeps from succeeding."""

    nexus: Nexus
    lun: int
    cdb: bytes

    async def run(self, world: World) -> None:
        result = await world.send(self.nexus, self.lun, self.cdb, data_in=256)
        assert result.status is Status.GOOD
        model = world.model
        if self.cdb == INQUIRY:
            assert (result.data[0] != 0x7F) is model.inquiry(self.nexus, self.lun)
        elif self.cdb == REQUEST_SENSE:
            condition = decode(result.data)
            assert condition is not None
            assert condition.triple == model.request_sense(self.nexus, self.lun)
        else:
            assert set(result.data[9::8]) == model.report_luns(self.nexus)


@dataclass(frozen=True)
class Read:
    nexus: Nexus
    lun: int
    lba: int

    async def run(self, world: World) -> None:
        expected = world.model.read(self.nexus, self.lun, self.lba)
        cdb = bytes((0x28, 0, 0, 0, 0, self.lba, 0, 0, 1, 0))
        result = await world.send(self.nexus, self.lun, cdb, data_in=BLOCK)
        world.check(result, expected)
        assert result.data == (expected.data or b"")


@dataclass(frozen=True)
class Write:
    nexus: Nexus
    lun: int
    lba: int
    fill: int

    async def run(self, world: World) -> None:
        data = bytes([self.fill]) * BLOCK
        expected = world.model.write(self.nexus, self.lun, self.lba, data)
        cdb = bytes((0x2A, 0, 0, 0, 0, self.lba, 0, 0, 1, 0))
        world.check(await world.send(self.nexus, self.lun, cdb, data), expected)


@dataclass(frozen=True)
class PersistentIn:
    nexus: Nexus
    lun: int
    action: int

    async def run(self, world: World) -> None:
        expected = world.model.persistent_in(self.nexus, self.lun, self.action)
        result = await world.send(self.nexus, self.lun, pr_in(self.action), data_in=4096)
        world.check(result, expected)
        if expected.conflict or expected.sense:
            return
        assert self._decoded(result.data) == expected.data

    def _decoded(self, data: bytes) -> object:
        if self.action == KEYS:
            return reservations.read_keys(data)
        if self.action == RESERVATION:
            return reservations.read_reservation(data)
        if self.action == FULL_STATUS:
            ids = {transport_id(number): number for number in range(INITIATORS)}
            return [
                Full(Nexus(ids[r.transport_id], r.rel_tgt_id - 1), r.key, r.holder)
                for r in reservations.read_full_status(data)
            ]
        return bool(data[3] & 1)


@dataclass(frozen=True)
class PersistentOut:
    """One that may succeed: parameters that are None, or a nexus for its key, are taken from the
    model.
    """

    nexus: Nexus
    lun: int
    action: int
    kind: int | None
    key: int | None
    new: int | Nexus
    aptpl: bool
    all_ports: bool
    others: tuple[int, ...] | None
    to: Nexus
    unreg: bool

    async def run(self, world: World) -> None:
        await world.settle(self.nexus, self.lun)
        luns = world.model.nexuses[self.nexus]
        known = luns[self.lun].unit.reservations if self.lun in luns else ModelReservations()
        key = known.keys.get(self.nexus, 0) if self.key is None else self.key
        new = known.keys.get(self.new, 0) if isinstance(self.new, Nexus) else self.new
        kind = (known.kind or 1) if self.kind is None else self.kind
        registers = self.action in (REGISTER, IGNORE)
        every = self.all_ports and registers
        spec = self.others if self.action == REGISTER else None
        ports = range(PORTS) if every else (self.nexus.port,)
        own = tuple(Nexus(self.nexus.initiator, port) for port in ports)
        request = Request(
            self.action,
            kind,
            key,
            new,
            aptpl=self.aptpl,
            all_ports=own if every else (),
            more=tuple(
                (Nexus(number, port), is_listed)
                for port in ports
                for number, is_listed in (
                    *((i, True) for i in spec or ()),
                    (self.nexus.initiator, False),
                )
            ),
            spec_i_pt=spec is not None,
            to=self.to,
            same_port=self.to.initiator == self.nexus.initiator,
            unreg=self.unreg,
        )
        if self.action == MOVE:
            cdb, data = reservations.move(
                transport_id(self.to.initiator),
                self.to.port + 1,
                key=key,
                new=new,
                unreg=self.unreg,
                aptpl=self.aptpl,
            )
        else:
            flags = self.aptpl * APTPL | every * ALL_TG_PT | (spec is not None) * SPEC_I_PT
            listed = None if spec is None else b"".join(transport_id(i) for i in spec)
            cdb, data = pr_out(self.action, kind, key=key, new=new, flags=flags, ports=listed)
        expected = world.model.persistent_out(self.nexus, self.lun, request)
        world.check(await world.send(self.nexus, self.lun, cdb, data), expected)


@dataclass(frozen=True)
class Reset:
    """LOGICAL UNIT RESET, or TARGET RESET where ``lun`` is None."""

    nexus: Nexus
    lun: int | None

    async def run(self, world: World) -> None:
        session, done = world.sessions[self.nexus].session, trio.Event()
        if self.lun is None:
            task_management.target_reset(session, done.set)
            world.model.reset_target(self.nexus.port)
        elif self.lun in session.tgt_devs:
            task_management.logical_unit_reset(session.tgt_devs[self.lun], done.set)
            world.model.reset_unit(world.model.nexuses[self.nexus][self.lun].unit)
        else:
            return
        with trio.fail_after(5):
            await done.wait()


@dataclass(frozen=True)
class ChangeLuns:
    """A unit is mapped to a number, replacing another, or the number is removed."""

    port: int
    lun: int
    unit: int | None
    replace: bool

    async def run(self, world: World) -> None:
        acg, luns = world.ports[self.port].default_acg, world.model.maps[self.port]
        if self.unit is None:
            if self.lun in luns:
                access.remove_lun(acg.luns[self.lun])
                access.report_luns_changed(acg)
                world.model.unmap(self.port, self.lun)
            return
        unit, disk = world.model.units[self.unit], world.disks[self.unit]
        if any(other is unit for number, other in luns.items() if number != self.lun):
            # One unit under two numbers would be two nexuses with one identity.
            return
        if self.replace:
            access.replace_lun(acg, disk, self.lun, read_only=False, tell=True)
            world.model.replace(self.port, self.lun, unit)
        elif self.lun not in luns:
            access.add_lun(acg, disk, self.lun, read_only=False)
            world.model.map(self.port, self.lun, unit)


@dataclass(frozen=True)
class LogInAgain:
    nexus: Nexus

    async def run(self, world: World) -> None:
        await world.sessions[self.nexus].end()
        world.model.log_out(self.nexus)
        world.log_in(self.nexus)


def register(nexus: Nexus, key: int) -> Operation:
    return PersistentOut(nexus, 0, IGNORE, 1, 0, key, True, False, None, nexus, False)


# What hypothesis chooses from

nexuses = st.sampled_from((NEXUSES[0], NEXUSES[0], *NEXUSES))
# Most of it happens on shared objects.
luns = st.sampled_from((0, 0, 0, 0, 1, 2))
lbas = st.integers(0, BLOCKS - 1)
keys = st.sampled_from((1, 1, 2, 3, 0, 1))


def out(*actions: int) -> st.SearchStrategy[Operation]:
    """PERSISTENT RESERVE OUT."""
    return st.builds(
        PersistentOut,
        nexuses,
        luns,
        st.sampled_from(actions),
        st.sampled_from((None, *TYPES)),
        st.sampled_from((None,) * 7 + (1, 0)),
        st.one_of(keys, nexuses, nexuses),
        st.booleans(),
        st.sampled_from((False, False, True)),
        st.none() | st.lists(st.integers(0, INITIATORS - 1), max_size=2).map(tuple),
        nexuses,
        st.booleans(),
    )


operations: st.SearchStrategy[Operation] = st.one_of(
    out(REGISTER),
    out(IGNORE),
    out(RESERVE, RELEASE),
    out(PREEMPT, PREEMPT_AND_ABORT),
    out(MOVE, CLEAR),
    st.builds(PersistentIn, nexuses, luns, st.integers(0, 3)),
    st.builds(
        Command,
        nexuses,
        luns,
        st.sampled_from(("test_unit_ready", "reserve", "release", "mode_select")),
    ),
    st.builds(Ask, nexuses, luns, st.sampled_from((INQUIRY, REQUEST_SENSE, REPORT_LUNS))),
    st.builds(Read, nexuses, luns, lbas),
    st.builds(Write, nexuses, luns, lbas, st.integers(1, 255)),
    st.builds(Reset, nexuses, luns | st.none()),
    st.builds(
        ChangeLuns,
        st.integers(0, PORTS - 1),
        luns,
        st.none() | st.integers(0, UNITS - 1),
        st.booleans(),
    ),
    st.builds(LogInAgain, nexuses),
)


async def play(sequence: Sequence[Operation], registered: int, *, events: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with target(directory) as system:
            names = [f"disk{number}" for number in range(UNITS)]
            disks = [await system.add_disk(n, size=BLOCK * BLOCKS) for n in names]
            world = World(system, disks, [directory / n for n in names], events)
            world.compare()
            for number, nexus in enumerate(NEXUSES[:registered]):
                await register(nexus, 1 + number % 3).run(world)
            for operation in sequence:
                await operation.run(world)
                world.compare()


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=60, deadline=None)
@given(
    sequence=st.lists(operations, min_size=30, max_size=60),
    registered=st.integers(0, len(NEXUSES)),
    events=st.booleans(),
)
def test_initiators_and_the_model_agree(
    sequence: Sequence[Operation], registered: int, events: bool
) -> None:
    async def main() -> None:
        await play(sequence, registered, events=events)

    # Other tests check that saved state stays.
    with mock.patch.object(os, "fsync"):
        trio.run(main)
