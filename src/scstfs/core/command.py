"""A SCSI command on its way through the core.

A driver makes one for each command that its fast path does not finish on the spot::

    cmd = IscsiCommand(...)            # a subclass that knows how to answer
    execute.prepare(cmd)               # finds the LUN, decodes the CDB, may refuse
    ... data-out arrives in cmd.data ...
    execute.run(cmd)                   # ends in cmd.reply(), now or later, exactly once

The core sets ``status``, ``sense`` and ``data_in`` before it calls ``reply``.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from scstfs.core.taskset import EVERYTHING, Claim, TaskAttribute, TaskSet
from scstfs.scsi.cdb import Decoded, naca
from scstfs.scsi.opcodes import NO_FLAGS, Direction, Flag
from scstfs.scsi.status import Status

if TYPE_CHECKING:
    from scstfs.aio import DiskRequest
    from scstfs.core.device import Device
    from scstfs.core.session import Session, TgtDev

Data: TypeAlias = bytes | bytearray | memoryview

#: Units of 100 ns in a second.
_UNITS: Final = 10_000_000


class Phase(enum.Enum):
    """Where a command is, in the words of ``trace_cmds``."""

    INIT = "INIT"
    DATA_WAIT = "DATA_WAIT"
    BLOCKED = "EXEC_CHECK_BLOCKING"
    #: Kept from starting by an ACA condition.
    DEFERRED = "EXEC_CHECK_SN"
    EXECUTING = "EXEC_WAIT"
    #: Waits for the end of something that runs elsewhere.
    HELD = "PRE_XMIT_RESP"
    #: Kept from completing by an ACA condition, or until what its end aborts has ended.
    ANSWERED = "PRE_XMIT_RESP2"
    DONE = "FINISHED"


class Abort(enum.Enum):
    """How an aborted command is answered (SAM-5 5.6)."""

    SILENT = "no answer is sent"
    TASK_ABORTED = "status TASK ABORTED is sent"


class Command:
    """One command of one session; see the module's text for its life."""

    __slots__ = (
        "_device",
        "_entered",
        "_tgt_dev",
        "abort",
        "attribute",
        "began",
        "cdb",
        "data",
        "data_in",
        "decoded",
        "descriptors",
        "ended_calls",
        "executing_since",
        "expected_direction",
        "expected_length",
        "flags",
        "listed_claims",
        "lun",
        "phase",
        "request",
        "retried",
        "sense",
        "session",
        "spans",
        "status",
        "tag",
    )

    def __init__(
        self,
        session: Session,
        lun: bytes,
        cdb: bytes,
        tag: int = 0,
        attribute: TaskAttribute = TaskAttribute.SIMPLE,
        expected_direction: Direction = Direction.NONE,
        expected_length: int = 0,
    ) -> None:
        self.session = session
        #: The eight bytes of the LUN field, as the initiator sent them (SAM-5 4.7).
        self.lun = lun
        self.cdb = cdb
        self.tag = tag
        self.attribute = attribute
        self.expected_direction = expected_direction
        #: Bytes that the initiator means to transfer.
        self.expected_length = expected_length
        self._tgt_dev: TgtDev | None = None
        self._device: Device | None = None
        self.decoded: Decoded | None = None
        self.flags = NO_FLAGS
        #: Data-out, set by the driver before ``run``: what the CDB asks for, or what there was.
        self.data: Data = b""
        self.data_in: Data = b""
        #: None until the command is over, and afterwards if no answer is sent.
        self.status: Status | None = None
        self.sense = b""
        self.phase = Phase.INIT
        #: What a disk does for it now.
        self.request: DiskRequest | None = None
        self.abort: Abort | None = None
        self.ended_calls: list[Callable[[], None]] = []
        #: Delayed once already because of the ALUA state transitioning.
        self.retried = False
        #: The decoded parameter list, of commands that are decoded before they wait for their turn.
        self.descriptors: object = None
        #: The blocks that a command with descriptors touches, possibly on other devices.
        self.listed_claims: tuple[tuple[TaskSet, Claim], ...] | None = None
        #: When the command arrived, and when the back end got it, or 0 (seconds, monotonic clock).
        self.began = time.monotonic()
        self.executing_since = 0.0
        #: While latencies are measured, when it came into its phase.
        self._entered = self.began
        #: Time spent in each phase (100 ns), while latencies are measured.
        self.spans: list[tuple[str, int]] | None = None

    @property
    def is_over(self) -> bool:
        """The answer is given; the command has no more effect."""
        return self.phase is Phase.DONE

    @property
    def has_answer(self) -> bool:
        """The answer is decided, though it may not have been given yet."""
        return self.phase is Phase.DONE or self.phase is Phase.ANSWERED

    @property
    def naca(self) -> bool:
        """The NACA bit: CHECK CONDITION establishes an ACA condition (SAM-5 5.2)."""
        return naca(self.cdb)

    @property
    def age(self) -> float:
        """Seconds since the command arrived."""
        return time.monotonic() - self.began

    def enter(self, phase: Phase) -> None:
        """Enter ``phase``."""
        if self.spans is not None:
            now = time.monotonic()
            self.spans.append((self.phase.value, round((now - self._entered) * _UNITS)))
            self._entered = now
        if phase is Phase.EXECUTING:
            self.executing_since = time.monotonic()
        self.phase = phase

    @property
    def tgt_dev(self) -> TgtDev:
        """The nexus; only commands for an existing LUN have one."""
        assert self._tgt_dev is not None
        return self._tgt_dev

    @property
    def device(self) -> Device:
        """The device; only commands for an existing LUN have one."""
        assert self._device is not None
        return self._device

    @property
    def has_device(self) -> bool:
        """The command is for a LUN that exists."""
        return self._device is not None

    def attach(self, tgt_dev: TgtDev) -> None:
        """The LUN exists and this is its nexus."""
        self._tgt_dev = tgt_dev
        self._device = tgt_dev.device
        if tgt_dev.device.env.measure_latency:
            self.spans = []

    @property
    def parsed(self) -> Decoded:
        """The decoded CDB; only commands that were not refused at once have one."""
        assert self.decoded is not None
        return self.decoded

    @property
    def data_out_length(self) -> int:
        """Bytes of data-out that the driver has to fetch before ``run``."""
        if self.has_answer or self.decoded is None:
            return 0
        return self.decoded.length if self.decoded.direction is Direction.OUT else 0

    @property
    def head_of_queue(self) -> bool:
        """It overtakes waiting commands: by its task attribute or by its opcode."""
        return self.attribute is TaskAttribute.HEAD_OF_QUEUE or bool(
            self.flags & Flag.IMPLICIT_HEAD_OF_QUEUE
        )

    @property
    def alone(self) -> bool:
        """Nothing else may start on the device while it runs."""
        return self.attribute is TaskAttribute.ORDERED or bool(self.flags & Flag.SERIALIZED)

    @property
    def waits_for_others(self) -> bool:
        """It may start only when nothing else runs on the device."""
        return self.attribute is TaskAttribute.ORDERED or bool(
            self.flags & Flag.STRICTLY_SERIALIZED
        )

    @property
    def exclusive(self) -> bool:
        """No other command may write its blocks meanwhile."""
        if self.listed_claims:
            return any(claim.exclusive for _, claim in self.listed_claims)
        return bool(self.flags & Flag.ATOMIC)

    def claims(self) -> tuple[tuple[TaskSet, Claim], ...]:
        """The blocks that it touches, each with the task set of their device."""
        if self.listed_claims is not None:
            return self.listed_claims
        decoded, device = self.parsed, self.device
        writes, exclusive = self.flags & Flag.WRITES_MEDIUM, self.flags & Flag.ATOMIC
        if decoded.lba is not None:
            end = decoded.lba + (decoded.data_length >> device.block_shift)
            claim = Claim(decoded.lba, end, bool(writes), bool(exclusive))
        elif writes:
            claim = EVERYTHING
        else:
            return ()
        return ((device.tasks, claim),)

    def call_when_ended(self, call: Callable[[], None]) -> None:
        """Call ``call`` when the command is over and can have no more effect."""
        self.ended_calls.append(call)

    def allocate(self, size: int) -> memoryview:
        """A buffer for ``size`` bytes of data-in.

        Drivers override this, so that the data is read into memory that can be sent from.
        """
        return memoryview(bytearray(size))

    @property
    def has_memory(self) -> bool:
        """``allocate`` may be called now, not only ``when_memory`` says so."""
        return True

    def when_memory(self, call: Callable[[], None]) -> None:
        """Call ``call`` when there is memory for data-in, or the command is aborted."""
        raise NotImplementedError

    def stop_waiting_for_memory(self) -> None:
        """The command was aborted: have what ``when_memory`` got called soon."""

    def reply(self) -> None:
        """Send the answer: ``status``, ``sense``, ``data_in``; nothing if ``status`` is None."""
        raise NotImplementedError

    def cancel_transfer(self) -> None:
        """Stop waiting for data-out: the command was aborted while its data was on the way."""
        raise NotImplementedError
