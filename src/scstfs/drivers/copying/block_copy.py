"""How copies are made, for all commands (SPC-4 5.17.7).

A copy is a list of *pieces*, each so many bytes from one device to another.  Before it begins it
gets claims on all blocks that it will read or write (``core.taskset``), so commands for the same
blocks wait until it is over and never see half of it.  The bytes move in steps in the global worker
threads; between two steps the copy can be aborted, and other work gets its turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core import execute
from scstfs.core.blocks import Blocks, SourceError
from scstfs.core.command import Command, Phase
from scstfs.core.device import Answer, Device, fenced
from scstfs.core.operation import Operation, Steps, Stopped
from scstfs.core.taskset import Claim, Hold, TaskSet
from scstfs.drivers.copying.records import CopyRecord
from scstfs.scsi import sense
from scstfs.scsi.cdb import RW
from scstfs.scsi.opcodes import Flag
from scstfs.scsi.sense import CheckCondition, CopySide, FieldPointer, Origin, ThirdParty
from scstfs.scsi.status import TaskStatus, reservation_conflict

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.core.session import Session

log = logging.getLogger(__name__)

#: Bytes that one step moves.
STEP: Final = 4 << 20

_READ: Final = RW[0x28].op.flags
_WRITE: Final = RW[0x2A].op.flags


# Pieces


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` bytes from one device, or zeros from none, to another; offsets in bytes.

    ``segment`` is the number of its segment or range; ``descriptor`` is the offset of the
    destination's description in the parameter list.
    """

    source: Device | None
    source_offset: int
    destination: Device
    offset: int
    length: int
    segment: int
    descriptor: int = 0


def claims_of(pieces: Iterable[Piece]) -> tuple[tuple[TaskSet, Claim], ...]:
    """The claims of a copy; ranges that adjoin or overlap are merged."""
    ranges: dict[tuple[TaskSet, bool], list[tuple[int, int]]] = {}
    for piece in pieces:
        if not piece.length:
            continue
        if piece.source is not None:
            _add(ranges, piece.source, piece.source_offset, piece.length, writes=False)
        _add(ranges, piece.destination, piece.offset, piece.length, writes=True)
    return tuple(
        (tasks, Claim(start, end, writes, exclusive=True))
        for (tasks, writes), found in ranges.items()
        for start, end in _merged(found)
    )


def _add(
    ranges: dict[tuple[TaskSet, bool], list[tuple[int, int]]],
    device: Device,
    offset: int,
    length: int,
    *,
    writes: bool,
) -> None:
    shift = device.block_shift
    block_range = (offset >> shift, (offset + length) >> shift)
    ranges.setdefault((device.tasks, writes), []).append(block_range)


def _merged(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, end = -1, -1
    for low, high in sorted(ranges):
        if low > end:
            if end > start:
                yield start, end
            start, end = low, high
        end = max(end, high)
    if end > start:
        yield start, end


# A copy under way


class Copy:
    """Moves pieces on behalf of one session."""

    def __init__(
        self,
        scst: Scst,
        session: Session,
        pieces: Iterable[Piece],
        record: CopyRecord,
        ended: Callable[[Copy, CheckCondition | TaskStatus | None], None],
    ) -> None:
        """``ended`` is called at the end, with the error or None."""
        self._scst = scst
        self._session = session
        self._pieces = tuple(pieces)
        self._record = record
        self._ended = ended
        self._holds: list[tuple[TaskSet, Hold]] = []
        self._command: Command | None = None
        self._lost: Device | None = None
        self._operation = Operation(scst.env.threads, self._run(), self._finish)

    def start(self, command: Command | None) -> None:
        """Begin; ``command`` is the one that waits for the end, or None.

        Call it when a command with the claims of these pieces starts.
        """
        self._command = command
        if command is not None:
            command.enter(Phase.EXECUTING)
            command.device.tasks.started(command)
        held: dict[TaskSet, list[Claim]] = {}
        for tasks, claim in claims_of(self._pieces):
            held.setdefault(tasks, []).append(claim)
        self._holds = [(tasks, tasks.hold(claims)) for tasks, claims in held.items()]
        self._operation.start()

    def touches(self, device: Device) -> bool:
        """Return whether ``device`` is copied from or to."""
        return any(device in (piece.source, piece.destination) for piece in self._pieces)

    def lose(self, device: Device) -> None:
        """``device`` is being deleted: end soon."""
        self._lost = device
        self._operation.stop()

    def _run(self) -> Steps:
        written: dict[Device, Blocks] = {}
        for piece in self._pieces:
            if not piece.length:
                continue
            self._record.segments = piece.segment + 1
            self._require_devices(piece)
            source = self._source(piece)
            blocks = written[piece.destination] = self._destination(piece)
            for offset, length in _steps(piece, source, blocks):
                self._check_aborted()
                # A session that a reservation has excluded meanwhile must not continue to write.
                self._check_reservations(piece)
                try:
                    work = _work(piece, source, blocks, offset, length)
                    yield fenced(piece.source, fenced(piece.destination, work))
                except SourceError as error:
                    assert piece.source is not None
                    outcome = piece.source.translate(error.error, writing=False)
                    raise _failed(piece, CopySide.SOURCE, outcome) from error
                except OSError as error:
                    outcome = piece.destination.translate(error, writing=True)
                    raise _failed(piece, CopySide.DESTINATION, outcome) from error
                self._record.bytes_written += length
        for device, blocks in written.items():
            yield fenced(device, blocks.flush)

    def _require_devices(self, piece: Piece) -> None:
        """Check that the devices still exist: one may have been deleted while the copy waited."""
        for device in (piece.source, piece.destination):
            if device is not None and self._scst.devices.get(device.name) is not device:
                raise _lost(piece.segment)

    def _check_aborted(self) -> None:
        if self._command is not None and self._command.abort is not None:
            raise Stopped

    def _check_reservations(self, piece: Piece) -> None:
        for device, side, flags in (
            (piece.source, CopySide.SOURCE, _READ),
            (piece.destination, CopySide.DESTINATION, _WRITE),
        ):
            try:
                if device is not None:
                    self._check_reservation(device, flags)
            except TaskStatus as error:
                raise _failed(piece, side, error) from error

    def _source(self, piece: Piece) -> Blocks | None:
        device = piece.source
        if device is None:
            return None
        try:
            return self._access(device, piece.source_offset, piece.length, _READ)
        except (CheckCondition, TaskStatus) as error:
            raise _failed(piece, CopySide.SOURCE, error) from error

    def _destination(self, piece: Piece) -> Blocks:
        try:
            return self._access(piece.destination, piece.offset, piece.length, _WRITE)
        except (CheckCondition, TaskStatus) as error:
            raise _failed(piece, CopySide.DESTINATION, error) from error

    def _access(self, device: Device, offset: int, length: int, flags: Flag) -> Blocks:
        """Make the checks of a READ or WRITE of the session."""
        self._check_reservation(device, flags)
        blocks = device.copy_blocks()
        if offset + length > device.blocks << device.block_shift:
            raise CheckCondition(sense.LBA_OUT_OF_RANGE)
        return blocks

    def _check_reservation(self, device: Device, flags: Flag) -> None:
        registrants = (t.registrant for t in device.tgt_devs if t.session is self._session)
        registrant = next(registrants, None)
        if device.reserved_by not in (None, self._session):
            raise reservation_conflict()
        if not device.pr.allows(registrant, flags):
            raise reservation_conflict()

    def _finish(self, error: BaseException | None) -> None:
        outcome: CheckCondition | TaskStatus | None = None
        if isinstance(error, CheckCondition | TaskStatus):
            outcome = error
        elif isinstance(error, OSError):
            # Only the flush can fail like this.
            last = self._pieces[-1]
            written = last.destination.translate(error, writing=True)
            outcome = _failed(last, CopySide.DESTINATION, written)
        elif isinstance(error, Stopped):
            outcome = CheckCondition(sense.ABORTED)
            if self._lost is not None:
                outcome = _lost(self._record.segments - 1)
        elif error is not None:
            log.error("a copy failed", exc_info=error)
            outcome = CheckCondition(sense.INTERNAL_TARGET_FAILURE)
        self._ended(self, outcome)
        command = self._command
        if command is not None:
            execute.resume(command, lambda: _answer(outcome))
        for tasks, hold in self._holds:
            tasks.release(hold)


def _answer(outcome: CheckCondition | TaskStatus | None) -> Answer:
    if outcome is not None:
        raise outcome
    return b""


def _steps(piece: Piece, source: Blocks | None, target: Blocks) -> Iterator[tuple[int, int]]:
    """Cut a piece: offsets from its beginning, and lengths.

    If it overlaps itself and the data moves towards the end, the steps go from the end to the
    beginning.
    """
    starts = range(0, piece.length, STEP)
    moves_up = piece.offset > piece.source_offset
    backwards = source is not None and moves_up and target.shares_medium(source)
    for start in reversed(starts) if backwards else starts:
        yield start, min(STEP, piece.length - start)


def _work(
    piece: Piece, source: Blocks | None, target: Blocks, offset: int, length: int
) -> Callable[[], object]:
    if source is None:
        return partial(target.zero, piece.offset + offset, length)
    return partial(
        target.copy_from, source, piece.source_offset + offset, piece.offset + offset, length
    )


def _lost(segment: int) -> CheckCondition:
    return CheckCondition(replace(sense.COPY_DEVICE_NOT_REACHABLE, segment=segment))


def _failed(piece: Piece, side: CopySide, error: CheckCondition | TaskStatus) -> CheckCondition:
    """The sense that the copy's command gets for an error of one of the devices."""
    if isinstance(error, CheckCondition):
        answer = error.sense.encode()
    elif side is CopySide.DESTINATION:
        pointer = FieldPointer(piece.descriptor, None, Origin.PARAMETERS)
        failure = sense.THIRD_PARTY_DEVICE_FAILURE
        return CheckCondition(replace(failure, specific=pointer, segment=piece.segment))
    else:
        answer = b""
    third_party = ThirdParty(side, error.status, answer)
    failure = sense.COPY_SEGMENT_ERROR
    return CheckCondition(replace(failure, segment=piece.segment, third_party=third_party))
