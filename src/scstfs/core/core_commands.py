"""Commands that the core executes itself, because they are about more than one device's blocks.

REPORT LUNS and REQUEST SENSE look at the session; reservations and target port groups decide what
other nexuses may do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core import completion, persistent_out
from scstfs.core.alua import group_of
from scstfs.core.command import Command
from scstfs.core.device import Answer, Job, Until
from scstfs.core.taskset import Claim, TaskAttribute
from scstfs.scsi import alua, provisioning, sense
from scstfs.scsi import lun as scsi_lun
from scstfs.scsi import spc as primary
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import reservation_conflict

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.persistent_out import Effect
    from scstfs.core.session import Session, TgtDev

log = logging.getLogger(__name__)


# Parameter lists


def _unmap(cmd: Command) -> None:
    extents = provisioning.unmap_extents(cmd.cdb, bytes(cmd.data))
    cmd.descriptors = extents
    own = cmd.device.tasks
    cmd.listed_claims = tuple(
        (own, Claim(extent.lba, extent.lba + extent.blocks, writes=True, exclusive=False))
        for extent in extents
    )


#: Parameter lists that are decoded before the command waits for its turn.
DESCRIPTORS: Final[Mapping[str, Callable[[Command], None]]] = MappingProxyType({"unmap": _unmap})


# The session


def _report_luns(cmd: Command) -> Answer:
    scsi_lun.check_report_luns(cmd.cdb)
    session = cmd.session
    session.luns_were_reported()
    luns = scsi_lun.report_luns_order(session.tgt_devs)
    return scsi_lun.report_luns(luns, session.acg.addr_method)


def _request_sense(cmd: Command) -> Answer:
    tgt_dev = cmd.tgt_dev
    if tgt_dev.unit_attentions and cmd.parsed.length:
        return primary.request_sense(cmd.cdb, tgt_dev.take_unit_attention())
    return cmd.device.execute(cmd)


# RESERVE and RELEASE (SPC-2 7.18, 7.21)


def _reserve(cmd: Command) -> Answer:
    device = cmd.device
    primary.check_reserve(cmd.cdb)
    if _is_compatible(cmd):
        return b""
    device.check_ready(cmd)
    if device.reserved_by not in (None, cmd.session):
        raise reservation_conflict()
    return device.pass_on(cmd, partial(_hold, device, cmd.session))


def _release(cmd: Command) -> Answer:
    device = cmd.device
    if _is_compatible(cmd):
        return b""
    device.check_ready(cmd)
    if device.reserved_by is not cmd.session:
        return b""
    return device.pass_on(cmd, partial(_hold, device, None))


def _hold(device: Device, holder: Session | None) -> None:
    device.reserved_by = holder


def _is_compatible(cmd: Command) -> bool:
    """Whether persistent reservations make the command GOOD without effect; raises a conflict."""
    reservations = cmd.device.pr
    if not reservations.registrants:
        return False
    if not reservations.is_compatible(cmd.tgt_dev.registrant):
        raise reservation_conflict()
    return True


# PERSISTENT RESERVE (SPC-4 6.15, 6.16)


def _persistent_reserve_in(cmd: Command) -> Answer:
    _check_pr_allowed(cmd)
    return cmd.device.pr.read(cmd.cdb) if cmd.parsed.length else b""


def _persistent_reserve_out(cmd: Command) -> Answer:
    _check_pr_allowed(cmd)
    reservations = cmd.device.pr
    before = reservations.snapshot()
    effects = persistent_out.perform(reservations, cmd.tgt_dev, cmd.cdb, bytes(cmd.data))
    file, state = reservations.file, reservations.save_state()
    if file is None or not file.needs_saving(state):
        return _take_effect(cmd, effects)

    def failed(error: BaseException) -> Answer:
        # Promise only what is on disk.
        log.error("%s: cannot save persistent reservations: %s", cmd.device, error)
        reservations.rollback(before)
        raise CheckCondition(sense.INTERNAL_TARGET_FAILURE) from error

    # No other command starts on the device before this one has ended, so none sees a state that may
    # be rolled back.
    return Job(partial(file.save, state), lambda _saved: _take_effect(cmd, effects), failed)


def _check_pr_allowed(cmd: Command) -> None:
    device = cmd.device
    if any(tgt_dev.session.transport_id is None for tgt_dev in device.tgt_devs):
        raise CheckCondition(sense.INVALID_OPCODE)
    if device.reserved_by is not None:
        raise reservation_conflict()


def _take_effect(cmd: Command, effects: Iterable[Effect]) -> Answer:
    """Apply the command's effects to other nexuses.

    The command ends when those that it aborted have ended.
    """
    victims: list[Command] = []
    for tgt_dev, condition in effects:
        if condition is not None:
            tgt_dev.queue_unit_attention(condition)
            continue
        by_other = tgt_dev.session is not cmd.session
        victims += completion.abort_commands(tgt_dev, by_other=by_other, spare=cmd)
        _clear_aca(cmd, tgt_dev)
        if by_other:
            completion.tell_of_loss(tgt_dev)
    return Until(partial(completion.when_ended, victims)) if victims else b""


def _clear_aca(cmd: Command, victim: TgtDev) -> None:
    """PREEMPT AND ABORT ends the ACA condition of a nexus that it clears (SPC-4 5.13.11)."""
    aca = victim.aca
    if aca.faulted is not victim:
        return
    on_faulted_nexus = cmd.tgt_dev is victim
    if on_faulted_nexus is (cmd.attribute is TaskAttribute.ACA):
        aca.clear()


# Target port groups (SPC-4 6.37, 6.45)


def _report_target_port_groups(cmd: Command) -> Answer:
    group = group_of(cmd.device)
    groups = [] if group is None else [g.describe() for g in group.target_groups.values()]
    return alua.report_target_port_groups(cmd.cdb, groups)


def _set_target_port_groups(cmd: Command) -> Answer:
    alua.check_set_target_port_groups(cmd.device.explicit_alua)
    group = group_of(cmd.device)
    changes = []
    for change in alua.set_target_port_groups(bytes(cmd.data)):
        target_group = group.find_by_id(change.group_id) if group is not None else None
        if target_group is None:
            raise CheckCondition(sense.SET_TARGET_PORT_GROUPS_FAILED)
        if target_group.state is alua.AccessState.TRANSITIONING:
            # The management command that began the transition decides how it ends.
            raise CheckCondition(sense.ALUA_TRANSITION)
        changes.append((target_group, change.state))
    # All changes or none.
    for target_group, state in changes:
        target_group.set_state(state, asked_by=cmd.tgt_dev)
    return Until(changes[0][0].when_reopened) if changes else b""


#: By the name in the opcode table.
COMMANDS: Final[Mapping[str, Callable[[Command], Answer]]] = MappingProxyType(
    {
        "report_luns": _report_luns,
        "request_sense": _request_sense,
        "reserve": _reserve,
        "release": _release,
        "persistent_reserve_in": _persistent_reserve_in,
        "persistent_reserve_out": _persistent_reserve_out,
        "report_target_port_groups": _report_target_port_groups,
        "set_target_port_groups": _set_target_port_groups,
    }
)
