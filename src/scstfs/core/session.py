"""Sessions (I_T nexuses) and their tgt_devs (I_T_L nexuses).

A session belongs to one access control group at a time and has a tgt_dev for every LUN of that
group.  A tgt_dev keeps what SAM ties to the nexus: pending unit attentions, the persistent
reservation registration, commands that are under way.

It also caches the decision whether READ and WRITE may take the quick way (``core.quick``), which is
made when first needed in an epoch (``core.gated``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from scstfs import log
from scstfs.core.aca import Aca
from scstfs.core.counters import SessionCounters
from scstfs.core.gated import EPOCH, Gated
from scstfs.core.latency import LatencyStatistics
from scstfs.core.nexus_times import NexusTimes
from scstfs.core.quick import CLOSED, Quick
from scstfs.core.unit_attention import UnitAttention, UnitAttentionQueue
from scstfs.observable import ObservableDict
from scstfs.scsi import lun as scsi_lun
from scstfs.scsi import sense
from scstfs.scsi.alua import AccessState
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import Sense
from scstfs.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.device import Device
    from scstfs.core.persistent import Registrant
    from scstfs.core.target import Acg, AcgDev, Target
    from scstfs.core.threads import WorkerPool

#: Types of devices on which a changed set of LUNs is reported.
_TOLD_OF_LUNS: Final = frozenset(
    {
        DeviceType.DISK,
        DeviceType.TAPE,
        DeviceType.PRINTER,
        DeviceType.PROCESSOR,
        DeviceType.WRITE_ONCE,
        DeviceType.CD_ROM,
        DeviceType.SCANNER,
        DeviceType.OPTICAL,
        DeviceType.CHANGER,
        DeviceType.RAID,
        DeviceType.ENCLOSURE,
    }
)


class SessionState(enum.Enum):
    """Life of a session."""

    STARTING = "starting"
    READY = "ready"
    CLOSING = "closing"


class Transport(Protocol):
    """What a driver gives the core to reach the initiator of a session."""

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """Send an asynchronous event; False when the transport cannot."""

    def close(self) -> None:
        """Begin to close the session from this side (``force_close``); returns at once."""


@dataclass(slots=True, eq=False)
class PendingFunction:
    """A task management function that is not answered yet (``trace_mcmds``)."""

    #: As SAM-5 7 names it, with underscores: ``LUN_RESET``.
    function: str
    lun: int = 0
    #: Initiator task tag of the task that it concerns.
    tag: int = 0
    #: Commands that have to end first.
    waits_for: int = 0


class TgtDev:
    """One LUN as one session sees it."""

    aca: Gated[Aca[Command]] = Gated()
    registrant: Gated[Registrant | None] = Gated(None)
    #: Removed from its session: commands that have not started must not start.
    is_gone: Gated[bool] = Gated(False)

    def __init__(self, session: Session, acg_dev: AcgDev) -> None:
        self.session: Final = session
        self.acg_dev = acg_dev
        self.device: Final[Device] = acg_dev.device
        self._tasks: Final = self.device.tasks
        self.lun: int = acg_dev.lun
        self.read_only: Final = acg_dev.read_only or self.device.read_only
        self.unit_attentions: Final = UnitAttentionQueue()
        self.aca = Aca() if self.device.separate_task_sets else self.device.aca
        #: Commands that are under way: waiting for data, for their turn or for the back end.
        self.commands: dict[Command, None] = {}
        #: Worker threads for this nexus's blocking work.
        self.pool: WorkerPool = self.device.env.threads
        #: The number of the device's nexuses when the pool was made; -1 for a shared pool.
        self.thread_index = -1
        #: How long its commands take.
        self.times: Final = NexusTimes()
        #: The last decision, and the epoch in which it was made.
        self._quick = CLOSED
        self._epoch: object = None

    @property
    def quick(self) -> Quick:
        """What READ and WRITE may use now, until other code has run."""
        now = EPOCH.now
        if self._epoch is not now:
            self._quick, self._epoch = self.decide(), now
        return self._quick

    def decide(self) -> Quick:
        """What READ and WRITE may use, as all is now."""
        quick, shared = self.device.decide(self), self.device.shared
        return quick if shared is None else shared.fence.guard(quick)

    @property
    def available(self) -> Quick:
        """``quick``; nothing if one more command would have to wait for its turn or exceed the
        limit.
        """
        quick = self._quick if self._epoch is EPOCH.now else self.quick
        if self._tasks.gated or len(self.commands) >= quick.limit:
            return CLOSED
        return quick

    @property
    def transport_id(self) -> TransportId | None:
        """The initiator port; None where the transport has no names for ports."""
        return self.session.transport_id

    @property
    def cpu_mask(self) -> int:
        """The CPUs that the LUN set allows, a bit each."""
        return self.session.acg.cpu_mask

    @property
    def rel_tgt_id(self) -> int:
        """The target port."""
        return self.session.target.rel_tgt_id

    @property
    def access_state(self) -> AccessState:
        """ALUA state of the target port group through which the nexus reaches the device."""
        group = self.device.group
        return AccessState.ACTIVE if group is None else group.state_of(self.session.target)

    @property
    def former(self) -> list[TgtDev]:
        """Former nexuses of the same LUN whose commands still run.

        Their device may be another one: the initiator does not always know yet that it changed.
        """
        return [former for former in self.session.former if former.lun == self.lun]

    @property
    def packed_lun(self) -> bytes:
        """The LUN field in the group's addressing method."""
        return scsi_lun.pack_lun(self.lun, self.session.acg.addr_method)

    def queue_unit_attention(
        self, condition: Sense, *, session_wide: bool = False, at_head: bool = False
    ) -> None:
        """Make the next command of this nexus report ``condition``."""
        self.unit_attentions.add(UnitAttention(condition, session_wide), at_head=at_head)

    def take_unit_attention(self) -> Sense:
        """Remove the oldest condition; a session-wide one is removed from every LUN."""
        condition = self.unit_attentions.take()
        if condition.session_wide:
            for tgt_dev in self.session.tgt_devs.values():
                tgt_dev.unit_attentions.discard(condition.sense)
        return condition.sense

    @property
    def has_room(self) -> bool:
        """Return whether the device accepts one more command of this nexus
        (``max_tgt_dev_commands``).
        """
        return len(self.commands) < self.device.max_tgt_dev_commands


class Session:
    """One initiator port's session with one target."""

    acg: Gated[Acg] = Gated()
    #: The session that this one takes over from is still being closed.
    reinstating: Gated[bool] = Gated(False)

    def __init__(
        self,
        target: Target,
        acg: Acg,
        initiator_name: str,
        name: str,
        transport: Transport,
        transport_id: TransportId | None,
    ) -> None:
        self.target: Final = target
        self.acg = acg
        self.initiator_name = initiator_name
        #: Directory name in the tree: unique in the target, ``_1`` … added where needed.
        self.name = name
        self.transport = transport
        #: Identity in persistent reservations; None where the transport has none.
        self.transport_id = transport_id
        self.state = SessionState.STARTING
        self.counters = SessionCounters()
        self.latency = LatencyStatistics()
        self.tgt_devs: ObservableDict[int, TgtDev] = ObservableDict()
        #: Nexuses that were removed while their commands were executed.
        self.former: dict[TgtDev, None] = {}
        self._by_field: dict[bytes, TgtDev] = {}
        #: Commands of this session that exist now, in any phase.
        self.command_count = 0
        #: Task management functions under way; drivers add and remove them.
        self.pending_functions: list[PendingFunction] = []
        self.postponed: list[Command] = []
        #: Added to the version descriptor of the transport protocol in INQUIRY data: the protocol
        #: level that the session negotiated (RFC 7144 4.2).
        self.transport_level = 0

    def __str__(self) -> str:
        """Its name in the log."""
        return f"session {self.name} of {self.target.name}"

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return self.target.log_fields | log.initiator_fields(self.initiator_name)

    @property
    def scsi_transport_version(self) -> int:
        """Version descriptor of the SCSI transport protocol (SPC-4 table 148)."""
        return self.target.scsi_transport_version + self.transport_level

    @property
    def executes(self) -> bool:
        """Commands may be executed now."""
        return not self.reinstating

    @property
    def is_open(self) -> bool:
        """The session is not being closed."""
        return self.state is not SessionState.CLOSING

    def find(self, lun_field: bytes) -> TgtDev | None:
        """The tgt_dev for the eight bytes of a LUN field, in any addressing method."""
        tgt_dev = self._by_field.get(lun_field)
        if tgt_dev is None:
            number = scsi_lun.unpack_lun(lun_field)
            if number is not None:
                tgt_dev = self.tgt_devs.get(number)
                if tgt_dev is not None:
                    self._by_field[bytes(lun_field)] = tgt_dev
        return tgt_dev

    def all_tgt_devs(self) -> list[TgtDev]:
        """The tgt_devs, and the former ones that still have commands."""
        return [*self.tgt_devs.values(), *self.former]

    def in_lun_order(self) -> list[TgtDev]:
        """The tgt_devs in SCST's order: by hash bucket, then as they were added."""
        return [self.tgt_devs[lun] for lun in scsi_lun.report_luns_order(self.tgt_devs)]

    def attach(self, tgt_dev: TgtDev) -> None:
        """Make ``tgt_dev`` visible to the initiator."""
        self.tgt_devs[tgt_dev.lun] = tgt_dev
        self._by_field.clear()

    def detach(self, tgt_dev: TgtDev) -> None:
        """Hide ``tgt_dev`` from the initiator."""
        if self.tgt_devs.get(tgt_dev.lun) is tgt_dev:
            del self.tgt_devs[tgt_dev.lun]
        self._by_field.clear()

    def report(self, tgt_dev: TgtDev, condition: Sense) -> None:
        """Tell the initiator of ``condition``: by an asynchronous event, else a unit attention."""
        if self.state is not SessionState.READY:
            return
        if not self.target.aen_disabled:
            encoded = condition.encode(bool(tgt_dev.device.control.d_sense))
            if self.transport.report_aen(tgt_dev.packed_lun, encoded):
                return
        tgt_dev.queue_unit_attention(condition)

    def report_luns_changed(self) -> None:
        """Queue REPORTED LUNS DATA HAS CHANGED, once for the session (``aen_disabled`` does not
        matter).
        """
        if self.state is not SessionState.READY:
            return
        changed = sense.REPORTED_LUNS_CHANGED
        told = [t for t in self.in_lun_order() if t.device.type in _TOLD_OF_LUNS]
        field = told[0].packed_lun if told else bytes(8)
        encoded = changed.encode(bool(told and told[0].device.control.d_sense))
        if self.transport.report_aen(field, encoded):
            return
        for tgt_dev in told:
            tgt_dev.queue_unit_attention(changed, session_wide=True)

    def luns_were_reported(self) -> None:
        """Drop REPORTED LUNS DATA HAS CHANGED: REPORT LUNS has told the initiator."""
        for tgt_dev in self.tgt_devs.values():
            tgt_dev.unit_attentions.discard(sense.REPORTED_LUNS_CHANGED)
