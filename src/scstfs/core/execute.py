"""From a received command to its answer: the pipeline that every command goes through.

``prepare`` finds the LUN and understands the CDB before any data is transferred; ``run`` ends a
WRITE at once if nothing is in its way (``quick``), and has any other command wait for its turn
(``taskset``, ``aca``); ``start`` takes it through the gates (``gates``) to its executor: the core
for what concerns more than one device's blocks (``core_commands``), the copy manager for copies,
otherwise the device.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from scstfs.aio import DiskRequest, RequestKind
from scstfs.core import core_commands, gates, no_device
from scstfs.core.command import Abort, Command, Data, Phase
from scstfs.core.completion import abort, finish, send_back
from scstfs.core.device import LATER, Completion, Job, Later, Program, Until, fenced
from scstfs.core.quick import recognise
from scstfs.core.taskset import TaskAttribute
from scstfs.scsi import sense
from scstfs.scsi.opcodes import Flag
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus

if TYPE_CHECKING:
    from scstfs.core.device import Answer
    from scstfs.core.quick import Submit
    from scstfs.core.session import TgtDev
    from scstfs.scsi.cdb import Decoded

log = logging.getLogger(__name__)

T = TypeVar("T")

_WRITE: Final = int(RequestKind.WRITE)

#: How long a command waits, once, for the end of an ALUA transition (seconds).
TRANSITION_DELAY: Final = 0.5


def prepare(cmd: Command) -> None:
    """Find the LUN and decode the CDB.

    The command may be over when this returns (``reply`` was called); otherwise the driver fetches
    ``data_out_length`` bytes and calls ``run``.
    """
    session = cmd.session
    session.command_count += 1
    tgt_dev = session.find(cmd.lun)
    if tgt_dev is None or tgt_dev.device.handler is None:
        _conclude(cmd, _guarded(cmd, partial(no_device.answer, cmd)))
        return
    cmd.attach(tgt_dev)
    device = tgt_dev.device
    try:
        gates.check_queue_depth(tgt_dev)
        if tgt_dev.aca.faulted is not None or cmd.attribute is TaskAttribute.ACA:
            tgt_dev.aca.admit(cmd, only_task_management=bool(device.control.tmf_only))
        decoded = device.decode(cmd)
        cmd.cdb, cmd.flags = decoded.cdb, decoded.flags
        device.check_range(decoded)
        cmd.decoded = decoded.settle(cmd.expected_direction, cmd.expected_length)
    except (CheckCondition, TaskStatus) as outcome:
        _refuse(cmd, outcome)
        return
    tgt_dev.commands[cmd] = None
    cmd.enter(Phase.DATA_WAIT)


def prepare_decoded(cmd: Command, tgt_dev: TgtDev, decoded: Decoded) -> None:
    """What ``prepare`` does, for what is recognised while ``tgt_dev.available`` has a way."""
    cmd.session.command_count += 1
    cmd.attach(tgt_dev)
    cmd.cdb, cmd.flags, cmd.decoded = decoded.cdb, decoded.flags, decoded
    tgt_dev.commands[cmd] = None
    cmd.enter(Phase.DATA_WAIT)


def run(cmd: Command) -> None:
    """Execute a prepared command whose data-out is there."""
    if cmd.has_answer or _is_written(cmd):
        return
    session = cmd.session
    if not session.executes:
        # The session that this one takes over from is still being closed.
        session.postponed.append(cmd)
        return
    if cmd.tgt_dev.is_gone:
        send_back(cmd)
        return
    if cmd.flags & Flag.DESCRIPTORS and cmd.listed_claims is None:
        # A faulty parameter list is found before any other check.
        _guarded(cmd, partial(_understand, cmd))
        if cmd.has_answer:
            return
    try:
        gates.check_access_state(cmd)
    except CheckCondition as condition:
        if condition.sense == sense.ALUA_TRANSITION and not cmd.retried:
            cmd.retried = True
            cmd.device.env.trace.event(
                "retry",
                "%s: command %s from %s is tried again in %s s: ALUA transition",
                cmd.device.name,
                cmd.cdb.hex(),
                cmd.session.initiator_name,
                TRANSITION_DELAY,
            )
            cmd.device.env.runtime.call_later(TRANSITION_DELAY, partial(run, cmd))
            return
        _refuse(cmd, condition)
        return
    _wait_for_turn(cmd)


def _is_written(cmd: Command) -> bool:
    """Have a WRITE at which no gate would look write its blocks, at once or by a disk."""
    if not cmd.data or not cmd.attribute.is_unordered:
        return False
    quick = cmd.tgt_dev.quick
    if (quick.write is None and quick.submit_write is None) or cmd.device.tasks.gated:
        return False
    found = recognise(quick.entries, quick.shift, quick.size, cmd.cdb)
    if found is None:
        return False
    entry, offset, length = found
    if not entry.writes or length != cmd.parsed.length or length != len(cmd.data):
        return False
    data = memoryview(cmd.data)
    if quick.write is not None and quick.write(offset, data, stays=True):
        finish(cmd, Status.GOOD)
        return True
    if quick.submit_write is None:
        return False
    done = partial(moved, cmd, b"")
    begin(cmd, quick.submit_write, DiskRequest(_WRITE, offset, data, done, durable=quick.durable))
    return True


def begin(cmd: Command, submit: Submit, request: DiskRequest) -> None:
    """Have a disk do what was recognised: a READ or WRITE at which no gate would look.

    ``cmd`` is prepared and has its data, and ``TgtDev.available`` had ``submit`` for it.  Its end
    calls ``moved``.
    """
    cmd.phase, cmd.executing_since = Phase.EXECUTING, cmd.began
    cmd.request = request
    cmd.device.tasks.began(cmd)
    submit(request)


def moved(cmd: Command, data: Data, error: int) -> None:
    """The disk that ``begin`` had begin has done what it had to, or failed (an errno or 0).

    ``data`` is the command's data-in.
    """
    cmd.request = None
    resume(cmd, lambda: _fail(error) if error else data)


def _fail(error: int) -> Answer:
    raise OSError(error, os.strerror(error))


def _wait_for_turn(cmd: Command) -> None:
    cmd.enter(Phase.BLOCKED)
    shared = cmd.device.shared
    if shared is not None and cmd.flags & Flag.SKIP_UA and shared.is_closed:
        # It is about the target rather than the unit: discovery must go on.
        start(cmd)
    elif cmd.device.tasks.admit(cmd):
        start(cmd)


def start(cmd: Command) -> None:
    """Take an admitted command through the gates and execute it."""
    if cmd.has_answer:
        return
    shared = cmd.device.shared
    if shared is not None and not cmd.flags & Flag.SKIP_UA and shared.close_if_late():
        _wait_for_turn(cmd)
        return
    if gates.is_swallowed(cmd.tgt_dev, cmd.parsed.direction):
        abort(cmd, Abort.SILENT)
        return
    if cmd.tgt_dev.aca.stops(cmd):
        cmd.enter(Phase.DEFERRED)
        cmd.tgt_dev.aca.defer(cmd, partial(_wait_for_turn, cmd))
        return
    _conclude(cmd, _guarded(cmd, partial(_execute, cmd)))


def resume(cmd: Command, outcome: Callable[[], Answer]) -> None:
    """Continue a command whose executor returned LATER; ``outcome`` returns its result."""
    # The order matters: commands that waited for this one must find its effects.
    _conclude(cmd, _guarded(cmd, outcome))
    if cmd.has_answer:
        cmd.device.tasks.finished(cmd)


def _understand(cmd: Command) -> None:
    name = cmd.parsed.op.execute
    understand = core_commands.DESCRIPTORS.get(name) or cmd.device.env.descriptors.get(name)
    if understand is None:
        raise CheckCondition(sense.INVALID_OPCODE)
    cmd.listed_claims = ()
    understand(cmd)


def _execute(cmd: Command) -> Answer:
    gates.check(cmd)
    device, name = cmd.device, cmd.parsed.op.execute
    device.check_available(cmd)
    if cmd.flags & Flag.WRITES_MEDIUM:
        shared = device.shared
        if shared is not None and cmd.flags & Flag.ATOMIC and not shared.is_atomic_here:
            return shared.make_atomic(cmd, partial(_execute, cmd))
        for tasks, claim in cmd.claims():
            if claim.writes:
                tasks.watchers.tell(claim)
    own = core_commands.COMMANDS.get(name) or device.env.commands.get(name)
    return own(cmd) if own is not None else device.execute(cmd)


def _guarded(cmd: Command, action: Callable[[], T]) -> T | None:
    """Return the result of ``action``; None if it failed, and the command is then over.

    A bug costs that command only.
    """
    try:
        return action()
    except (CheckCondition, TaskStatus) as outcome:
        _refuse(cmd, outcome)
    except OSError as error:
        writing = bool(cmd.flags & Flag.WRITES_MEDIUM)
        _refuse(cmd, cmd.device.translate(error, writing=writing))
    except Exception:
        log.exception("command %s failed", cmd.cdb.hex())
        _refuse(cmd, CheckCondition(sense.INTERNAL_TARGET_FAILURE))
    return None


def _refuse(cmd: Command, outcome: CheckCondition | TaskStatus) -> None:
    condition = outcome if isinstance(outcome, CheckCondition) else None
    finish(cmd, outcome.status, condition)


def _conclude(cmd: Command, answer: Answer | None) -> None:
    """End the command, or let a disk or a worker thread do what takes time."""
    if answer is None or isinstance(answer, Later):
        return
    if isinstance(answer, Program):
        cmd.enter(Phase.EXECUTING)
        cmd.device.tasks.started(cmd)
        _go_on(cmd, answer, None)
        return
    if isinstance(answer, Job):
        cmd.enter(Phase.EXECUTING)
        cmd.device.tasks.started(cmd)
        pool, about_unit = answer.pool or cmd.tgt_dev.pool, not cmd.flags & Flag.SKIP_UA
        work = fenced(cmd.device, answer.work) if about_unit else answer.work
        pool.submit(work, partial(_job_done, cmd, answer))
        return
    if isinstance(answer, Until):
        cmd.enter(Phase.EXECUTING)
        cmd.device.tasks.started(cmd)
        answer.register(partial(resume, cmd, partial(_waited, cmd, answer)))
        return
    if isinstance(answer, Completion):
        condition = None if answer.sense is None else CheckCondition(answer.sense)
        finish(cmd, answer.status, condition, answer.data)
        return
    finish(cmd, Status.GOOD, data=answer)


def _waited(cmd: Command, until: Until) -> Answer:
    return b"" if until.then is None or cmd.abort is not None else until.then()


def _job_done(cmd: Command, job: Job, value: object, error: BaseException | None) -> None:
    def outcome() -> Answer:
        if error is not None:
            if job.failed is not None:
                return job.failed(error)
            raise error
        if job.then is not None:
            return job.then(value)
        assert isinstance(value, bytes | bytearray | memoryview)
        return value

    resume(cmd, outcome)


def _go_on(cmd: Command, program: Program, error: int | None) -> None:
    """Have a program make its next step: the one before ended with ``error``, if there was one."""
    cmd.request = None
    shared = cmd.device.shared
    if error == 0 and shared is not None and not shared.fence.is_open:
        # What comes next may not even need a disk.
        error = errno.ETIME

    def outcome() -> Answer:
        try:
            request = next(program.steps) if error is None else program.steps.send(error)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        cmd.request = request
        request.done = partial(_go_on, cmd, program)
        if shared is not None:
            shared.fence.limit(request)
        program.submit(request)
        return LATER

    resume(cmd, outcome)
