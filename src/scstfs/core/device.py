"""Devices and dev handlers: what all kinds have in common.

A handler (``handlers/NAME``) serves devices of one SCSI type; a device (``devices/NAME``) executes
commands.  How a command is executed is decided in ``scstfs.handlers``; which nexus may send it, and
when, is decided in the core.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from scstfs import log
from scstfs.aio import DiskRequest
from scstfs.core import quick
from scstfs.core.aca import Aca
from scstfs.core.device_threads import DeviceThreads
from scstfs.core.gated import Gated
from scstfs.core.nexus_times import NexusTimes
from scstfs.core.persistent import PersistentReservations
from scstfs.core.quick import Quick
from scstfs.core.taskset import TaskSet
from scstfs.core.threads import WorkerPool
from scstfs.observable import Observable, ObservableDict
from scstfs.scsi import sense
from scstfs.scsi.cdb import Decoded, OpcodeTable, opcode_table
from scstfs.scsi.control import ControlValues
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import CheckCondition, Sense
from scstfs.scsi.status import Status, TaskStatus

if TYPE_CHECKING:
    from scstfs.core.blocks import Blocks
    from scstfs.core.command import Command
    from scstfs.core.environment import Environment
    from scstfs.core.fence import Fence
    from scstfs.core.session import Session, TgtDev
    from scstfs.core.target import AcgDev, Target
    from scstfs.core.trace import TraceLog
    from scstfs.persist.unit_state import ReservedBy, UnitState
    from scstfs.scsi.alua import AccessState
    from scstfs.scsi.unit import LogicalUnit

#: Commands that one nexus may have under way at a device, unless configured otherwise.
DEFAULT_MAX_TGT_DEV_COMMANDS: Final = 64

#: Data that one command may carry (bytes): more than any initiator sends that reads the limits
#: (VPD page B0h), and little enough not to run out of memory for one that does not.
MAX_TRANSFER: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """The part of a command that may block: ``work`` runs in a worker thread.

    It may raise CheckCondition, TaskStatus or OSError, and must not touch the core's objects. Its
    result is the data-in; if ``then`` is given, it turns the result into the answer, in the event
    loop. An error of ``work``, or one that keeps it from running, ends the command; if ``failed``
    is given, it undoes what was done in advance and answers or raises, in the event loop, too.
    ``pool`` has the threads; None takes those of the nexus.
    """

    work: Callable[[], object]
    then: Callable[[object], Answer] | None = None
    failed: Callable[[BaseException], Answer] | None = None
    pool: WorkerPool | None = None


class Program(NamedTuple):
    """The part of a command that disks do: requests, begun by ``submit`` one after the other.

    ``steps`` yields them and gets the error of each, an errno or 0, when it is over.  It runs in
    the event loop, and ends as executing a command does: with what it returns, or raises.
    """

    submit: Callable[[DiskRequest], None]
    steps: Generator[DiskRequest, int, Answer]


@dataclass(frozen=True, slots=True)
class Completion:
    """How a passed-through command ended: status, sense data and data-in as they came."""

    status: Status
    sense: Sense | None = None
    data: bytes | bytearray | memoryview = b""


@dataclass(frozen=True, slots=True)
class Until:
    """The command goes on as soon as ``register`` calls what it is given, once.

    ``then`` gives its answer; without it, the command is GOOD, without data.
    """

    register: Callable[[Callable[[], None]], None]
    then: Callable[[], Answer] | None = None


class Later(enum.Enum):
    """The executor finishes later and calls ``execute.resume`` once."""

    LATER = "later"


LATER: Final = Later.LATER

#: What executing a command gives: its data-in (maybe none), the job or the disks that will, what it
#: waits for, how it ended, or LATER.
Answer: TypeAlias = "bytes | bytearray | memoryview | Job | Program | Until | Completion | Later"


#: Of devices without mode pages.
_NO_CONTROL_PAGE: Final = ControlValues()


class DevHandler(Protocol):
    """A dev handler as the core sees it."""

    @property
    def name(self) -> str:
        """Name of its directory."""

    @property
    def type(self) -> DeviceType:
        """Type of all its devices."""

    @property
    def threads_num(self) -> int:
        """Default of ``threads_num`` for its devices."""

    @property
    def max_tgt_dev_commands(self) -> int:
        """Default of ``max_tgt_dev_commands`` for its devices."""

    @property
    def trace(self) -> TraceLog:
        """Its trace categories."""


class PortGroups(Protocol):
    """The target port groups through which a device is reached (``core.alua``)."""

    def state_of(self, target: Target) -> AccessState:
        """The access state of the group that ``target`` is in."""


class Elsewhere(Protocol):
    """The holder of a reservation by RESERVE that is not connected to this node."""

    @property
    def holder(self) -> ReservedBy:
        """Its node, and what it is called there."""


class Sharing(Protocol):
    """What a device has that other nodes serve, too (``core.shared_unit``)."""

    @property
    def fence(self) -> Fence:
        """Until when commands may be executed."""

    @property
    def is_closed(self) -> bool:
        """No command starts."""

    def close_if_late(self) -> bool:
        """Close it if its time is over; return whether it is."""

    def change(self, cmd: Command, compute: Callable[[], UnitState]) -> Answer:
        """Answer ``cmd`` when all nodes have the state that ``compute`` gives."""

    def state(self) -> UnitState:
        """The present state."""

    def state_held_by(self, holder: Session | None) -> UnitState:
        """The state if ``holder`` had the reservation by RESERVE."""

    @property
    def is_atomic_here(self) -> bool:
        """Atomic commands may be executed: no other node does so."""

    def make_atomic(self, cmd: Command, then: Callable[[], Answer]) -> Answer:
        """Call ``then`` when atomic commands may be executed."""

    def release(self, session: Session) -> None:
        """The session ends: so does its reservation by RESERVE, on all nodes."""

    def reset(self, done: Callable[[], None]) -> None:
        """All nodes do a logical unit reset; call ``done`` then."""


class Device:
    """A logical unit; subclasses execute commands."""

    #: log2 of the block size in bytes; 0 where the device has no blocks.
    block_shift: Gated[int] = Gated(0)
    reserved_by: Gated[Session | Elsewhere | None] = Gated(None)
    #: What it has in cluster mode, where there is a cluster.
    shared: Gated[Sharing | None] = Gated(None)
    max_tgt_dev_commands: Gated[int] = Gated(0)
    #: Initiators may change access states.
    explicit_alua: Gated[bool] = Gated(False)
    #: The ALUA device group that it is in; ``core.alua.group_of`` has it whole.
    group: Gated[PortGroups | None] = Gated(None)
    #: The copy manager takes a LUN of the device as soon as it appears.
    in_copy_manager = False

    def __init__(self, env: Environment, name: str, kind: DeviceType) -> None:
        self.env: Final = env
        self.name = name
        self.type: Final = kind
        self.handler: DevHandler | None = None
        self.read_only = False
        self.tgt_devs: list[TgtDev] = []
        #: Nexuses that were removed while their commands were executed.
        self.former: dict[TgtDev, None] = {}
        #: How long commands of nexuses took that are gone.
        self.former_times: Final = NexusTimes()
        #: Commands that did not end well: by sense key, or else by status.
        self.outcomes: Final[Counter[str]] = Counter()
        #: LUNs under which the device is exported, by the number in ``exportN``, oldest first.
        self.exports: ObservableDict[int, AcgDev] = ObservableDict()
        self._last_export = 0
        #: Tells that attributes of the device's directory may have come or gone.
        self.rows = Observable()
        self.tasks: Final[TaskSet] = TaskSet(env.start_command, env.activity.arrivals)
        #: Of all nexuses together (TST=0).
        self.aca: Aca[Command] = Aca()
        self.pr: Final = PersistentReservations(name, self.tgt_devs)
        self.threads: Final = DeviceThreads(name, env, self.tgt_devs)
        self.numa_node_id = -1
        self.cluster_mode = False
        #: Configured file of the persistent reservations; None for the default.
        self.pr_file_name: str | None = None
        self.alive = True

    @property
    def sysfs_path(self) -> str | None:
        """Where the link ``scsi_device`` leads; None for devices that are not of this machine."""
        return None

    @property
    def blocks(self) -> int:
        """Logical blocks that can be addressed."""
        return 0

    def __str__(self) -> str:
        """Its name in the log."""
        return self.name

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return log.device_fields(self.name)

    @property
    def control(self) -> ControlValues:
        """What the control mode page says; devices without mode pages keep these values."""
        return _NO_CONTROL_PAGE

    @property
    def separate_task_sets(self) -> bool:
        """TST=1: every nexus has a task set of its own."""
        return True

    # Executing commands

    @property
    def opcodes(self) -> OpcodeTable:
        """The commands that the device understands."""
        return opcode_table(self.type)

    def decode(self, cmd: Command) -> Decoded:
        """Understand the CDB of ``cmd``; raises CheckCondition."""
        return quick.decode(cmd.tgt_dev.quick, cmd.cdb)

    def pass_on(self, cmd: Command, effect: Callable[[], None]) -> Answer:
        """Do the device's part of a command that the core executes, then call ``effect``.

        Where the device refuses, ``effect`` is not called.
        """
        effect()
        return b""

    def check_range(self, decoded: Decoded) -> None:
        """Refuse blocks that do not exist before data is transferred."""

    def check_ready(self, cmd: Command) -> None:
        """Refuse what the state of the medium does not allow; ``execute`` includes this check."""

    def check_available(self, cmd: Command) -> None:
        """Refuse nearly everything during a long operation (FORMAT UNIT, SANITIZE)."""

    def translate(self, error: OSError, *, writing: bool) -> CheckCondition | TaskStatus:
        """An error of the back end, met while ``writing`` or else reading, as its answer."""
        return CheckCondition(sense.INTERNAL_TARGET_FAILURE)

    # Copies between devices

    def describe(self) -> LogicalUnit:
        """What commands show of the device; only for those that execute copies by token."""
        raise NotImplementedError

    def identifiers(self) -> list[bytes]:
        """Designation descriptors (SPC-4 7.8.6) by which copies name the logical unit."""
        return []

    def copy_blocks(self) -> Blocks:
        """What a copy reads and writes; raises CheckCondition where that is impossible."""
        raise CheckCondition(sense.INVALID_OPCODE)

    def execute(self, cmd: Command) -> Answer:
        """Execute a command that passed all gates."""
        raise NotImplementedError

    def access_state_changed(self, state: AccessState) -> None:
        """The ALUA state of a target group through which the device is reached has changed."""

    def when_reopened(self, call: Callable[[], None]) -> None:
        """Call ``call`` when every opening that `access_state_changed` began is over."""
        call()

    @property
    def is_protected(self) -> bool:
        """The device has protection information (SBC-4 4.21), which not every target can carry."""
        return False

    def decide(self, tgt_dev: TgtDev) -> Quick:
        """What holds for READ and WRITE of a nexus.

        All that this looks at is Gated or Final (``core.gated``).
        """
        table, shift = self.opcodes, self.block_shift
        size, limit = self.blocks << shift, self.max_tgt_dev_commands
        return Quick(table, table.read_write, shift, size, limit)

    def reset(self) -> None:
        """What a logical unit reset does to the handler's own state (SAM-5 6.3.3)."""

    def nexus_ended(self, tgt_dev: TgtDev) -> None:
        """``tgt_dev`` is gone, and with it what the handler keeps for it."""

    def report_to_all(self, condition: Sense) -> None:
        """Tell every nexus of ``condition``."""
        for tgt_dev in list(self.tgt_devs):
            tgt_dev.session.report(tgt_dev, condition)

    def load_modes(self) -> None:
        """Read saved mode pages; runs in a worker thread."""

    # Bookkeeping

    def take_export_number(self) -> int:
        """The number of the next ``exportN`` link."""
        number = self._last_export
        self._last_export += 1
        return number

    def retire(self) -> None:
        """The device is being deleted: stop its background work."""

    def close(self) -> None:
        """Release all resources; no nexus is left and no command runs."""
        self.alive = False
        self.threads.close()


def fenced(device: Device | None, work: Callable[[], object]) -> Callable[[], object]:
    """``work`` of a worker thread at ``device``, which is not done after the device's deadline.

    It raises TaskStatus then.
    """
    if device is None or device.shared is None:
        return work
    return partial(device.shared.fence.run, work)
