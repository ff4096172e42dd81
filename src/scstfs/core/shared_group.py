"""A device group whose access states are those of all nodes (``core.alua``).

Nodes know a target group by its identifier; each may have other names for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from scstfs.core import execute
from scstfs.core.command import Command, Phase
from scstfs.core.completion import when_all
from scstfs.core.device import LATER, Answer
from scstfs.core.sharing import Agreed, Agreement, outcome
from scstfs.scsi.alua import AccessState

if TYPE_CHECKING:
    from scstfs.core.alua import DeviceGroup, TargetGroup
    from scstfs.core.session import TgtDev
    from scstfs.core.taskset import TaskSet


class SharedAccess(NamedTuple):
    """What is shared of a target group; ``explicit``: an initiator has set the state."""

    state: AccessState
    explicit: bool
    preferred: bool


GroupStates: TypeAlias = Mapping[int, SharedAccess]
"""By the identifiers of target groups."""


class SharedGroup:
    """The shared side of one device group."""

    def __init__(self, group: DeviceGroup, agreement: Agreement[GroupStates]) -> None:
        self.group: Final = group
        self._agreement: Final = agreement
        self._frozen: list[TaskSet] = []
        #: What was agreed on last, for target groups that appear later.
        self._agreed: dict[int, SharedAccess] = {}
        self._asked_by: TgtDev | None = None

    # Closed while states change

    def close(self) -> None:
        """Start no command on the group's devices until `open`."""
        if not self._frozen:
            self._frozen = [device.tasks for device in self.group.devices]
            for tasks in self._frozen:
                tasks.freeze()

    def thaw(self) -> None:
        """Start commands again."""
        frozen, self._frozen = self._frozen, []
        for tasks in frozen:
            tasks.thaw()

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call ``call`` when no command runs on any of the devices."""
        when_all([device.tasks.when_idle for device in self.group.devices], call)

    def when_adopted(self, call: Callable[[], None]) -> None:
        """Call ``call`` when the devices have followed the states."""
        when_all([group.when_reopened for group in self.group.target_groups.values()], call)

    # Changes that are wanted here

    def change(self, states: Mapping[int, AccessState], done: Agreed) -> None:
        """See ``core.alua.SharedAccessStates``."""
        self._change(states, done, None)

    def change_by(self, cmd: Command, states: Mapping[int, AccessState]) -> Answer:
        """See ``core.alua.SharedAccessStates``; the nexus is not told of what it has set."""
        # Not by `TaskSet.started`: the change waits until everything else has ended.
        cmd.enter(Phase.EXECUTING)
        self.close()

        def done(error: Exception | None) -> None:
            execute.resume(cmd, partial(outcome, error))

        self._change(states, done, cmd.tgt_dev)
        return LATER

    def _change(
        self, states: Mapping[int, AccessState], done: Agreed, asked_by: TgtDev | None
    ) -> None:
        def compute() -> GroupStates:
            self._asked_by = asked_by
            wanted = dict(self.states())
            for group_id, state in states.items():
                present = wanted.get(group_id)
                is_preferred = present is not None and present.preferred
                wanted[group_id] = SharedAccess(state, asked_by is not None, is_preferred)
            return wanted

        self._agreement.change(compute, done)

    def prefer(self, group_id: int, preferred: bool, done: Agreed) -> None:
        """See ``core.alua.SharedAccessStates``."""

        def compute() -> GroupStates:
            self._asked_by = None
            wanted = dict(self.states())
            if group_id in wanted:
                wanted[group_id] = wanted[group_id]._replace(preferred=preferred)
            return wanted

        self._agreement.change(compute, done)

    def states(self) -> GroupStates:
        """The states as they are here, and those of target groups that this node has not."""
        return self._agreed | {
            group.group_id: SharedAccess(group.state, group.is_explicit, group.preferred)
            for group in self.group.target_groups.values()
            if group.group_id
        }

    # Taking states over

    def adopt(self, states: GroupStates, *, is_next: bool, is_mine: bool) -> None:
        """Make ``states`` those that are valid here."""
        self._agreed = dict(states)
        for group in self.group.target_groups.values():
            self._apply(group, self._asked_by if is_mine and is_next else None)

    def appeared(self, group: TargetGroup) -> None:
        """See ``core.alua.SharedAccessStates``."""
        self._apply(group, None)

    def _apply(self, group: TargetGroup, asked_by: TgtDev | None) -> None:
        wanted = self._agreed.get(group.group_id)
        if wanted is not None:
            group.set_state(wanted.state, asked_by, explicit=wanted.explicit)
            group.set_preferred(wanted.preferred)
