"""What may keep a command from being executed, in SCST's order.

Each gate either lets the command pass or raises the status it ends with.  ``clear_paths`` answers
the same questions in advance, for READ and WRITE of one nexus: all that it looks at is Gated or
Final (``core.gated``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scstfs.core.session import SessionState
from scstfs.core.target import BlackHole
from scstfs.scsi import alua, sense
from scstfs.scsi.cdb import RW
from scstfs.scsi.opcodes import Direction, Flag
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.session import TgtDev

_READ: Final = RW[0x28].op.flags
_WRITE: Final = RW[0x2A].op.flags


def check_queue_depth(tgt_dev: TgtDev) -> None:
    """Refuse more commands at once than the device takes from one nexus (SAM-5 5.3.1)."""
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


def check_access_state(cmd: Command) -> None:
    """Refuse what the state of the target port group does not allow."""
    refused = alua.refusal(cmd.tgt_dev.access_state, cmd.flags)
    if refused is not None:
        raise CheckCondition(refused)


def is_swallowed(cmd: Command) -> bool:
    """The command falls into the group's black hole: it ends without an answer."""
    kind = cmd.session.acg.black_hole
    if kind is BlackHole.NONE:
        return False
    if kind in (BlackHole.COMMANDS, BlackHole.ALL):
        return True
    return cmd.parsed.direction is not Direction.NONE


def check_reservations(cmd: Command) -> None:
    """Refuse what conflicts with somebody else's reservation (SPC-2 5.5.1, SPC-4 5.13)."""
    device, flags = cmd.device, cmd.flags
    if cmd.session.target.forward_dst:
        # Whoever forwards the command has looked already.
        return
    reserved = device.reserved_by not in (None, cmd.session) and not flags & Flag.RESERVE_OK
    if reserved or not device.pr.allows(cmd.tgt_dev.registrant, flags):
        raise TaskStatus(Status.RESERVATION_CONFLICT)


def check_unit_attention(cmd: Command) -> None:
    """Report the oldest pending unit attention instead of executing the command."""
    if cmd.tgt_dev.unit_attentions and not cmd.flags & Flag.SKIP_UA:
        raise CheckCondition(cmd.tgt_dev.take_unit_attention())


def check_write_access(cmd: Command) -> None:
    """Refuse to write where that is not allowed, in the words SCST uses for each reason."""
    if not cmd.flags & Flag.WRITES_MEDIUM:
        return
    if cmd.tgt_dev.read_only:
        raise CheckCondition(sense.WRITE_PROTECTED)
    if cmd.device.control.swp:
        raise CheckCondition(sense.SOFTWARE_WRITE_PROTECTED)


def clear_paths(tgt_dev: TgtDev) -> tuple[bool, bool]:
    """READ and WRITE of this nexus would pass every gate as things stand."""
    device, session = tgt_dev.device, tgt_dev.session
    env = device.env
    if (
        tgt_dev.is_gone
        or tgt_dev.unit_attentions
        or tgt_dev.aca.faulted is not None
        or not session.executes
        or alua.refusal(tgt_dev.access_state, _READ) is not None
        or session.acg.black_hole is not BlackHole.NONE
        or device.max_tgt_dev_commands == 0
        or env.measure_latency
        or env.trace.enabled("scsi")
    ):
        return False, False
    reads = writes = True
    if not session.target.forward_dst:
        reads = writes = device.reserved_by in (None, session)
        reads = reads and device.pr.allows(tgt_dev.registrant, _READ)
        writes = writes and device.pr.allows(tgt_dev.registrant, _WRITE)
    writes = writes and not tgt_dev.read_only and not device.control.swp
    return reads, writes
