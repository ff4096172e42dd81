"""Device groups as shared items."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from scstfs.core.fence import Fence
from scstfs.core.shared_group import GroupStates, SharedAccess, SharedGroup
from scstfs.scsi.alua import AccessState


class GroupSide(SharedGroup):
    """A device group (`cluster.item.Side`).

    It has no fence: its devices have.
    """

    def open(self, fence: Fence) -> None:
        """Start commands."""
        self.thaw()

    def give_up(self) -> None:
        """Start no command."""
        self.close()

    def expire(self) -> None:
        """Its devices end commands that have waited."""

    def state(self) -> GroupStates:
        """The states as they are here."""
        return self.states()

    def is_same(self, state: GroupStates) -> bool:
        """Nothing would change if ``state`` were adopted."""
        return state == self.states()

    def after_power_on(self, state: GroupStates) -> GroupStates:
        """States are configured, and outlast everything."""
        return state

    def nodes_of(self, state: GroupStates) -> Collection[str]:
        """Nothing belongs to a node."""
        return ()

    def without(self, state: GroupStates, gone: Collection[str]) -> GroupStates:
        """Nothing belongs to a node."""
        return state

    def encode(self, state: GroupStates) -> Mapping[str, Any]:
        """The content of a record."""
        return {str(group_id): list(access) for group_id, access in sorted(state.items())}

    def decode(self, content: Mapping[str, Any]) -> GroupStates:
        """The states that a record has; raises ValueError."""
        try:
            return {
                int(group_id): SharedAccess(AccessState(state), bool(explicit), bool(preferred))
                for group_id, (state, explicit, preferred) in content.items()
            }
        except TypeError as error:
            raise ValueError(f"no access states: {error}") from error
