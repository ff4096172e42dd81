"""I_T nexuses that are registered with keys, and their unit attentions (SPC-4 5.13)."""

from __future__ import annotations

from collections.abc import Sequence

from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.status import Status
from tests.support.reservations import IGNORE, pr_out
from tests.support.target import GOOD, Initiator, Result, System

# Sense data of unit attentions and refusals.
RELEASED, PREEMPTED, REGISTRATION_PREEMPTED = (6, 0x2A, 4), (6, 0x2A, 3), (6, 0x2A, 5)
CLEARED = (6, 0x2F, 0)
THROWN_OUT = [REGISTRATION_PREEMPTED]
BAD_LENGTH, BAD_CDB, BAD_LIST = (5, 0x1A, 0), (5, 0x24, 0), (5, 0x26, 0)
CONFLICT = "conflict"

# Reservation keys.
A, B, C, D = 0xA, 0xB, 0xC, 0xD


class Nexuses:
    """Initiators that are registered with keys."""

    def __init__(self, system: System, disk: VdiskDevice) -> None:
        self.system = system
        self.disk = disk
        self.all: list[Initiator] = []

    async def add(self, *keys: int) -> Sequence[Initiator]:
        """Add initiators; key 0 for one that is not registered."""
        for key in keys:
            one = self.system.initiator(f"i{len(self.all)}")
            self.all.append(one)
            if key:
                assert await one.execute(*pr_out(IGNORE, new=key)) == GOOD
        return self.all

    @property
    def keys(self) -> list[int]:
        return [registrant.key for registrant in self.disk.pr.registrants]

    @property
    def held(self) -> tuple[int, int] | None:
        """Holder's key (0 for all) and type."""
        reservations = self.disk.pr
        if reservations.reservation is None:
            return None
        holder = reservations.holder
        return 0 if holder is None else holder.key, reservations.reservation.type

    @property
    def attentions(self) -> list[list[tuple[int, int, int]]]:
        """The pending unit attentions of each."""
        return [pending(initiator) for initiator in self.all]


def pending(initiator: Initiator) -> list[tuple[int, int, int]]:
    """Its pending unit attentions."""
    return [ua.sense.triple for ua in initiator.session.tgt_devs[0].unit_attentions]


def outcome(result: Result) -> object:
    """CONFLICT, the sense triple, or None for GOOD."""
    if result.status is Status.RESERVATION_CONFLICT:
        return CONFLICT
    assert result.status is (Status.GOOD if result.triple is None else Status.CHECK_CONDITION)
    return result.triple
