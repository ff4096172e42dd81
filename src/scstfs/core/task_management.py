"""Task management: aborting commands and resetting devices (SAM-5 7).

Every function takes ``done``, which is called when the affected commands have ended and can have no
more effect; the function must not be answered before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from scstfs.core.command import Abort, Command
from scstfs.core.completion import abort, abort_commands, tell_of_loss, when_ended
from scstfs.scsi import sense

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.session import Session, TgtDev

log = logging.getLogger(__name__)


def abort_task(cmd: Command, done: Callable[[], None]) -> None:
    """ABORT TASK for a command that exists."""
    abort(cmd, Abort.SILENT)
    when_ended([cmd], done)


def abort_task_set(tgt_dev: TgtDev, done: Callable[[], None]) -> None:
    """ABORT TASK SET: the commands of this nexus."""
    when_ended(_abort_own(tgt_dev), done)


def clear_task_set(tgt_dev: TgtDev, done: Callable[[], None]) -> None:
    """CLEAR TASK SET: the commands of every nexus; just this one's where TST is 1."""
    device = tgt_dev.device
    thaw = _freeze([device])
    own = (tgt_dev, *tgt_dev.former)
    victims = _abort_own(tgt_dev)
    if not device.separate_task_sets:
        for other in [*device.tgt_devs, *device.former]:
            lost = abort_commands(other, by_other=True) if other not in own else []
            if lost:
                tell_of_loss(other)
            victims += lost
    when_ended(victims, partial(_go_on, thaw, done))


def clear_aca(tgt_dev: TgtDev, done: Callable[[], None]) -> bool:
    """CLEAR ACA; returns False without calling ``done`` if another nexus has the ACA condition."""
    aca = tgt_dev.aca
    if aca.faulted not in (None, tgt_dev):
        return False
    victims = [] if aca.command is None else [aca.command]
    for cmd in victims:
        abort(cmd, Abort.SILENT)
    aca.clear()
    when_ended(victims, done)
    return True


def logical_unit_reset(tgt_dev: TgtDev, done: Callable[[], None]) -> None:
    """LOGICAL UNIT RESET."""
    _reset([tgt_dev.device], tgt_dev.session, tgt_dev.former, done)


def target_reset(session: Session, done: Callable[[], None]) -> None:
    """TARGET RESET: every logical unit of the session's own LUN set, and those before them."""
    devices = dict.fromkeys(acg_dev.device for acg_dev in session.acg.luns.values())
    _reset(list(devices), session, list(session.former), done)


def _reset(
    devices: list[Device],
    originator: Session,
    former: list[TgtDev],
    done: Callable[[], None],
) -> None:
    """Reset devices, and abort the commands of ``former`` nexuses of ``originator``."""
    thaw = _freeze(devices)
    victims: list[Command] = []
    for tgt_dev in former:
        victims += abort_commands(tgt_dev, by_other=False)
    for device in devices:
        device.reserved_by = None
        for tgt_dev in [*device.tgt_devs, *device.former]:
            victims += abort_commands(tgt_dev, by_other=tgt_dev.session is not originator)
        for tgt_dev in list(device.tgt_devs):
            tgt_dev.aca.clear()
        device.reset()
        for tgt_dev in device.tgt_devs:
            tgt_dev.queue_unit_attention(sense.RESET)
    when_ended(victims, partial(_go_on, thaw, done))


def _abort_own(tgt_dev: TgtDev) -> list[Command]:
    return [
        cmd for own in (tgt_dev, *tgt_dev.former) for cmd in abort_commands(own, by_other=False)
    ]


def _freeze(devices: Iterable[Device]) -> Callable[[], None]:
    """Start no command until the returned function is called.

    An initiator that is told that its commands were aborted may send them again at once with other
    data: an aborted one that a worker thread still executes must not take effect after that.
    """
    frozen = [device.tasks for device in devices]
    for task_set in frozen:
        task_set.freeze()

    def thaw() -> None:
        for task_set in frozen:
            task_set.thaw()

    return thaw


def _go_on(thaw: Callable[[], None], done: Callable[[], None]) -> None:
    thaw()
    done()


def nexus_loss(session: Session, done: Callable[[], None]) -> None:
    """The session ends: abort all of its commands."""
    victims: list[Command] = []
    for tgt_dev in session.all_tgt_devs():
        victims += abort_commands(tgt_dev, by_other=False)
        if tgt_dev.aca.faulted is tgt_dev:
            tgt_dev.aca.clear()
    when_ended(victims, done)
