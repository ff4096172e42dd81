"""SCSI tasks of a connection in full-feature phase, and task management functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scstfs.iscsi.codes import TaskResponse
from scstfs.iscsi.transfer import Transfer

if TYPE_CHECKING:
    from scstfs.iscsi.task_table import TaskTable

#: Additional response information that says nothing.
NO_INFORMATION: Final = bytes(3)


@dataclass(slots=True)
class Reply:
    """The reply that ends a task."""

    status: int
    sense: bytes = b""
    data: memoryview | None = None
    """Data-in; stays in use until ``release`` is called."""
    release: Callable[[], None] | None = None
    residual: int = 0
    """Bytes that were expected and not transferred, negative for bytes that did not fit."""

    def drop(self) -> None:
        """Drop a reply that will not be sent."""
        if self.release is not None:
            self.release()


class IscsiTask:
    """A SCSI command that was not answered at once (RFC 7143 11.3)."""

    __slots__ = (
        "attribute",
        "cdb",
        "cmd_sn",
        "data_sn",
        "expected",
        "immediate",
        "is_executing",
        "itt",
        "lun",
        "owner",
        "postponed",
        "reads",
        "table",
        "transfer",
        "writes",
    )

    def __init__(
        self,
        table: TaskTable,
        itt: int,
        lun: bytes,
        cdb: bytes,
        attribute: int,
        reads: bool,
        writes: bool,
        expected: int,
        cmd_sn: int,
        immediate: bool,
    ) -> None:
        #: The reply that ends it.
        self.table = table
        self.itt = itt
        self.lun = lun
        self.cdb = cdb
        self.attribute = attribute
        self.reads = reads
        self.writes = writes
        #: Expected Data Transfer Length (bytes).
        self.expected = expected
        self.cmd_sn = cmd_sn
        self.immediate = immediate
        #: Its write data, if there is any.
        self.transfer: Transfer | None = None
        #: The host has all the data, and uses it until the task ends.
        self.is_executing = False
        #: Data-In PDUs sent so far.
        self.data_sn = 0
        #: The reply, while it waits for data of the initiator.
        self.postponed: Reply | None = None
        #: For the host's own use.
        self.owner: object = None

    @property
    def awaits_data(self) -> bool:
        """Return whether the initiator owes data, announced or requested."""
        return self.transfer is not None and self.transfer.awaits_data


@dataclass(slots=True, eq=False)
class ManagementFunction:
    """A task management function that has not been answered (RFC 7143 11.5)."""

    code: int
    lun: bytes
    itt: int
    cmd_sn: int
    referenced_task_tag: int
    task: IscsiTask | None
    """The task that ABORT TASK or QUERY TASK is about."""
    is_understood: bool
    """The function exists at the negotiated iSCSIProtocolLevel, and it names a task only if it may.
    Any other is rejected and has no effect.
    """

    is_performed: bool = False
    """The host has begun to perform it."""
    response: TaskResponse | None = None
    """The answer, while it waits for commands that have not arrived."""
    information: bytes = NO_INFORMATION
    """Additional response information (RFC 7144 6.4.1)."""
    waits_since: float | None = None
    """The time (seconds) since which it is known to wait for data."""
