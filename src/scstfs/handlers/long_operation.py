"""FORMAT UNIT and SANITIZE: operations during which a device does nothing else (SBC-4 4.11, 5.4).

They run in the background whether the command waits for them (IMMED is 0) or not. An abort or a
reset ends the command, not the operation. Other commands are told its progress. The operation ends
with the daemon: afterwards the device is as if it had not been requested, except for the blocks
that it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from scstfs.core import execute
from scstfs.core.command import Command, Phase
from scstfs.core.device import LATER, Answer, fenced
from scstfs.core.operation import Operation, Steps, Stopped
from scstfs.core.taskset import EVERYTHING
from scstfs.scsi import sense
from scstfs.scsi.opcodes import Flag
from scstfs.scsi.sense import CheckCondition, Progress, Sense

if TYPE_CHECKING:
    from scstfs.handlers.vdisk import VdiskDevice

log = logging.getLogger(__name__)

#: Progress is counted in parts of this many.
_PARTS: Final = 1 << 16

#: A blocking function, and how much of the total is done when it returns.
BlockingStep = tuple[Callable[[], object], int]


class LongOperation:
    """A long operation: ``total`` units of work, of which ``done`` are done."""

    def __init__(
        self,
        device: VdiskDevice,
        name: str,
        condition: Sense,
        leaves: Flag,
        steps: Iterator[BlockingStep],
        total: int,
        ended: Callable[[BaseException | None], BaseException | None],
    ) -> None:
        """``condition`` is the sense for commands that have none of the flags ``leaves``.

        ``ended`` is called with the error, or None, when the device is free again; it returns the
        error for the initiator.
        """
        self.device = device
        self.leaves = leaves
        self._name = name
        self._condition = condition
        self._steps = steps
        self._total = max(total, 1)
        self._done = 0
        self._ended = ended
        self._command: Command | None = None
        self._hold = device.tasks.hold(in_background=True)
        self._operation = Operation(device.env.threads, self._run(), self._end)

    @property
    def condition(self) -> Sense:
        """The condition with the progress indication."""
        done = min(self._done * _PARTS // self._total, _PARTS - 1)
        return replace(self._condition, specific=Progress(done))

    def begin(self, cmd: Command, *, immediate: bool) -> Answer:
        """Start on behalf of ``cmd``, which waits for the end unless ``immediate``."""
        device = self.device
        device.busy = self
        device.tasks.watchers.tell(EVERYTHING)
        if not immediate:
            self._command = cmd
            # Not "executing": the command can be aborted while this continues.
            cmd.enter(Phase.HELD)
        self._operation.start()
        return b"" if immediate else LATER

    def stop(self) -> None:
        """End as soon as possible."""
        self._operation.stop()

    def _run(self) -> Steps:
        for work, size in self._steps:
            yield fenced(self.device, work)
            self._done += size

    def _end(self, error: BaseException | None) -> None:
        device = self.device
        device.busy = None
        if error is not None and not isinstance(error, Stopped):
            log.error("%s: %s failed: %s", device, self._name, error)
        reported = self._ended(error)
        if self._command is not None:
            execute.resume(self._command, lambda: _outcome(reported))
        device.tasks.release(self._hold)


def _outcome(error: BaseException | None) -> Answer:
    if isinstance(error, Stopped):
        raise CheckCondition(sense.ABORTED)
    if error is not None:
        raise error
    return b""
