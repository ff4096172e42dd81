"""Task management functions of a connection, from request to response (RFC 7143 4.2.3, 11.5, 11.6).

The host performs them. This module does the protocol's part: which task is meant, and what to wait
for before a function may be performed and before it may be answered.
"""

from __future__ import annotations

from typing import Final

from scstfs.iscsi.codes import (
    IMMEDIATE,
    LEVEL_2,
    NEED_LEVEL_2,
    REFER_TO_A_TASK,
    RESERVED_TAG,
    TASK_FUNCTION_MASK,
    TaskFunction,
    TaskResponse,
)
from scstfs.iscsi.host import Host
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.pdu import TaskManagementRequest, unpack_task_management_request
from scstfs.iscsi.replies import Replies
from scstfs.iscsi.requests import Request
from scstfs.iscsi.serial import less, within
from scstfs.iscsi.task import NO_INFORMATION, IscsiTask, ManagementFunction
from scstfs.iscsi.task_table import TaskTable
from scstfs.iscsi.window import Window

#: Seconds to wait for data that affected tasks were asked for.  Initiators should send it, but many
#: do not after they abort a task.
PATIENCE: Final = 2.0

_KNOWN: Final = frozenset(TaskFunction)
#: Functions whose task is looked up. TASK REASSIGN is always refused, because ErrorRecoveryLevel is
#: 0.
_ABOUT_A_TASK: Final = REFER_TO_A_TASK - {TaskFunction.TASK_REASSIGN}
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


class Functions:
    """Functions that have not been answered, oldest first."""

    def __init__(
        self,
        pending: dict[int, ManagementFunction],
        host: Host,
        parameters: SessionParameters,
        window: Window,
        replies: Replies,
        tasks: TaskTable,
    ) -> None:
        """``pending`` is where the functions are kept, by Initiator Task Tag."""
        self._pending = pending
        self._host = host
        self._protocol_level = parameters.protocol_level
        self._window = window
        self._replies = replies
        self._tasks = tasks

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, itt: int) -> bool:
        return itt in self._pending

    def receive(self, request: Request) -> None:
        """Begin a function (RFC 7143 11.5); raises Rejected."""
        received = unpack_task_management_request(request.header, request.at)
        is_immediate = bool(received.opcode & IMMEDIATE)
        self._window.check_tag(received.itt, self._pending, is_immediate=is_immediate)
        self._pending[received.itt] = function = self._understand(received)
        self._window.accept(is_immediate=is_immediate)
        self._start(function, received)

    def _start(self, function: ManagementFunction, received: TaskManagementRequest) -> None:
        if not function.is_understood:
            self._perform(function)
            return
        if function.code in _ABOUT_A_TASK:
            function.response = self._check_referenced_task(received, function)
        if function.code in _ABOUT_ALL:
            # Commands that have not arrived by now count as received and aborted (4.2.3.3).
            for missing in self._window.plug(function.cmd_sn):
                self._tasks.unanswered.add_missing(missing)
        if function.response is None:
            for task in self._affected(function):
                if task.transfer is not None:
                    task.transfer.halt()
        self.go_on()

    def answer(self, itt: int, response: TaskResponse, information: bytes = NO_INFORMATION) -> None:
        """The host has performed a function."""
        function = self._pending.get(itt)
        if function is None or function.response is not None:
            return
        function.response, function.information = response, information
        if response is not TaskResponse.FUNCTION_COMPLETE:
            self._resume(function)
        self.go_on()

    def forget(self, itt: int) -> None:
        """Drop a function that the host will not answer."""
        function = self._pending.pop(itt, None)
        if function is not None:
            self._resume(function)
        self._window.open()

    def _resume(self, function: ManagementFunction) -> None:
        for task in self._affected(function):
            self._tasks.resume(task)

    def clear(self) -> None:
        """Drop all functions: the connection is gone."""
        self._pending.clear()

    def go_on(self) -> None:
        """Continue functions that may have waited for commands or data that have arrived."""
        for function in list(self._pending.values()):
            if function.response is None and not function.is_performed and self._is_due(function):
                self._perform(function)
            if function.response is not None and self._is_in_order(function):
                self._send(function, function.response)

    def lose_patience(self, now: float) -> None:
        """Called about once a second: wait for missing data no longer than PATIENCE."""
        for function in list(self._pending.values()):
            if function.is_performed or function.response is not None:
                continue
            if function.waits_since is None:
                function.waits_since = now
            elif now - function.waits_since >= PATIENCE and self._is_in_order(function):
                self._perform(function)
        self.go_on()

    # One function

    def _understand(self, received: TaskManagementRequest) -> ManagementFunction:
        code, tag = received.flags & TASK_FUNCTION_MASK, received.referenced_task_tag
        return ManagementFunction(
            code=code,
            lun=received.lun,
            itt=received.itt,
            cmd_sn=received.cmd_sn,
            referenced_task_tag=tag,
            task=self._tasks.by_tag.get(tag) if code in _ABOUT_A_TASK else None,
            is_understood=self._is_understood(code, tag),
        )

    def _is_understood(self, code: int, tag: int) -> bool:
        if code not in _KNOWN or (code in NEED_LEVEL_2 and self._protocol_level < LEVEL_2):
            return False
        return tag == RESERVED_TAG or code in REFER_TO_A_TASK

    def _check_referenced_task(
        self, received: TaskManagementRequest, function: ManagementFunction
    ) -> TaskResponse | None:
        """The response that needs no look-up of the task (RFC 7143 11.5.1, 11.6.1); None if none
        does.
        """
        task, ref_cmd_sn = function.task, received.ref_cmd_sn
        if task is not None:
            number = function.cmd_sn if task.immediate else task.cmd_sn
            if function.lun != task.lun or ref_cmd_sn != number:
                return TaskResponse.FUNCTION_REJECTED
            return None
        if function.referenced_task_tag in self._pending:
            return TaskResponse.FUNCTION_REJECTED
        if function.code == TaskFunction.QUERY_TASK:
            return TaskResponse.FUNCTION_COMPLETE
        if self._was_never_answered(received):
            return None
        window = self._window
        in_window = within(ref_cmd_sn, window.exp_cmd_sn, window.max_cmd_sn)
        if not in_window or not less(ref_cmd_sn, function.cmd_sn):
            return TaskResponse.TASK_DOES_NOT_EXIST
        # Not received yet: it counts as received, and is ignored if it still arrives.
        self._tasks.unanswered.add_missing(ref_cmd_sn)
        window.skip(ref_cmd_sn)
        return TaskResponse.FUNCTION_COMPLETE

    def _was_never_answered(self, received: TaskManagementRequest) -> bool:
        """Return whether the task ended without an answer, which counts as aborted now."""
        unanswered, tag = self._tasks.unanswered, received.referenced_task_tag
        if unanswered.has(tag, received.ref_cmd_sn, self._window.exp_cmd_sn):
            return True
        return received.ref_cmd_sn == received.cmd_sn and unanswered.has_immediate(tag)

    def _affected(self, function: ManagementFunction) -> list[IscsiTask]:
        """The tasks of this session that a function aborts."""
        if not function.is_understood:
            return []
        tasks = self._tasks.by_tag.values()
        if function.code in _ABOUT_ALL:
            return list(tasks)
        if function.code in _ABOUT_A_UNIT:
            return [task for task in tasks if task.lun == function.lun]
        if function.code == TaskFunction.ABORT_TASK and function.task is not None:
            return [function.task]
        return []

    def _is_in_order(self, function: ManagementFunction) -> bool:
        """Return whether all commands sent before the request have arrived."""
        return not less(self._window.exp_cmd_sn, function.cmd_sn)

    def _is_due(self, function: ManagementFunction) -> bool:
        if function.code not in _ABOUT_A_UNIT and function.code not in _ABOUT_ALL:
            return True
        return self._is_in_order(function) and not any(
            task.awaits_data for task in self._affected(function)
        )

    def _perform(self, function: ManagementFunction) -> None:
        function.is_performed = True
        for task in self._affected(function):
            if task.postponed is not None:
                # No answer may follow the response.
                self._tasks.unanswered.add(task)
                self._tasks.forget(task)
        self._host.task_management(function)

    def _send(self, function: ManagementFunction, response: TaskResponse) -> None:
        itt = function.itt
        if self._pending.get(itt) is function:
            del self._pending[itt]
            self._window.open()
            self._replies.task_management_response(itt, response, function.information)
