"""Devices as shared items."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from scstfs.core.fence import Fence
from scstfs.core.shared_unit import SharedUnit
from scstfs.persist import unit_state as codec
from scstfs.persist.unit_state import NOTHING_SAVED, UnitState

log = logging.getLogger(__name__)


class UnitSide(SharedUnit):
    """A device (`cluster.item.Side`)."""

    def open(self, fence: Fence) -> None:
        """Start commands; the cluster has the state, so the device's own file is out of date."""
        super().open(fence)
        file = self.device.pr.file
        if file is not None and file.needs_saving(NOTHING_SAVED):
            self.device.env.threads.submit(file.remove, self._removed)

    def _removed(self, _value: object, error: BaseException | None) -> None:
        if error is not None:
            log.warning("%s: cannot remove its file of reservations: %s", self.device, error)

    def is_same(self, state: UnitState) -> bool:
        """Nothing would change if ``state`` were adopted."""
        is_silent = not (state.effects or state.is_reset)
        return is_silent and state.lasting == self.state()

    def after_power_on(self, state: UnitState) -> UnitState:
        """Without APTPL, reservations end when no node has power (SPC-4 5.13.5)."""
        kept = state.reservations if state.reservations.aptpl else NOTHING_SAVED
        return UnitState(kept)

    def nodes_of(self, state: UnitState) -> Collection[str]:
        """The node that has the holder of a reservation by RESERVE."""
        return () if state.reserved_by is None else (state.reserved_by.node,)

    def without(self, state: UnitState, gone: Collection[str]) -> UnitState:
        """A node that has gone has lost its nexuses: reservations by RESERVE end."""
        holder = state.reserved_by
        return (
            state if holder is None or holder.node not in gone else replace(state, reserved_by=None)
        )

    def encode(self, state: UnitState) -> Mapping[str, Any]:
        """The content of a record."""
        return codec.encode(state)

    def decode(self, content: Mapping[str, Any]) -> UnitState:
        """The state that a record has; raises ValueError."""
        return codec.decode(content)
