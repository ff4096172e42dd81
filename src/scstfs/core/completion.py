"""How commands end: finished, aborted or sent back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core import accounting
from scstfs.core.command import Abort, Command, Data, Phase
from scstfs.scsi import sense
from scstfs.scsi.control import QErr
from scstfs.scsi.sense import CheckCondition, Sense
from scstfs.scsi.status import Status
from scstfs.sgutils import t10_names

if TYPE_CHECKING:
    from scstfs.core.session import TgtDev

#: Peripheral device type of a logical unit that does not exist.
_UNKNOWN_TYPE: Final = 0x1F


def finish(
    cmd: Command,
    status: Status,
    condition: CheckCondition | None = None,
    data: Data = b"",
) -> None:
    """Decide on the answer and send it as soon as that is allowed."""
    if cmd.has_answer:
        return
    cmd.status = status
    if condition is not None:
        cmd.sense = condition.sense.encode(bool(cmd.has_device and cmd.device.control.d_sense))
        if cmd.abort is None:
            _trace(cmd, condition.sense)
    # A tape at the end of a file returns both data and sense data.
    cmd.data_in = data if cmd.decoded is None else data[: cmd.decoded.length]
    _answer(cmd)


def _answer(cmd: Command) -> None:
    """Count the command and let the driver send its answer, unless an ACA condition keeps it."""
    if cmd.abort is not None:
        cmd.status = Status.TASK_ABORTED if cmd.abort is Abort.TASK_ABORTED else None
        cmd.sense = cmd.data_in = b""
    if cmd.has_device and not _leave_task_set(cmd):
        return
    _give(cmd)


def _give(cmd: Command) -> None:
    if cmd.is_over:
        # It was aborted while its answer had to wait.
        return
    cmd.enter(Phase.DONE)
    cmd.session.command_count -= 1
    accounting.command_ended(cmd)
    cmd.reply()
    for call in cmd.ended_calls:
        call()


def _leave_task_set(cmd: Command) -> bool:
    """Remove the command from its nexus; False if it may not complete yet."""
    tgt_dev = cmd.tgt_dev
    aca = tgt_dev.aca
    # A command refused before it entered the task set is always answered.
    if cmd.abort is None and cmd in tgt_dev.commands and aca.stops(cmd):
        cmd.enter(Phase.ANSWERED)
        aca.keep_answer(cmd, partial(_answer, cmd))
        return False
    tgt_dev.commands.pop(cmd, None)
    victims: list[Command] = []
    if cmd.status is Status.CHECK_CONDITION:
        aca.check_condition(cmd)
        victims = _manage_queue_error(cmd)
    aca.ended(cmd)
    if any(not victim.is_over for victim in victims):
        # The answer says that they are aborted: none may have an effect after it.
        cmd.enter(Phase.ANSWERED)
        when_ended(victims, partial(_give, cmd))
        return False
    return True


def send_back(cmd: Command) -> None:
    """End a command that has not started with BUSY: its nexus is gone."""
    _stop_waiting(cmd)
    # It has left the task set, so an ACA condition does not hold its answer back.
    cmd.tgt_dev.commands.pop(cmd, None)
    finish(cmd, Status.BUSY)


def abort(cmd: Command, how: Abort) -> None:
    """Make sure that ``cmd`` has no more effect; it may end later.

    ``cmd.call_when_ended`` tells when it has ended.
    """
    if cmd.is_over:
        return
    if cmd.abort is not Abort.SILENT:
        # An initiator that aborts its own command gets no response, even if another aborts it too.
        cmd.abort = how
    phase = cmd.phase
    if phase is Phase.EXECUTING:
        # A disk or a worker thread is at it; the answer is dropped when it comes back.
        if cmd.request is not None:
            cmd.device.env.disks.cancel(cmd.request)
        else:
            cmd.stop_waiting_for_memory()
        return
    if phase is Phase.DATA_WAIT:
        cmd.cancel_transfer()
    _stop_waiting(cmd)
    if phase is Phase.ANSWERED:
        _answer(cmd)
    else:
        finish(cmd, Status.GOOD)


def abort_commands(
    tgt_dev: TgtDev, *, by_other: bool, spare: Command | None = None
) -> list[Command]:
    """Abort the commands of a nexus; return them.

    ``by_other``: on behalf of another initiator, so that TAS decides about their answers.
    """
    device = tgt_dev.device
    how = Abort.TASK_ABORTED if by_other and device.control.tas else Abort.SILENT
    victims = [cmd for cmd in tgt_dev.commands if cmd is not spare]
    # The end of one must not let the next start.
    with device.tasks.frozen():
        for cmd in victims:
            abort(cmd, how)
    return victims


def when_ended(commands: Iterable[Command], done: Callable[[], None]) -> None:
    """Call ``done`` when all of these commands have ended; that may be at once."""
    when_all([cmd.call_when_ended for cmd in commands if not cmd.is_over], done)


def when_all(
    registers: Iterable[Callable[[Callable[[], None]], None]], call: Callable[[], None]
) -> None:
    """Call ``call`` when all of these have called what they are given; that may be at once."""
    pending = list(registers)
    left = len(pending) + 1

    def one_less() -> None:
        nonlocal left
        left -= 1
        if not left:
            call()

    for register in pending:
        register(one_less)
    one_less()


def tell_of_loss(tgt_dev: TgtDev) -> None:
    """Queue the unit attention that another initiator aborted commands (without TAS, SAM-5 5.6)."""
    if not tgt_dev.device.control.tas:
        tgt_dev.queue_unit_attention(sense.CLEARED_BY_ANOTHER_INITIATOR)


def _stop_waiting(cmd: Command) -> None:
    """Remove a command from the queue that it waits in."""
    if cmd.phase is Phase.BLOCKED:
        cmd.device.tasks.withdraw(cmd)
    elif cmd.phase in (Phase.DEFERRED, Phase.ANSWERED):
        cmd.tgt_dev.aca.forget(cmd)


def _trace(cmd: Command, condition: Sense) -> None:
    """Log in words the sense data that an initiator gets (``trace_level``: scsi, minor)."""
    trace = cmd.session.target.env.trace
    if condition == sense.INVALID_OPCODE and cmd.has_device and cmd.decoded is None:
        handler = cmd.device.handler
        trace.event(
            "minor",
            "Unknown opcode 0x%02x for %s (device %s, initiator %s): %s",
            cmd.cdb[0],
            handler.name if handler is not None else None,
            cmd.device.name,
            cmd.session.initiator_name,
            cmd.cdb.hex(" "),
        )
    if not trace.enabled("scsi"):
        return
    device_type = cmd.device.type if cmd.has_device else _UNKNOWN_TYPE
    trace.event(
        "scsi",
        "%s: %s on %s: %s",
        cmd.session.name,
        t10_names.command_name(cmd.cdb, device_type),
        cmd.device.name if cmd.has_device else f"LUN {cmd.lun.hex()}",
        t10_names.sense_text(cmd.sense),
    )


def _manage_queue_error(cmd: Command) -> list[Command]:
    """Abort other commands if the control mode page says so (QErr, SPC-4 7.5.8); returns them."""
    device, own = cmd.device, cmd.tgt_dev
    qerr = device.control.qerr
    if qerr not in (QErr.ABORT_ALL, QErr.ABORT_NEXUS):
        return []
    victims = abort_commands(own, by_other=False)
    if qerr == QErr.ABORT_NEXUS or device.separate_task_sets:
        return victims
    for tgt_dev in list(device.tgt_devs):
        # SCST also tells nexuses that lost no command. Two initiators could then fail each other's
        # commands for ever, each with the unit attention about the other's failure.
        lost = abort_commands(tgt_dev, by_other=True) if tgt_dev is not own else []
        if lost:
            tell_of_loss(tgt_dev)
        victims += lost
    return victims
