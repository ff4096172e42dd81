"""How much memory the solicited data of one session may fill.

Every command under way may have its first burst in memory, because the initiator sends that
without being asked.  Everything beyond is asked for by R2Ts, and is not asked for before there is
credit: commands that have to wait for it get it in the order in which they came.
"""

from __future__ import annotations

from scstfs.iscsi.task import IscsiTask


class Credit:
    """Bytes that commands have asked for, or may ask for.

    One command may always go on: that it needs more than the limit alone must not stop it.
    """

    __slots__ = ("_granted", "_waiting", "limit", "used")

    def __init__(self, limit: int) -> None:
        #: Bytes that there should be at most.
        self.limit = limit
        self.used = 0
        self._granted: dict[IscsiTask, int] = {}
        self._waiting: dict[IscsiTask, None] = {}

    def grant(self, task: IscsiTask, size: int) -> bool:
        """``task`` needs ``size`` bytes in all; False if it has to wait for others to end."""
        if size <= 0 or task in self._granted:
            return True
        has_turn = next(iter(self._waiting), task) is task
        if not has_turn or (self._granted and self.used + size > self.limit):
            self._waiting[task] = None
            return False
        self._waiting.pop(task, None)
        self._granted[task] = size
        self.used += size
        return True

    def give_back(self, task: IscsiTask) -> None:
        """``task`` needs no memory any more."""
        self._waiting.pop(task, None)
        self.used -= self._granted.pop(task, 0)

    @property
    def waiting(self) -> list[IscsiTask]:
        """Tasks that wait for credit, in the order in which they get it."""
        return list(self._waiting)
