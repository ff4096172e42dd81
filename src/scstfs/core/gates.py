"""What may keep a command from being executed, in SCST's order.

Each gate either lets the command pass or raises the status it ends with.  ``clear_paths`` asks the
same questions in advance, for READ and WRITE of one nexus: all that it looks at is Gated or Final
(``core.gated``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scstfs.core.session import SessionState
from scstfs.core.target import BlackHole
from scstfs.scsi import alua, sense
from scstfs.scsi.cdb import RW
from scstfs.scsi.opcodes import CommandRow, Direction, Flag
from scstfs.scsi.sense import CheckCondition, Sense
from scstfs.scsi.status import Status, TaskStatus

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.session import TgtDev

_READ: Final = RW[0x28].op
_WRITE: Final = RW[0x2A].op


def check_queue_depth(tgt_dev: TgtDev) -> None:
    """Refuse a command above the device's limit for one nexus (SAM-5 5.3.1)."""
    if tgt_dev.has_room:
        return
    session = tgt_dev.session
    alone = session.command_count <= 1 or session.state is SessionState.STARTING
    device = tgt_dev.device
    device.env.trace.event(
        "flow_control",
        "Sending %s status to initiator %s: more commands than device %s takes",
        "BUSY" if alone else "QUEUE_FULL",
        session.initiator_name,
        device.name,
    )
    raise TaskStatus(Status.BUSY if alone else Status.TASK_SET_FULL)


def is_swallowed(tgt_dev: TgtDev, direction: Direction) -> bool:
    """The command falls into the group's black hole: it ends without an answer."""
    kind = tgt_dev.session.acg.black_hole
    if kind is BlackHole.NONE:
        return False
    if kind in (BlackHole.COMMANDS, BlackHole.ALL):
        return True
    return direction is not Direction.NONE


def check_access_state(cmd: Command) -> None:
    """Refuse what the state of the target port group does not allow."""
    refused = alua.refusal(cmd.tgt_dev.access_state, cmd.flags)
    if refused is not None:
        raise CheckCondition(refused)


def check(cmd: Command) -> None:
    """Refuse commands because of reservations, unit attentions and write protection."""
    tgt_dev, flags = cmd.tgt_dev, cmd.flags
    if conflicts(tgt_dev, flags):
        raise TaskStatus(Status.RESERVATION_CONFLICT)
    if has_attention(tgt_dev, flags):
        raise CheckCondition(tgt_dev.take_unit_attention())
    refused = write_refusal(tgt_dev, flags)
    if refused is not None:
        raise CheckCondition(refused)


def conflicts(tgt_dev: TgtDev, flags: Flag) -> bool:
    """Another nexus's reservation conflicts with the command (SPC-2 5.5.1, SPC-4 5.13)."""
    device = tgt_dev.device
    if tgt_dev.session.target.forward_dst:
        # The node that forwards the command has checked already.
        return False
    if device.reserved_by not in (None, tgt_dev.session) and not flags & Flag.RESERVE_OK:
        return True
    return not device.pr.allows(tgt_dev.registrant, flags)


def has_attention(tgt_dev: TgtDev, flags: Flag) -> bool:
    """A unit attention is reported instead of executing the command."""
    return bool(tgt_dev.unit_attentions) and not flags & Flag.SKIP_UA


def write_refusal(tgt_dev: TgtDev, flags: Flag) -> Sense | None:
    """Why the command must not write, in SCST's words."""
    if not flags & Flag.WRITES_MEDIUM:
        return None
    if tgt_dev.read_only:
        return sense.WRITE_PROTECTED
    return sense.SOFTWARE_WRITE_PROTECTED if tgt_dev.device.control.swp else None


def clear_paths(tgt_dev: TgtDev) -> tuple[bool, bool]:
    """Return whether READ and WRITE of this nexus pass every gate now."""
    device, session = tgt_dev.device, tgt_dev.session
    env = device.env
    if (
        tgt_dev.is_gone
        or tgt_dev.aca.faulted is not None
        or not session.executes
        or device.max_tgt_dev_commands == 0
        or env.measure_latency
        or env.trace.enabled("scsi")
    ):
        return False, False
    return _is_clear(tgt_dev, _READ), _is_clear(tgt_dev, _WRITE)


def _is_clear(tgt_dev: TgtDev, op: CommandRow) -> bool:
    return not (
        is_swallowed(tgt_dev, op.direction)
        or alua.refusal(tgt_dev.access_state, op.flags) is not None
        or conflicts(tgt_dev, op.flags)
        or has_attention(tgt_dev, op.flags)
        or write_refusal(tgt_dev, op.flags) is not None
    )
