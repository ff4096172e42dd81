"""One pass-through command between its initiator and a SCSI device of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.device import Answer, Completion, Job, Until
from scstfs.handlers import scsi_response_filters
from scstfs.handlers.scsi_probe import Findings, read_control
from scstfs.handlers.scsi_transfer import Comparing, Outcome, Passing, cdb_to_send
from scstfs.scsi import report_supported, sense
from scstfs.scsi.opcodes import DeviceType, Direction, Flag
from scstfs.scsi.sense import CheckCondition, Sense, SenseKey
from scstfs.scsi.status import Status

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.handlers.device_link import DeviceLink
    from scstfs.handlers.scsi_device import ScsiDevice

log = logging.getLogger(__name__)

_NOTHING: Final = memoryview(b"")

#: With these sense keys a command has not begun to move data (SPC-4 4.5.6).
_NOTHING_DONE: Final = frozenset(
    {
        SenseKey.NOT_READY,
        SenseKey.ILLEGAL_REQUEST,
        SenseKey.UNIT_ATTENTION,
        SenseKey.DATA_PROTECT,
    }
)


@dataclass(frozen=True, slots=True)
class PassThroughCommand:
    """A command that has passed the gates; ``effect`` is called if the device executes it."""

    device: ScsiDevice
    link: DeviceLink
    cmd: Command
    effect: Callable[[], None] | None = None

    def begin(self) -> Answer:
        """Let the device execute the command, or execute it here."""
        own = _OWN.get(self.cmd.parsed.op.execute)
        return self._send() if own is None else own(self)

    def _send(self) -> Answer:
        device, cmd, decoded = self.device, self.cmd, self.cmd.parsed
        reads, writes = (decoded.direction is way for way in (Direction.IN, Direction.OUT))
        if reads and not cmd.has_memory:
            return Until(cmd.when_memory, self._send)
        passing = Passing(
            self.link.node,
            decoded.op,
            cdb_to_send(decoded.op, decoded.cdb),
            device.kind.timeouts.of(decoded.flags),
            block_size=device.block_size,
            data_out=memoryview(cmd.data)[: decoded.length] if writes else _NOTHING,
            data_in=cmd.allocate(decoded.length) if reads else _NOTHING,
            is_wanted=lambda: cmd.abort is None,
        )
        return self._job(passing.run)

    def _job(self, work: Callable[[], Outcome]) -> Job:
        link = self.link
        pool = link.overtaking if self.cmd.head_of_queue else link.lanes
        return Job(work, self._done, self._failed, pool)

    def _compare_and_write(self) -> Answer:
        cmd = self.cmd
        data, half = memoryview(cmd.data), cmd.parsed.length // 2
        if len(data) < 2 * half:
            raise CheckCondition(sense.INVALID_FIELD_IN_CDB)
        timeout = self.device.kind.timeouts.of(cmd.flags)
        comparing = Comparing(
            self.link.node,
            cmd.cdb,
            timeout,
            expected=data[:half],
            replacement=data[half : 2 * half],
        )
        return self._job(comparing.run) if half else b""

    def _report_supported_tmf(self) -> Answer:
        return report_supported.report_supported_tmf(self.cmd.cdb)

    # The way back

    def _done(self, outcome: object) -> Answer:
        assert isinstance(outcome, Outcome)
        try:
            status = Status(outcome.status)
        except ValueError:
            log.warning("%s: %#x is no status", self.device, outcome.status)
            raise CheckCondition(sense.INTERNAL_TARGET_FAILURE) from None
        if status is Status.CHECK_CONDITION:
            return self._check_condition(outcome)
        completion = Completion(status, data=outcome.data)
        if not outcome.is_good:
            return completion
        code = self.cmd.cdb[0]
        after = scsi_response_filters.AFTER.get(code)
        if after is not None:
            after(self.device, self.cmd, outcome.data)
        if self.effect is not None:
            self.effect()
        if code in scsi_response_filters.CHANGING_MODES:
            return self._look_again(completion, sense.MODE_PARAMETERS_CHANGED)
        return completion

    def _check_condition(self, outcome: Outcome) -> Answer:
        device, cmd = self.device, self.cmd
        said = sense.received(outcome.sense)
        if said is None:
            raise CheckCondition(sense.INTERNAL_TARGET_FAILURE)
        data = outcome.data
        if said.key in _NOTHING_DONE:
            # Not every host adapter reports that no data came; the buffer may hold other data.
            data = data[:0]
        elif device.type is DeviceType.TAPE:
            data = data[: scsi_response_filters.tape_data_length(cmd.cdb, said, device.block_size)]
        return self._conclude(Completion(Status.CHECK_CONDITION, said, data), said)

    def _failed(self, error: BaseException) -> Answer:
        if not isinstance(error, OSError):
            raise error
        writing = bool(self.cmd.flags & Flag.WRITES_MEDIUM)
        answer = self.device.translate(error, writing=writing)
        if not isinstance(answer, CheckCondition):
            raise answer
        return self._conclude(Completion(answer.status, answer.sense), answer.sense)

    def _conclude(self, completion: Completion, said: Sense) -> Answer:
        """Handle the consequences of ``said``, the initiator's sense, if it is a unit attention."""
        if said.key is not SenseKey.UNIT_ATTENTION:
            return completion
        self.device.spread(said, told=self.cmd)
        return self._look_again(completion, said)

    def _look_again(self, completion: Completion, known: Sense) -> Answer:
        """Read the control mode page again before the command, which may have changed it, ends.

        The device may report ``known`` once more; all nexuses have been told.
        """
        device, link = self.device, self.link
        if not scsi_response_filters.may_change_modes(known) or not device.is_linked(link):
            # Without a handler the threads take no more work.
            return completion
        findings = Findings()

        def work() -> Findings:
            findings.control = read_control(link.node, findings)
            return findings

        def then(_findings: object) -> Answer:
            device.learn(findings, known)
            return completion

        # If it could not be read, the command keeps its answer.
        return Job(work, then, lambda _error: completion, link.overtaking)


#: Commands that are not passed on, by the names in the opcode table.
_OWN: Final[Mapping[str, Callable[[PassThroughCommand], Answer]]] = MappingProxyType(
    {
        "compare_and_write": PassThroughCommand._compare_and_write,
        "report_supported_tmf": PassThroughCommand._report_supported_tmf,
    }
)
