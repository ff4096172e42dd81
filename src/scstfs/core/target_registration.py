"""Removal of targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scstfs.core import access

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.core.target import Target


def unregister(scst: Scst, target: Target) -> None:
    """Remove a target without sessions from everything but its driver."""
    for group in scst.device_groups.values():
        for target_group in group.target_groups.values():
            target_group.forget(target)
    for acg in target.all_acgs():
        for acg_dev in list(acg.luns.values()):
            access.remove_lun(acg_dev)
    scst.env.trace.event("mgmt", "target %s deleted", target)
