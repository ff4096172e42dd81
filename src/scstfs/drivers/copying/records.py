"""Records of copies, for RECEIVE COPY RESULTS and similar commands (SPC-4 5.17.4).

A record belongs to the session that requested the copy and is named by the list identifier in its
parameter list. It exists during the copy and for some time afterwards. Records of unnamed copies
are not kept.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from scstfs.drivers.copying.sweeper import Sweeper
from scstfs.scsi.sense import OPERATION_IN_PROGRESS, CheckCondition, Sense
from scstfs.scsi.status import Status, TaskStatus, busy
from scstfs.scsi.tokens import CopyOperation, OperationStatus, TransferUnits
from scstfs.scsi.xcopy import CopyStatus

if TYPE_CHECKING:
    from scstfs.core.runtime import Runtime
    from scstfs.core.session import Session


class Form(enum.Enum):
    """List identifiers of one byte and of four name different things."""

    LID1 = 1
    LID4 = 4


#: How long a record is kept after the end of the copy (seconds).
KEEP: Final = {Form.LID1: 5.0, Form.LID4: 60.0}

#: Most records of one session; the oldest finished one is dropped for another.
MOST_RECORDS: Final = 1024


@dataclass(slots=True, eq=False)
class CopyRecord:
    """One copy.  ``service_action`` is that of the command that began it."""

    service_action: int = 0
    immediate: bool = False
    #: Block size in bytes; set if the amount transferred is reported in blocks.
    block_size: int | None = None
    over: bool = False
    #: When it is forgotten, by the runtime's clock.
    expires: float = 0.0
    #: Segments or ranges that were begun.
    segments: int = 0
    bytes_written: int = 0
    #: Blocks that the tokens stand for.
    token_blocks: int = 0
    #: How it ended.
    status: Status = Status.GOOD
    sense: Sense | None = None
    result: OperationStatus = OperationStatus.COMPLETED
    tokens: list[bytes] = field(default_factory=list)

    def fail(self, error: CheckCondition | TaskStatus) -> None:
        """The copy ends, or was refused, with ``error``."""
        self.status = error.status
        self.sense = error.sense if isinstance(error, CheckCondition) else None
        self.result = OperationStatus.FAILED

    @property
    def lid1_status(self) -> CopyStatus:
        """For RECEIVE COPY STATUS (LID1)."""
        if not self.over:
            return CopyStatus.IN_PROGRESS
        return CopyStatus.FAILED if self.status is not Status.GOOD else CopyStatus.COMPLETED

    def describe(self) -> CopyOperation:
        """For RECEIVE COPY STATUS (LID4) and RECEIVE ROD TOKEN INFORMATION."""
        status = self.result
        if not self.over:
            status = OperationStatus.IN_FOREGROUND
            if self.immediate:
                status = OperationStatus.IN_BACKGROUND
        return CopyOperation(
            service_action=self.service_action,
            status=status,
            completion=self.status if self.over else 0,
            units=TransferUnits.BYTES if self.block_size is None else TransferUnits.BLOCKS,
            count=self.token_blocks or self.bytes_written // (self.block_size or 1),
            segments=self.segments,
            sense=self.sense if self.over else None,
        )


class CopyRecords:
    """The records of all sessions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sweeper = Sweeper(runtime, self._sweep)
        self._records: WeakKeyDictionary[Session, dict[tuple[Form, int], CopyRecord]] = (
            WeakKeyDictionary()
        )

    def add(self, session: Session, form: Form, list_id: int, record: CopyRecord) -> None:
        """Name ``record``; raises CheckCondition while a copy of that name is under way.

        Raises TaskStatus BUSY while too many others are under way.
        """
        own = self._records.setdefault(session, {})
        present = own.pop((form, list_id), None)
        if present is not None and not present.over:
            own[form, list_id] = present
            raise CheckCondition(OPERATION_IN_PROGRESS)
        if len(own) >= MOST_RECORDS:
            oldest = next((name for name, other in own.items() if other.over), None)
            if oldest is None:
                raise busy()
            del own[oldest]
        own[form, list_id] = record

    def find(self, session: Session, form: Form, list_id: int) -> CopyRecord | None:
        """The copy of that name, or None."""
        return self._records.get(session, {}).get((form, list_id))

    def remove(self, session: Session, form: Form, list_id: int, record: CopyRecord) -> None:
        """Forget ``record``, unless the name belongs to another copy by now."""
        own = self._records.get(session, {})
        if own.get((form, list_id)) is record:
            del own[form, list_id]

    def finish(self, form: Form, record: CopyRecord) -> None:
        """The copy is over; its record is kept for a while."""
        record.over = True
        record.expires = self._runtime.now() + KEEP[form]
        self._sweeper.expect(record.expires)

    def _sweep(self, now: float) -> float | None:
        left = []
        for own in self._records.values():
            for name, record in list(own.items()):
                if record.over and record.expires <= now:
                    del own[name]
                elif record.over:
                    left.append(record.expires)
        return min(left, default=None)
