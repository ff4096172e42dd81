"""Task management functions of iSCSI sessions (RFC 7143 11.5, RFC 7144 6.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from scstfs.core import task_management
from scstfs.core.session import PendingFunction, TgtDev
from scstfs.core.statistics import FUNCTIONS
from scstfs.drivers.iscsi.iscsi_command import IscsiCommand
from scstfs.iscsi.codes import TaskFunction, TaskResponse
from scstfs.iscsi.task import NO_INFORMATION
from scstfs.scsi.lun import unpack_lun

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.nexus import Nexus
    from scstfs.iscsi.functions import Functions
    from scstfs.iscsi.task import ManagementFunction


class IscsiFunction(PendingFunction):
    """A function that a session performs; ``trace_mcmds`` shows it until it is answered."""

    __slots__ = ("_functions", "nexus", "received")

    def __init__(self, nexus: Nexus, functions: Functions, received: ManagementFunction) -> None:
        """``received`` is one of ``functions``, which sends the response."""
        super().__init__(
            _NAMES.get(received.code, str(received.code)),
            unpack_lun(received.lun) or 0,
            received.referenced_task_tag,
            sum(len(tgt_dev.commands) for tgt_dev in nexus.core.tgt_devs.values()),
        )
        self.nexus = nexus
        self.received = received
        self._functions = functions
        nexus.core.pending_functions.append(self)
        statistics = nexus.target.env.statistics
        statistics.counts[FUNCTIONS][self.function.lower()] += 1
        statistics.note(
            "task_management",
            f"{self.function} of {nexus.initiator}, LUN {self.lun}",
            target=nexus.target.name,
            initiator=nexus.initiator,
        )
        nexus.target.iscsi_driver.trace.event(
            "mgmt", "%s: %s, LUN %d, tag %d", nexus, self.function, self.lun, self.tag
        )

    def perform(self) -> None:
        """Begin; the response is sent when the effect is complete."""
        nexus, received = self.nexus, self.received
        if nexus.core.acg.black_hole.swallows_task_management:
            nexus.core.pending_functions.remove(self)
            self._functions.forget(received.itt)
        elif received.is_understood:
            _HANDLERS[received.code](self)
        else:
            self.answer(TaskResponse.FUNCTION_REJECTED)

    def answer(self, response: TaskResponse, information: bytes = NO_INFORMATION) -> None:
        """Send the response, on the connection of the request."""
        self.nexus.core.pending_functions.remove(self)
        self._functions.answer(self.received.itt, response, information)
        self.nexus.mark()

    def complete(self) -> None:
        """The function has been performed."""
        self.answer(TaskResponse.FUNCTION_COMPLETE)

    @property
    def tgt_dev(self) -> TgtDev | None:
        """The I_T_L nexus of the request's LUN field."""
        return self.nexus.core.find(self.received.lun)


def _abort_task(function: IscsiFunction) -> None:
    task = function.received.task
    if task is None or not isinstance(task.owner, IscsiCommand):
        function.complete()
    else:
        task_management.abort_task(task.owner, function.complete)


def _query_task(function: IscsiFunction) -> None:
    function.answer(TaskResponse.FUNCTION_SUCCEEDED)


def _of_lun(perform: Callable[[IscsiFunction, TgtDev], None]) -> Callable[[IscsiFunction], None]:
    """Begin a function for one logical unit."""

    def handle(function: IscsiFunction) -> None:
        tgt_dev = function.tgt_dev
        if tgt_dev is None:
            function.answer(TaskResponse.LUN_DOES_NOT_EXIST)
        else:
            perform(function, tgt_dev)

    return handle


def _abort_task_set(function: IscsiFunction, tgt_dev: TgtDev) -> None:
    task_management.abort_task_set(tgt_dev, function.complete)


def _clear_task_set(function: IscsiFunction, tgt_dev: TgtDev) -> None:
    task_management.clear_task_set(tgt_dev, function.complete)


def _logical_unit_reset(function: IscsiFunction, tgt_dev: TgtDev) -> None:
    task_management.logical_unit_reset(tgt_dev, function.complete)


def _clear_aca(function: IscsiFunction, tgt_dev: TgtDev) -> None:
    if not task_management.clear_aca(tgt_dev, function.complete):
        # Only the nexus that has the condition may clear it (SAM-5 7.4).
        function.answer(TaskResponse.FUNCTION_REJECTED)


def _query_task_set(function: IscsiFunction, tgt_dev: TgtDev) -> None:
    if tgt_dev.commands:
        function.answer(TaskResponse.FUNCTION_SUCCEEDED)
    else:
        function.complete()


def _query_asynchronous_event(function: IscsiFunction, tgt_dev: TgtDev) -> None:
    """Report the first pending unit attention, and whether it is the only one (SAM-5 7.10)."""
    pending = [unit_attention.sense for unit_attention in tgt_dev.unit_attentions]
    if not pending:
        function.complete()
        return
    depth = _ONE if len(pending) == 1 else _MORE_THAN_ONE
    key, asc, ascq = pending[0].triple
    information = bytes((depth << 4 | key, asc, ascq))
    function.answer(TaskResponse.FUNCTION_SUCCEEDED, information)


def _target_warm_reset(function: IscsiFunction) -> None:
    task_management.target_reset(function.nexus.core, function.complete)


def _target_cold_reset(function: IscsiFunction) -> None:
    def done() -> None:
        function.complete()
        nexus = function.nexus
        nexus.wire.flush()
        for other in nexus.of_the_target():
            other.disconnect("TARGET COLD RESET")

    task_management.target_reset(function.nexus.core, done)


def _i_t_nexus_reset(function: IscsiFunction) -> None:
    """The session ends, and with it the nexus (RFC 7144 6.3)."""

    def done() -> None:
        function.complete()
        function.nexus.wire.flush()
        function.nexus.disconnect("I_T NEXUS RESET")

    task_management.nexus_loss(function.nexus.core, done)


def _task_reassign(function: IscsiFunction) -> None:
    function.answer(TaskResponse.REASSIGNMENT_NOT_SUPPORTED)


_Handler: TypeAlias = Callable[[IscsiFunction], None]

_HANDLERS: Final[dict[int, _Handler]] = {
    TaskFunction.ABORT_TASK: _abort_task,
    TaskFunction.ABORT_TASK_SET: _of_lun(_abort_task_set),
    TaskFunction.CLEAR_ACA: _of_lun(_clear_aca),
    TaskFunction.CLEAR_TASK_SET: _of_lun(_clear_task_set),
    TaskFunction.LOGICAL_UNIT_RESET: _of_lun(_logical_unit_reset),
    TaskFunction.TARGET_WARM_RESET: _target_warm_reset,
    TaskFunction.TARGET_COLD_RESET: _target_cold_reset,
    TaskFunction.TASK_REASSIGN: _task_reassign,
    TaskFunction.QUERY_TASK: _query_task,
    TaskFunction.QUERY_TASK_SET: _of_lun(_query_task_set),
    TaskFunction.I_T_NEXUS_RESET: _i_t_nexus_reset,
    TaskFunction.QUERY_ASYNCHRONOUS_EVENT: _of_lun(_query_asynchronous_event),
}

#: The names in ``trace_mcmds``.
_NAMES: Final[dict[int, str]] = {
    **{function: function.name for function in TaskFunction},
    TaskFunction.LOGICAL_UNIT_RESET: "LUN_RESET",
    TaskFunction.TARGET_WARM_RESET: "TARGET_RESET",
    TaskFunction.TARGET_COLD_RESET: "TARGET_RESET",
}

#: UADE DEPTH of QUERY ASYNCHRONOUS EVENT.
_ONE: Final = 1
_MORE_THAN_ONE: Final = 2


def perform(nexus: Nexus, functions: Functions, received: ManagementFunction) -> None:
    """Perform a task management function that came over a connection with these ``functions``."""
    IscsiFunction(nexus, functions, received).perform()
