"""Persistent reservations of one device: registrations and the reservation (SPC-4 5.13).

This is the state: it decides which nexus may send what, follows nexuses as they come and go, and
knows what must be saved.  The service actions that change it are in ``persistent_out``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from scstfs.core.gated import Gated
from scstfs.persist.reservations import SavedRegistrant, SavedReservations
from scstfs.scsi import pr
from scstfs.scsi.opcodes import Flag
from scstfs.scsi.pr import Descriptor, PrType, Reservation
from scstfs.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from scstfs.persist.state import ReservationsFile


class ItNexus(Protocol):
    """An I_T nexus: what registrations need of it."""

    registrant: Registrant | None

    @property
    def transport_id(self) -> TransportId | None:
        """The initiator port; None where the transport has no names for ports."""

    @property
    def rel_tgt_id(self) -> int:
        """The target port."""


class Registrant:
    """A registered I_T nexus; ``tgt_dev`` is its nexus while one is logged in."""

    def __init__(self, transport_id: TransportId, rel_tgt_id: int, key: int) -> None:
        self.transport_id = transport_id
        #: Of the target port, as it was when the nexus was registered.
        self.rel_tgt_id = rel_tgt_id
        self.key = key
        self.tgt_dev: ItNexus | None = None

    def is_nexus(self, transport_id: TransportId, rel_tgt_id: int) -> bool:
        """Return whether it is this initiator port through this target port."""
        return self.rel_tgt_id == rel_tgt_id and self.transport_id.same_port(transport_id)

    def is_of(self, nexus: ItNexus) -> bool:
        """Return whether it is the registration of ``nexus``, or of an earlier one of the same
        ports.
        """
        transport_id = nexus.transport_id
        return transport_id is not None and self.is_nexus(transport_id, nexus.rel_tgt_id)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a service action may change."""

    registrants: tuple[tuple[Registrant, int, ItNexus | None], ...]
    holder: Registrant | None
    reservation: Reservation | None
    aptpl: bool
    generation: int


class PersistentReservations:
    """Registrations and the reservation of one device."""

    #: The single holder; None without a reservation, or if all registrants hold it.
    holder: Gated[Registrant | None] = Gated(None)
    reservation: Gated[Reservation | None] = Gated(None)

    def __init__(self, name: str, nexuses: Collection[ItNexus]) -> None:
        """``name`` is the device's; ``nexuses`` are those that it has at any time."""
        self._name = name
        self._nexuses = nexuses
        #: In order of registration.
        self.registrants: list[Registrant] = []
        self.aptpl = False
        self.generation = 0
        self.file: ReservationsFile | None = None

    # Access

    def allows(self, registrant: Registrant | None, flags: Flag) -> bool:
        """A command with ``flags`` does not conflict with the reservation."""
        if self.reservation is None:
            return True
        return pr.allowed(
            self.reservation.type, flags, self.is_holder(registrant), registrant is not None
        )

    def is_compatible(self, registrant: Registrant | None) -> bool:
        """RESERVE and RELEASE of this nexus are answered GOOD without effect (CRH)."""
        if self.reservation is None:
            return False
        return pr.compatible(
            self.reservation.type, self.is_holder(registrant), registrant is not None
        )

    def is_holder(self, registrant: Registrant | None) -> bool:
        """``registrant`` holds the reservation, alone or with all others."""
        if registrant is None or self.reservation is None:
            return False
        return self.reservation.type.all_registrants or registrant is self.holder

    # Registrations

    def find(self, transport_id: TransportId, rel_tgt_id: int) -> Registrant | None:
        """The registration of a nexus."""
        return next((r for r in self.registrants if r.is_nexus(transport_id, rel_tgt_id)), None)

    def with_key(self, key: int) -> list[Registrant]:
        """Those registered with ``key``."""
        return [r for r in self.registrants if r.key == key]

    def others(self, registrant: Registrant) -> list[Registrant]:
        """All but ``registrant``."""
        return [r for r in self.registrants if r is not registrant]

    def register(self, transport_id: TransportId, rel_tgt_id: int, key: int) -> Registrant:
        """Register a nexus, or give it another key."""
        found = self.find(transport_id, rel_tgt_id)
        if found is None:
            found = Registrant(transport_id, rel_tgt_id, key)
            self.registrants.append(found)
            self._bind_to_any(found)
        found.key = key
        return found

    def remove(self, registrant: Registrant) -> None:
        """End a registration, and the reservation if no holder is left."""
        was_holder = self.is_holder(registrant)
        self.registrants.remove(registrant)
        if registrant.tgt_dev is not None:
            registrant.tgt_dev.registrant = None
        if self.reservation is None or not was_holder:
            return
        if not self.reservation.type.all_registrants or not self.registrants:
            self.clear_reservation()

    def set_holder(self, registrant: Registrant, kind: PrType, scope: int) -> None:
        """``registrant`` holds the reservation from now on, or all registrants do."""
        self.reservation = Reservation(kind, scope=scope)
        self.holder = None if kind.all_registrants else registrant

    def clear_reservation(self) -> None:
        """End the reservation."""
        self.reservation = self.holder = None

    # Nexuses come and go

    def bind(self, tgt_dev: ItNexus) -> None:
        """Find the registration of a nexus that appears; the first session of two ports has it."""
        transport_id = tgt_dev.transport_id
        if transport_id is None:
            return
        found = self.find(transport_id, tgt_dev.rel_tgt_id)
        if found is not None and found.tgt_dev is None:
            found.tgt_dev, tgt_dev.registrant = tgt_dev, found

    def unbind(self, tgt_dev: ItNexus) -> None:
        """A nexus ends; another one of the same two ports inherits its registration."""
        registrant = tgt_dev.registrant
        if registrant is None:
            return
        tgt_dev.registrant = registrant.tgt_dev = None
        self._bind_to_any(registrant)

    def _bind_to_any(self, registrant: Registrant) -> None:
        for tgt_dev in self._nexuses:
            if tgt_dev.registrant is None and registrant.is_of(tgt_dev):
                registrant.tgt_dev, tgt_dev.registrant = tgt_dev, registrant
                return

    # Reading

    def read(self, cdb: bytes) -> bytes:
        """Data of PERSISTENT RESERVE IN, to be cut; raises CheckCondition."""
        return _READERS[pr.check_in_action(cdb)](self)

    def _read_keys(self) -> bytes:
        return pr.read_keys(self.generation, (r.key for r in self.registrants))

    def _read_reservation(self) -> bytes:
        return pr.read_reservation(self.generation, self._described())

    def _report_capabilities(self) -> bytes:
        return pr.report_capabilities(self.aptpl)

    def _read_full_status(self) -> bytes:
        descriptors = [
            Descriptor(r.transport_id, r.rel_tgt_id, r.key, self.is_holder(r))
            for r in self.registrants
        ]
        return pr.read_full_status(self.generation, descriptors, self._described())

    def _described(self) -> Reservation | None:
        if self.reservation is None:
            return None
        key = self.holder.key if self.holder is not None else 0
        return Reservation(self.reservation.type, key, self.reservation.scope)

    def dump(self) -> list[str]:
        """Lines for the log, in SCST's words (``dump_prs``)."""
        lines = [f"Persistent reservations for device {self._name}:"]
        if not self.registrants:
            lines.append("  No registrants")
        for number, r in enumerate(self.registrants):
            lines.append(
                f"  [{number}] registrant {_name(r)}, key {r.key:016x} "
                f"(reg {id(r):016x}, tgt_dev {_address(r.tgt_dev)})"
            )
        reservation, holder = self.reservation, self.holder
        if reservation is None:
            lines.append("Not reserved")
        elif holder is None:
            lines.append(
                f"All registrants are reservation holders (scope {reservation.scope:x}, "
                f"type {reservation.type:x})"
            )
        else:
            lines.append(
                f"Reservation holder is {_name(holder)} (key {holder.key:016x}, "
                f"scope {reservation.scope:x}, type {reservation.type:x}, "
                f"reg {id(holder):016x}, tgt_dev {_address(holder.tgt_dev)})"
            )
        return lines

    # Saving

    def save_state(self) -> SavedReservations:
        """The state to be saved."""
        reservation = self.reservation
        return SavedReservations(
            aptpl=self.aptpl,
            reservation=None if reservation is None else (reservation.type, reservation.scope),
            registrants=tuple(
                SavedRegistrant(
                    transport_id=r.transport_id.data,
                    rel_tgt_id=r.rel_tgt_id,
                    key=r.key.to_bytes(8, "big"),
                    is_holder=r is self.holder,
                )
                for r in self.registrants
            ),
        )

    def load(self, file: ReservationsFile, saved: SavedReservations | None) -> None:
        """Keep the state in ``file`` from now on; take over what it holds, if it holds anything.

        Call it while the device has no nexus.
        """
        self.file = file
        if saved is None:
            return
        self.clear_reservation()
        self.aptpl = saved.aptpl
        self.registrants = []
        for entry in saved.registrants:
            key = int.from_bytes(entry.key, "big")
            registrant = Registrant(TransportId(entry.transport_id), entry.rel_tgt_id, key)
            self.registrants.append(registrant)
            if saved.reservation is not None and entry.is_holder:
                self.set_holder(registrant, PrType(saved.reservation[0]), saved.reservation[1])
        if saved.reservation is not None and self.reservation is None:
            # All registrants hold it.
            kind, scope = saved.reservation
            self.reservation = Reservation(PrType(kind), scope=scope)

    def adopt(self, saved: SavedReservations, generation: int) -> None:
        """Make ``saved`` the present state, which nexuses that are connected keep theirs of."""
        present = {(r.transport_id.data, r.rel_tgt_id): r for r in self.registrants}
        self.clear_reservation()
        self.aptpl, self.generation = saved.aptpl, generation
        self.registrants = []
        for entry in saved.registrants:
            key = int.from_bytes(entry.key, "big")
            registrant = present.pop((entry.transport_id, entry.rel_tgt_id), None)
            if registrant is None:
                registrant = Registrant(TransportId(entry.transport_id), entry.rel_tgt_id, key)
            registrant.key = key
            self.registrants.append(registrant)
            if entry.is_holder:
                self.holder = registrant
        for gone in present.values():
            if gone.tgt_dev is not None:
                gone.tgt_dev.registrant = None
                gone.tgt_dev = None
        for registrant in self.registrants:
            if registrant.tgt_dev is None:
                self._bind_to_any(registrant)
        if saved.reservation is not None:
            kind, scope = saved.reservation
            self.reservation = Reservation(PrType(kind), scope=scope)

    def snapshot(self) -> Snapshot:
        """The state, for ``rollback``."""
        return Snapshot(
            tuple((r, r.key, r.tgt_dev) for r in self.registrants),
            self.holder,
            self.reservation,
            self.aptpl,
            self.generation,
        )

    def rollback(self, snapshot: Snapshot) -> None:
        """Undo an action that could not be made durable; nexuses may have come and gone since."""
        for tgt_dev in self._nexuses:
            tgt_dev.registrant = None
        self.registrants = []
        for registrant, key, bound in snapshot.registrants:
            registrant.key = key
            registrant.tgt_dev = bound if bound in self._nexuses else None
            if registrant.tgt_dev is not None:
                registrant.tgt_dev.registrant = registrant
            self.registrants.append(registrant)
        for registrant in self.registrants:
            if registrant.tgt_dev is None:
                self._bind_to_any(registrant)
        self.holder, self.reservation = snapshot.holder, snapshot.reservation
        self.aptpl, self.generation = snapshot.aptpl, snapshot.generation


_READERS: Final[Mapping[pr.InAction, Callable[[PersistentReservations], bytes]]] = MappingProxyType(
    {
        pr.InAction.READ_KEYS: PersistentReservations._read_keys,
        pr.InAction.READ_RESERVATION: PersistentReservations._read_reservation,
        pr.InAction.REPORT_CAPABILITIES: PersistentReservations._report_capabilities,
        pr.InAction.READ_FULL_STATUS: PersistentReservations._read_full_status,
    }
)


def _name(registrant: Registrant) -> str:
    return f"{registrant.transport_id.text}/{registrant.rel_tgt_id}"


def _address(tgt_dev: ItNexus | None) -> str:
    return "0" * 16 if tgt_dev is None else f"{id(tgt_dev):016x}"
