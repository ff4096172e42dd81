"""What a change of persistent reservations does to other nexuses (SPC-4 5.13.11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scstfs.core import completion
from scstfs.core.command import Command
from scstfs.core.taskset import TaskAttribute

if TYPE_CHECKING:
    from scstfs.core.persistent_out import Effect
    from scstfs.core.session import TgtDev


def take_effect(effects: Iterable[Effect], cmd: Command | None) -> list[Command]:
    """Apply effects to nexuses; return the commands that were aborted.

    ``cmd`` has them; it is None if it was sent to another node.
    """
    victims: list[Command] = []
    for effect in effects:
        for tgt_dev in effect.tgt_devs:
            if effect.condition is not None:
                tgt_dev.queue_unit_attention(effect.condition)
            else:
                victims += _abort(tgt_dev, cmd)
    return victims


def _abort(tgt_dev: TgtDev, cmd: Command | None) -> list[Command]:
    by_other = cmd is None or tgt_dev.session is not cmd.session
    victims = completion.abort_commands(tgt_dev, by_other=by_other, spare=cmd)
    _clear_aca(cmd, tgt_dev)
    if by_other:
        completion.tell_of_loss(tgt_dev)
    return victims


def _clear_aca(cmd: Command | None, victim: TgtDev) -> None:
    """PREEMPT AND ABORT ends the ACA condition of a nexus that it clears (SPC-4 5.13.11)."""
    aca = victim.aca
    if aca.faulted is not victim:
        return
    on_faulted_nexus = cmd is not None and cmd.tgt_dev is victim
    if on_faulted_nexus is (cmd is not None and cmd.attribute is TaskAttribute.ACA):
        aca.clear()
