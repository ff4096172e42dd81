"""Task management functions of a connection, from request to response (RFC 7143 4.2.3, 11.5, 11.6).

The host performs them.  Here is what concerns the protocol: which task is meant, what has to be
waited for before a function may be performed and before it may be answered.
"""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scstfs.iscsi.codes import TASK_FUNCTION_MASK, TaskFunction, TaskResponse
from scstfs.iscsi.host import TaskManagement
from scstfs.iscsi.serial import less, within
from scstfs.iscsi.task import Task

if TYPE_CHECKING:
    from scstfs.iscsi.connection import Connection
    from scstfs.iscsi.pdu import TaskManagementRequest

log = logging.getLogger(__name__)

#: Seconds to wait for data that affected tasks were asked for.  Initiators should send it, but
#: many do not once they have given a task up.
PATIENCE: Final = 2.0

_ABOUT_A_TASK: Final = frozenset({TaskFunction.ABORT_TASK, TaskFunction.QUERY_TASK})
_ABOUT_A_UNIT: Final = frozenset(
    {
        TaskFunction.ABORT_TASK_SET,
        TaskFunction.CLEAR_TASK_SET,
        TaskFunction.LOGICAL_UNIT_RESET,
    }
)
_ABOUT_ALL: Final = frozenset(
    {
        TaskFunction.TARGET_WARM_RESET,
        TaskFunction.TARGET_COLD_RESET,
        TaskFunction.I_T_NEXUS_RESET,
    }
)


@dataclass(slots=True, eq=False)
class _Pending:
    """A request that has not been answered."""

    request: TaskManagement
    is_performed: bool = False
    response: TaskResponse | None = None
    information: bytes = bytes(3)
    waits_since: float | None = None


class Functions:
    """Requests that have not been answered, oldest first."""

    def __init__(self, connection: Connection) -> None:
        # Weak, so that a connection that has ended is in no cycle and its memory free at once.
        self._connection: Connection = weakref.proxy(connection)
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, itt: int) -> bool:
        return itt in self._pending

    def add(self, pdu: TaskManagementRequest) -> None:
        """A request has come whose tag is not in use; it counts, and does nothing yet."""
        self._pending[pdu.itt] = _Pending(self._understand(pdu))

    def start(self, pdu: TaskManagementRequest) -> None:
        """The request that was added counts as received."""
        pending = self._pending[pdu.itt]
        request = pending.request
        if request.function in _ABOUT_A_TASK:
            pending.response = self._check_referenced_task(pdu, request)
        if request.function in _ABOUT_ALL:
            # What has not come by now counts as received and aborted (4.2.3.3).
            self._connection.plug(request.cmd_sn)
        if pending.response is None:
            for task in self._affected(request):
                if task.transfer is not None:
                    task.transfer.halt()
        self.go_on()

    def answer(self, itt: int, response: TaskResponse, information: bytes) -> None:
        """A function has been performed."""
        pending = self._pending.get(itt)
        if pending is None or pending.response is not None:
            return
        pending.response, pending.information = response, information
        if response is not TaskResponse.FUNCTION_COMPLETE:
            self._resume(pending.request)
        self.go_on()

    def forget(self, itt: int) -> None:
        """A request is neither performed nor answered."""
        pending = self._pending.pop(itt, None)
        if pending is not None:
            self._resume(pending.request)

    def _resume(self, request: TaskManagement) -> None:
        for task in self._affected(request):
            self._connection.resume(task)

    def clear(self) -> None:
        """Nothing is to be answered any more."""
        self._pending.clear()

    def go_on(self) -> None:
        """Commands or data have come that functions may have waited for."""
        for pending in list(self._pending.values()):
            if pending.response is None and not pending.is_performed and self._is_due(pending):
                self._perform(pending)
            if pending.response is not None and self._is_in_order(pending):
                self._send(pending, pending.response)

    def lose_patience(self, now: float) -> None:
        """Called about once a second: wait for missing data no longer than PATIENCE."""
        for pending in list(self._pending.values()):
            if pending.is_performed or pending.response is not None:
                continue
            if pending.waits_since is None:
                pending.waits_since = now
            elif now - pending.waits_since >= PATIENCE and self._is_in_order(pending):
                self._perform(pending)
        self.go_on()

    # One request

    def _understand(self, pdu: TaskManagementRequest) -> TaskManagement:
        function = pdu.flags & TASK_FUNCTION_MASK
        task = self._connection.tasks.get(pdu.referenced_task_tag)
        return TaskManagement(
            function=function,
            lun=pdu.lun,
            itt=pdu.itt,
            cmd_sn=pdu.cmd_sn,
            referenced_task_tag=pdu.referenced_task_tag,
            task=task if function in _ABOUT_A_TASK else None,
        )

    def _check_referenced_task(
        self, pdu: TaskManagementRequest, request: TaskManagement
    ) -> TaskResponse | None:
        """Answer what needs no look at the task (RFC 7143 11.5.1, 11.6.1); None to go on."""
        task = request.task
        if task is not None:
            number = request.cmd_sn if task.immediate else task.cmd_sn
            if request.lun != task.lun or pdu.ref_cmd_sn != number:
                return TaskResponse.FUNCTION_REJECTED
            return None
        if pdu.referenced_task_tag in self._pending:
            return TaskResponse.FUNCTION_REJECTED
        if request.function == TaskFunction.QUERY_TASK:
            return TaskResponse.FUNCTION_COMPLETE
        if self._was_never_answered(pdu):
            return None
        connection = self._connection
        in_window = within(pdu.ref_cmd_sn, connection.exp_cmd_sn, connection.max_cmd_sn)
        if not in_window or not less(pdu.ref_cmd_sn, request.cmd_sn):
            return TaskResponse.TASK_DOES_NOT_EXIST
        # Not received yet: it counts as received, and is ignored should it still come.
        connection.skip(pdu.ref_cmd_sn)
        return TaskResponse.FUNCTION_COMPLETE

    def _was_never_answered(self, pdu: TaskManagementRequest) -> bool:
        """The task is over, and the initiator has not been told: as good as aborted now."""
        unanswered, tag = self._connection.unanswered, pdu.referenced_task_tag
        if unanswered.has(tag, pdu.ref_cmd_sn, self._connection.exp_cmd_sn):
            return True
        return pdu.ref_cmd_sn == pdu.cmd_sn and unanswered.has_immediate(tag)

    def _affected(self, request: TaskManagement) -> list[Task]:
        """The tasks of this session that a function puts an end to."""
        if request.function in _ABOUT_ALL:
            return list(self._connection.tasks.values())
        if request.function in _ABOUT_A_UNIT:
            return [task for task in self._connection.tasks.values() if task.lun == request.lun]
        if request.function == TaskFunction.ABORT_TASK and request.task is not None:
            return [request.task]
        return []

    def _is_in_order(self, pending: _Pending) -> bool:
        """All commands that were sent before the request have come."""
        return not less(self._connection.exp_cmd_sn, pending.request.cmd_sn)

    def _is_due(self, pending: _Pending) -> bool:
        request = pending.request
        if request.function not in _ABOUT_A_UNIT and request.function not in _ABOUT_ALL:
            return True
        return self._is_in_order(pending) and not any(
            task.awaits_data for task in self._affected(request)
        )

    def _perform(self, pending: _Pending) -> None:
        pending.is_performed = True
        for task in self._affected(pending.request):
            if task.postponed is not None:
                # No answer may follow the response.
                self._connection.unanswered.add(task)
                self._connection.forget(task)
        self._connection.host.task_management(pending.request)

    def _send(self, pending: _Pending, response: TaskResponse) -> None:
        itt = pending.request.itt
        if self._pending.get(itt) is pending:
            del self._pending[itt]
            self._connection.open_window()
            self._connection.send_task_management_response(itt, response, pending.information)
