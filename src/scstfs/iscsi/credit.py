"""The memory limit for solicited data of one session.

Every command under way may have its first burst in memory, because the initiator sends that
unsolicited. All other data is requested by R2Ts, which are not sent before there is credit.
Commands that wait for credit get it in the order of arrival.
"""

from __future__ import annotations

from scstfs.iscsi.task import IscsiTask


class Credit:
    """Credit in bytes that is given to commands.

    One command of each LUN may always continue, even if it needs more than the limit: others may
    keep theirs for as long as a disk does not answer.
    """

    __slots__ = ("_granted", "_waiting", "limit", "used")

    def __init__(self, limit: int) -> None:
        #: Most bytes that should be in memory.
        self.limit = limit
        self.used = 0
        self._granted: dict[IscsiTask, int] = {}
        self._waiting: dict[IscsiTask, None] = {}

    def grant(self, task: IscsiTask, size: int) -> bool:
        """Give ``task`` credit for ``size`` bytes in all; False if it must wait for others."""
        if size <= 0 or task in self._granted:
            return True
        if not self._may_have(task, size):
            self._waiting[task] = None
            return False
        self._waiting.pop(task, None)
        self._granted[task] = size
        self.used += size
        return True

    def _may_have(self, task: IscsiTask, size: int) -> bool:
        if next(iter(self._waiting), task) is task and self.used + size <= self.limit:
            return True
        lun = task.lun
        is_next = next((other for other in self._waiting if other.lun == lun), task) is task
        return is_next and all(other.lun != lun for other in self._granted)

    def give_back(self, task: IscsiTask) -> None:
        """``task`` needs no memory any more."""
        self._waiting.pop(task, None)
        self.used -= self._granted.pop(task, 0)

    @property
    def waiting(self) -> list[IscsiTask]:
        """Tasks that wait for credit, in the order in which they get it."""
        return list(self._waiting)
