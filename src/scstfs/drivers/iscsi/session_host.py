"""The host of a normal session's connection: it executes commands (``scstfs.iscsi.host``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core import execute, task_management
from scstfs.core.completion import finish
from scstfs.drivers.iscsi import disk_io, fast, tmf
from scstfs.drivers.iscsi.iscsi_command import IscsiCommand
from scstfs.drivers.iscsi.memory_queue import MemoryQueue
from scstfs.iscsi import codes
from scstfs.iscsi.discovery import answer_text
from scstfs.iscsi.negotiate import Negotiation
from scstfs.iscsi.task import IscsiTask
from scstfs.iscsi.transfer import TaskFault, Transfer
from scstfs.iscsi.transmit import CHUNK_DATA
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition, Sense, SenseKey
from scstfs.scsi.status import Status

if TYPE_CHECKING:
    from scstfs.core.session import TgtDev
    from scstfs.drivers.iscsi.disk_io import DiskCommand
    from scstfs.drivers.iscsi.nexus import Nexus
    from scstfs.iscsi.connection import Connection
    from scstfs.iscsi.negotiate import SessionParameters
    from scstfs.iscsi.task import ManagementFunction
    from scstfs.scsi.cdb import Decoded

#: Most bytes of a parameter list, or of any data other than blocks, that a command may bring.
_LONGEST_DATA_OUT: Final = 64 << 20

_FAULTS: Final = {
    fault: Sense(SenseKey(fault.value[0]), *fault.value[1:]) for fault in TaskFault if fault.value
}


class SessionHost:
    """Takes commands, task management and text for a session, as long as it exists."""

    def __init__(self, nexus: Nexus) -> None:
        self._nexus = nexus
        #: Memory for data.
        self.buffers = nexus.target.iscsi_driver.env.buffers
        #: READs that wait for memory.
        self.starving = MemoryQueue(nexus.target.iscsi_driver.env.completions)
        #: What disks have done and is to be answered.
        self._from_disk: list[DiskCommand] = []

    def agree(self, parameters: SessionParameters) -> None:
        """Use these parameters from now on."""
        self._parameters = parameters
        #: Data that fits into one Data-In PDU and is worth copying into the send buffer (bytes).
        self.segment = min(
            parameters.max_xmit_data_segment_length, parameters.max_burst_length, CHUNK_DATA
        )
        #: Data that may come with a command (bytes).
        immediate = min(parameters.first_burst_length, parameters.max_recv_data_segment_length)
        self._immediate = immediate if parameters.immediate_data else 0

    # Commands

    def fast(self, connection: Connection) -> None:
        """Answer READs and WRITEs that pass all gates and need not wait."""
        fast.answer(
            connection,
            self._nexus.core,
            self._nexus.wire.batches,
            self.segment,
            self._immediate,
            self._begin_write,
            self.allocate,
            partial(disk_io.begin, self._nexus),
        )

    def _begin_write(
        self, tgt_dev: TgtDev, decoded: Decoded, itt: int, lun: bytes, flags: int, data: memoryview
    ) -> bool:
        """Begin a WRITE of which only ``data`` has arrived, and request the rest."""
        connection, length = self._nexus.connection, decoded.length
        if connection is None:
            return False
        task = IscsiTask(
            connection.tasks,
            itt=itt,
            lun=lun,
            cdb=decoded.cdb,
            attribute=flags & codes.COMMAND_ATTRIBUTE_MASK,
            reads=False,
            writes=True,
            expected=length,
            cmd_sn=connection.window.exp_cmd_sn,
            immediate=False,
        )
        try:
            memory, release = self.allocate(length)
        except MemoryError:
            return False
        task.owner = cmd = IscsiCommand(self._nexus, task)
        execute.prepare_decoded(cmd, tgt_dev, decoded)
        transfer = Transfer(
            first_burst=min(self._parameters.first_burst_length, length),
            unsolicited=False,
            in_order=bool(self._parameters.data_pdu_in_order),
        )
        transfer.open(memory, release)
        connection.tasks.solicit(task, transfer, data)
        return True

    def end_soon(self, cmd: DiskCommand) -> None:
        """Answer ``cmd`` with others that a disk has done."""
        self._from_disk.append(cmd)
        if len(self._from_disk) == 1:
            self._nexus.wire.flusher.call_at_end(self.answer_ended)

    def answer_ended(self) -> None:
        """Answer what a disk has done, before anything that ends later."""
        if self._from_disk:
            ended, self._from_disk = self._from_disk, []
            disk_io.end(self._nexus, ended)

    def command(self, task: IscsiTask) -> int:
        """Begin a command; return how many bytes of write data it needs."""
        cmd = IscsiCommand(self._nexus, task)
        task.owner = cmd
        execute.prepare(cmd)
        if cmd.data_out_length > _LONGEST_DATA_OUT:
            finish(cmd, Status.CHECK_CONDITION, CheckCondition(sense.INVALID_FIELD_IN_CDB))
        return cmd.data_out_length

    def data_complete(self, task: IscsiTask) -> None:
        """Execute a command whose write data has arrived."""
        cmd = _command_of(task)
        if task.transfer is not None:
            cmd.data = task.transfer.buffer
        execute.run(cmd)

    def refuse(self, task: IscsiTask, fault: TaskFault) -> None:
        """End a command whose write data has a fault."""
        if task.owner is None:
            self.command(task)
        condition = _FAULTS.get(fault)
        if condition is None:
            finish(_command_of(task), Status.BUSY)
        else:
            finish(_command_of(task), Status.CHECK_CONDITION, CheckCondition(condition))

    def allocate(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        """Pooled memory for write data; raises MemoryError."""
        try:
            buffer = self.buffers.get(size)
        except OSError as error:
            raise MemoryError from error
        return buffer.view, buffer.release

    # Everything else

    def task_management(self, function: ManagementFunction) -> None:
        """Perform a task management function; it is answered when its effect is complete."""
        if self._nexus.connection is not None:
            tmf.perform(self._nexus, self._nexus.connection.functions, function)

    def negotiate(self) -> _SessionText:
        """SendTargets and negotiation in full-feature phase."""
        return _SessionText(self._nexus)

    def logout(self, done: Callable[[], None]) -> None:
        """End the commands; the connection is closed after the answer, and the session with it."""
        nexus, wire = self._nexus, self._nexus.wire

        def ended() -> None:
            if nexus.is_open and nexus.wire is wire:
                done()
                wire.rouse()

        task_management.nexus_loss(nexus.core, ended)


def _command_of(task: IscsiTask) -> IscsiCommand:
    assert isinstance(task.owner, IscsiCommand)
    return task.owner


class _SessionText:
    """See ``scstfs.iscsi.host.TextNegotiation``."""

    def __init__(self, nexus: Nexus) -> None:
        self._nexus = nexus
        self._negotiation = Negotiation(nexus.target.parameters, agreed=nexus.parameters)

    def answer(self, text: bytes) -> bytes:
        """See TextNegotiation."""
        nexus = self._nexus
        discover = partial(nexus.access.discover, nexus.wire, nexus.initiator)
        return answer_text(text, self._negotiation, nexus.target.name, discover)

    def conclude(self) -> None:
        """See TextNegotiation."""
        self._nexus.agree(self._negotiation.result())
