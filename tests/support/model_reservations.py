"""Reservations of one logical unit, modelled directly from the standards.

A nexus is anything hashable: an initiator port and a target port.  Persistent reservations are
SPC-4 5.13 and 6.15, RESERVE and RELEASE SPC-2 5.5 and 7.21, and their combination SPC-4 5.13.3.
``SCST`` marks where SCST 3.10 differs from them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tests.support.reservations import (
    CLEAR,
    EA,
    IGNORE,
    MOVE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    WE,
)

Nexus: TypeAlias = Hashable
Triple: TypeAlias = tuple[int, int, int]

PREEMPTED, RELEASED, REGISTRATIONS_PREEMPTED = (6, 0x2A, 3), (6, 0x2A, 4), (6, 0x2A, 5)
CLEARED = (6, 0x2F, 0)
INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_LIST = (5, 0x24, 0), (5, 0x26, 0)
INVALID_RELEASE = (5, 0x26, 4)

WRITE_EXCLUSIVE, REGISTRANTS_ONLY, ALL_REGISTRANTS = (1, 5, 7), (5, 6), (7, 8)


class Refusal(Exception):  # noqa: N818 - what an initiator gets
    """The command ends with this sense, or with RESERVATION CONFLICT."""

    def __init__(self, sense: Triple | None = None) -> None:
        super().__init__(sense)
        self.sense = sense


class Request(NamedTuple):
    """PERSISTENT RESERVE OUT."""

    action: int
    kind: int = 0
    key: int = 0
    new: int = 0
    aptpl: bool = False
    #: For ALL_TG_PT: the nexuses of the sender's initiator port.
    all_ports: tuple[Nexus, ...] = ()
    #: Nexuses to register, in order: those that SPEC_I_PT lists, and the sender's own.
    more: tuple[tuple[Nexus, bool], ...] = ()
    spec_i_pt: bool = False
    #: Of REGISTER AND MOVE.
    to: Nexus = None
    same_port: bool = False
    unreg: bool = False


@dataclass
class ModelReservations:
    """The reservations of a logical unit."""

    #: In order of registration.
    keys: dict[Nexus, int] = field(default_factory=dict)
    kind: int | None = None
    #: None if there is no reservation, or if all registrants hold it.
    holder: Nexus | None = None
    generation: int = 0
    aptpl: bool = False
    reserved_by: Nexus | None = None
    #: Unit attentions from the last command, in order.
    told: list[tuple[Nexus, Triple]] = field(default_factory=list)

    def holds(self, nexus: Nexus) -> bool:
        """It is a holder of the persistent reservation."""
        if self.kind is None or nexus not in self.keys:
            return False
        return self.kind in ALL_REGISTRANTS or nexus == self.holder

    def has_rights(self, nexus: Nexus) -> bool:
        """It may do everything (like the last row of table 65)."""
        if self.kind in (None, WE, EA):
            return self.kind is None or self.holds(nexus)
        return nexus in self.keys

    def check(self, nexus: Nexus, allowed: str) -> None:
        """Refuse a command that other nexuses may send ``allowed``: under "R"ESERVE, "W"E, "E"A."""
        if self.reserved_by not in (None, nexus) and "R" not in allowed:
            raise Refusal
        letter = "W" if self.kind in WRITE_EXCLUSIVE else "E"
        if not self.has_rights(nexus) and letter not in allowed:
            raise Refusal

    # RESERVE and RELEASE

    def reserve(self, nexus: Nexus) -> None:
        """RESERVE(6) and (10) of the whole logical unit."""
        if not self._is_compatible(nexus):
            self.reserved_by = nexus

    def release(self, nexus: Nexus) -> None:
        """RELEASE(6) and (10)."""
        if not self._is_compatible(nexus) and self.reserved_by == nexus:
            self.reserved_by = None

    def _is_compatible(self, nexus: Nexus) -> bool:
        """GOOD without effect (CRH); a conflict for others while there is a registrant."""
        if not self.keys:
            return False
        if self.kind is None or not self.has_rights(nexus):
            raise Refusal
        return True

    # PERSISTENT RESERVE

    def check_persistent(self) -> None:
        """Refuse persistent reservations while there is a reservation by RESERVE.

        SCST: also for its holder.
        """
        if self.reserved_by is not None:
            raise Refusal

    def out(self, nexus: Nexus, request: Request) -> None:
        """Carry out PERSISTENT RESERVE OUT or raise Refusal, having changed nothing."""
        self.told = []
        self.check_persistent()
        action = request.action
        if action not in (REGISTER, IGNORE):
            if nexus not in self.keys:
                raise Refusal
            # SCST: RELEASE without a reservation is GOOD for any key.
            if request.key != self.keys[nexus] and not (action == RELEASE and self.kind is None):
                raise Refusal
        elif action == REGISTER:
            if request.key != self.keys.get(nexus, 0):
                raise Refusal
            if request.spec_i_pt and nexus in self.keys:
                raise Refusal(INVALID_FIELD_IN_LIST)
        _ACTIONS[action](self, nexus, request)
        if action not in (RESERVE, RELEASE):
            self.generation += 1
        if action in (REGISTER, IGNORE, MOVE):
            self.aptpl = request.aptpl

    def _others(self, nexus: Nexus) -> list[Nexus]:
        return [other for other in self.keys if other != nexus]

    def _tell(self, nexuses: Iterable[Nexus], sense: Triple) -> None:
        self.told += [(nexus, sense) for nexus in nexuses]

    def _remove(self, nexus: Nexus) -> None:
        was_holder = self.holds(nexus)
        del self.keys[nexus]
        if was_holder and (self.kind not in ALL_REGISTRANTS or not self.keys):
            self.kind = self.holder = None

    def _take(self, nexus: Nexus, kind: int) -> None:
        self.kind = kind
        self.holder = None if kind in ALL_REGISTRANTS else nexus

    def _register(self, nexus: Nexus, request: Request) -> None:
        if nexus not in self.keys:
            if request.new:
                for other, is_listed in (*request.more, (nexus, True)):
                    # SCST: another registration of the sender's port keeps its key.
                    if other not in self.keys or is_listed:
                        self.keys[other] = request.new
        elif request.new:
            self.keys[nexus] = request.new
        else:
            for port in request.all_ports or (nexus,):
                if port in self.keys:
                    self._unregister(port)

    def _unregister(self, nexus: Nexus) -> None:
        kind = self.kind
        self._remove(nexus)
        if self.kind is None and kind in REGISTRANTS_ONLY:
            self._tell(self.keys, RELEASED)

    def _reserve(self, nexus: Nexus, request: Request) -> None:
        if self.kind is None:
            self._take(nexus, request.kind)
        elif not self.holds(nexus) or self.kind != request.kind:
            raise Refusal

    def _release(self, nexus: Nexus, request: Request) -> None:
        kind = self.kind
        if not self.holds(nexus):
            return
        if kind != request.kind:
            raise Refusal(INVALID_RELEASE)
        self.kind = self.holder = None
        if kind not in (WE, EA):
            self._tell(self._others(nexus), RELEASED)

    def _clear(self, nexus: Nexus, _request: Request) -> None:
        self._tell(self._others(nexus), PREEMPTED)
        self.keys.clear()
        self.kind = self.holder = None

    def _preempt(self, nexus: Nexus, request: Request) -> None:
        key = request.new
        if self.kind in ALL_REGISTRANTS and not key:
            self._throw_out(nexus, self._others(nexus), request)
            self._take(nexus, request.kind)
            return
        victims = [other for other, theirs in self.keys.items() if theirs == key]
        if self.holder in victims:
            old = self.kind
            self._throw_out(nexus, victims, request)
            self._take(nexus, request.kind)
            if request.kind != old:
                self._tell(self._others(nexus), RELEASED)
            return
        if self.holder is not None and not key:
            raise Refusal(INVALID_FIELD_IN_LIST)
        if not victims:
            raise Refusal
        single = self.holder is not None
        self._throw_out(nexus, victims, request)
        if single and nexus in victims:
            # SCST: the sender's own registration is removed, too.
            self._remove(nexus)

    def _throw_out(self, nexus: Nexus, victims: list[Nexus], request: Request) -> None:
        for victim in victims:
            if victim == nexus:
                continue
            if request.action == PREEMPT_AND_ABORT:
                # SCST: whether it had commands or not.
                self._tell([victim], CLEARED)
            self._tell([victim], REGISTRATIONS_PREEMPTED)
            self._remove(victim)

    def _move(self, nexus: Nexus, request: Request) -> None:
        if self.kind is None:
            # SCST: SPC-4 5.13.8 has a conflict here.
            raise Refusal(INVALID_FIELD_IN_CDB)
        if not self.holds(nexus):
            raise Refusal
        if not request.new:
            raise Refusal(INVALID_FIELD_IN_CDB)
        if self.kind in ALL_REGISTRANTS:
            raise Refusal
        if request.same_port:
            raise Refusal(INVALID_FIELD_IN_LIST)
        self.keys[request.to] = request.new
        self.holder = request.to
        if request.unreg:
            self._remove(nexus)

    # Loss of power

    def restarted(self) -> ModelReservations:
        """The state after the device was closed and opened again (SPC-4 5.13.5)."""
        if not self.aptpl or not self.keys:
            return ModelReservations()
        return ModelReservations(dict(self.keys), self.kind, self.holder, 0, True)


_ACTIONS: dict[int, Callable[[ModelReservations, Nexus, Request], None]] = {
    REGISTER: ModelReservations._register,
    IGNORE: ModelReservations._register,
    RESERVE: ModelReservations._reserve,
    RELEASE: ModelReservations._release,
    CLEAR: ModelReservations._clear,
    PREEMPT: ModelReservations._preempt,
    PREEMPT_AND_ABORT: ModelReservations._preempt,
    MOVE: ModelReservations._move,
}
