"""Unit attentions of initiators, modelled directly from SAM-5 5.14 and SCST's rules.

Initiator ports log in through target ports, each of which shows logical units under numbers.
Every nexus has a queue of unit attentions per logical unit number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.model_reservations import ModelReservations, Refusal, Request, Triple
from tests.support.reservations import CAPABILITIES, FULL_STATUS, KEYS, RESERVATION

POWER_ON, MODES_CHANGED = (6, 0x29, 0), (6, 0x2A, 1)
INQUIRY_CHANGED, LUNS_CHANGED = (6, 0x3F, 3), (6, 0x3F, 0xE)
NO_SUCH_LUN, INVALID_OPCODE = (5, 0x25, 0), (5, 0x20, 0)

BLOCK, BLOCKS = 512, 8


class Nexus(NamedTuple):
    """An initiator port and a target port, by their numbers."""

    initiator: int
    port: int


class Full(NamedTuple):
    """A registration as READ FULL STATUS shows it."""

    nexus: Nexus
    key: int
    holder: bool


@dataclass
class Answer:
    """The expected end of a command: sense, or None for GOOD; ``conflict`` takes precedence."""

    sense: Triple | None = None
    conflict: bool = False
    data: object = None


@dataclass
class Unit:
    """A logical unit."""

    reservations: ModelReservations = field(default_factory=ModelReservations)
    content: bytearray = field(default_factory=lambda: bytearray(BLOCK * BLOCKS))


@dataclass
class Lun:
    """A logical unit as a nexus sees it."""

    unit: Unit
    queue: list[Triple] = field(default_factory=lambda: [POWER_ON])

    def add(self, sense: Triple) -> None:
        """Queue a condition unless it is queued already."""
        if sense not in self.queue:
            self.queue.append(sense)


class ModelNexuses:
    """All ports, nexuses and logical units."""

    def __init__(self, units: int, ports: int, *, takes_events: bool) -> None:
        """``takes_events``: asynchronous events reach the initiators."""
        self.units = [Unit() for _ in range(units)]
        self.maps: list[dict[int, Unit]] = [{} for _ in range(ports)]
        self.nexuses: dict[Nexus, dict[int, Lun]] = {}
        self.events: dict[Nexus, list[Triple]] = {}
        self.takes_events = takes_events

    # Sessions and LUNs

    def log_in(self, nexus: Nexus) -> None:
        """A new session, without unit attentions except for the power on."""
        self.nexuses[nexus] = {lun: Lun(unit) for lun, unit in self.maps[nexus.port].items()}
        self.events[nexus] = []

    def log_out(self, nexus: Nexus) -> None:
        """Its registrations stay, its reservation by RESERVE does not."""
        for lun in self.nexuses.pop(nexus).values():
            self._forget(nexus, lun)

    def map(self, port: int, number: int, unit: Unit) -> None:
        """A LUN is added."""
        self._connect(port, number, unit)
        self._luns_changed(port)

    def unmap(self, port: int, number: int) -> None:
        """A LUN is deleted."""
        self._disconnect(port, number)
        self._luns_changed(port)

    def replace(self, port: int, number: int, unit: Unit) -> None:
        """A LUN becomes another logical unit, or begins to exist."""
        if number not in self.maps[port]:
            self.map(port, number, unit)
            return
        self._disconnect(port, number)
        self._connect(port, number, unit)
        for nexus, luns in self._at(port):
            self._report(nexus, luns[number], INQUIRY_CHANGED)

    def _connect(self, port: int, number: int, unit: Unit) -> None:
        self.maps[port][number] = unit
        for _nexus, luns in self._at(port):
            luns[number] = Lun(unit)

    def _disconnect(self, port: int, number: int) -> None:
        del self.maps[port][number]
        for nexus, luns in self._at(port):
            self._forget(nexus, luns.pop(number))

    @staticmethod
    def _forget(nexus: Nexus, lun: Lun) -> None:
        reservations = lun.unit.reservations
        if reservations.reserved_by == nexus:
            reservations.reserved_by = None

    def _at(self, port: int) -> Iterator[tuple[Nexus, dict[int, Lun]]]:
        return ((nexus, luns) for nexus, luns in self.nexuses.items() if nexus.port == port)

    def _of(self, unit: Unit) -> Iterator[tuple[Nexus, Lun]]:
        for nexus, luns in self.nexuses.items():
            for lun in luns.values():
                if lun.unit is unit:
                    yield nexus, lun

    # Unit attentions

    def _luns_changed(self, port: int) -> None:
        for nexus, luns in self._at(port):
            if self.takes_events:
                self.events[nexus].append(LUNS_CHANGED)
                continue
            for lun in luns.values():
                lun.add(LUNS_CHANGED)

    def _report(self, nexus: Nexus, lun: Lun, sense: Triple) -> None:
        if self.takes_events:
            self.events[nexus].append(sense)
        else:
            lun.add(sense)

    def _take(self, nexus: Nexus, lun: Lun) -> Triple:
        sense = lun.queue.pop(0)
        if sense == LUNS_CHANGED:
            self._luns_are_known(nexus)
        return sense

    def _luns_are_known(self, nexus: Nexus) -> None:
        for lun in self.nexuses[nexus].values():
            lun.queue = [sense for sense in lun.queue if sense != LUNS_CHANGED]

    # Resets

    def reset_unit(self, unit: Unit) -> None:
        """LOGICAL UNIT RESET: all nexuses get a unit attention."""
        unit.reservations.reserved_by = None
        for _nexus, lun in self._of(unit):
            lun.add(POWER_ON)

    def reset_target(self, port: int) -> None:
        """TARGET RESET: every logical unit behind the port."""
        for unit in self.maps[port].values():
            self.reset_unit(unit)

    # Commands

    def _execute(
        self, nexus: Nexus, number: int, allowed: str, action: Callable[[Lun], object]
    ) -> Answer:
        """A command that other nexuses may send ``allowed`` (see ModelReservations.check)."""
        lun = self.nexuses[nexus].get(number)
        if lun is None:
            return Answer(NO_SUCH_LUN)
        try:
            lun.unit.reservations.check(nexus, allowed)
            if lun.queue:
                return Answer(self._take(nexus, lun))
            return Answer(data=action(lun))
        except Refusal as refusal:
            return Answer(refusal.sense, conflict=refusal.sense is None)

    def passes(self, nexus: Nexus, number: int, allowed: str) -> bool:
        """A command would be executed now."""
        lun = self.nexuses[nexus][number]
        try:
            lun.unit.reservations.check(nexus, allowed)
        except Refusal:
            return False
        return not lun.queue

    def test_unit_ready(self, nexus: Nexus, number: int) -> Answer:
        return self._execute(nexus, number, "RWE", lambda lun: b"")

    def read(self, nexus: Nexus, number: int, lba: int) -> Answer:
        def action(lun: Lun) -> bytes:
            return bytes(lun.unit.content[lba * BLOCK : (lba + 1) * BLOCK])

        return self._execute(nexus, number, "W", action)

    def write(self, nexus: Nexus, number: int, lba: int, data: bytes) -> Answer:
        def action(lun: Lun) -> bytes:
            lun.unit.content[lba * BLOCK : (lba + 1) * BLOCK] = data
            return b""

        return self._execute(nexus, number, "", action)

    def mode_select(self, nexus: Nexus, number: int) -> Answer:
        """With parameters that affect nothing else."""

        def action(lun: Lun) -> bytes:
            for _other, told in self._of(lun.unit):
                if told is not lun:
                    told.add(MODES_CHANGED)
            return b""

        return self._execute(nexus, number, "", action)

    def inquiry(self, nexus: Nexus, number: int) -> bool:
        """INQUIRY always succeeds; returns whether there is a logical unit."""
        return number in self.nexuses[nexus]

    def request_sense(self, nexus: Nexus, number: int) -> Triple:
        """The sense in the data of REQUEST SENSE, which is always GOOD."""
        lun = self.nexuses[nexus].get(number)
        if lun is None:
            return NO_SUCH_LUN
        return self._take(nexus, lun) if lun.queue else (0, 0, 0)

    def report_luns(self, nexus: Nexus) -> set[int]:
        """The numbers that REPORT LUNS gives."""
        self._luns_are_known(nexus)
        return set(self.nexuses[nexus])

    def reserve(self, nexus: Nexus, number: int) -> Answer:
        def action(lun: Lun) -> bytes:
            lun.unit.reservations.reserve(nexus)
            return b""

        return self._execute(nexus, number, "WE", action)

    def release(self, nexus: Nexus, number: int) -> Answer:
        def action(lun: Lun) -> bytes:
            lun.unit.reservations.release(nexus)
            return b""

        return self._execute(nexus, number, "RWE", action)

    def persistent_out(self, nexus: Nexus, number: int, request: Request) -> Answer:
        def action(lun: Lun) -> bytes:
            reservations = lun.unit.reservations
            reservations.out(nexus, request)
            seen = dict(self._of(lun.unit))
            for other, sense in reservations.told:
                if isinstance(other, Nexus) and other in seen:
                    seen[other].add(sense)
            return b""

        return self._execute(nexus, number, "WE", action)

    def persistent_in(self, nexus: Nexus, number: int, action: int) -> Answer:
        def read(lun: Lun) -> object:
            reservations = lun.unit.reservations
            reservations.check_persistent()
            return _READERS[action](reservations)

        return self._execute(nexus, number, "WE", read)


def _keys(reservations: ModelReservations) -> object:
    return reservations.generation, list(reservations.keys.values())


def _reservation(reservations: ModelReservations) -> object:
    if reservations.kind is None:
        return None
    holder = reservations.holder
    return 0 if holder is None else reservations.keys[holder], reservations.kind


def _full_status(reservations: ModelReservations) -> object:
    return [Full(n, key, reservations.holds(n)) for n, key in reservations.keys.items()]  # type: ignore[arg-type]


_READERS: dict[int, Callable[[ModelReservations], object]] = {
    KEYS: _keys,
    RESERVATION: _reservation,
    CAPABILITIES: lambda reservations: reservations.aptpl,
    FULL_STATUS: _full_status,
}
