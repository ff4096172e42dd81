"""Block commands (SBC-3) of virtual devices.

What waits for a disk is a program, which goes on while the event loop does other things.  What the
system cannot do without a thread is a job.  Any other READ or WRITE is done at once.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from scstfs.aio import DiskRequest, RequestKind
from scstfs.core.command import Command
from scstfs.core.device import Answer, Job, Program, Until
from scstfs.handlers import atomic, store_errors, store_steps
from scstfs.handlers.store_steps import StoreSteps
from scstfs.scsi import provisioning, sense
from scstfs.scsi import sbc as block
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.provisioning import LbaRange, LbaStatus, Provisioning
from scstfs.scsi.sense import CheckCondition, invalid_field_in_cdb

if TYPE_CHECKING:
    from scstfs.handlers.store import Store
    from scstfs.handlers.vdisk import VdiskDevice

log = logging.getLogger(__name__)

#: Of a program, with the answer of the command at its end.
Ending: TypeAlias = Generator[DiskRequest, int, Answer]

#: Bytes up to which a READ or WRITE is done in the event loop: copying more delays other work.
AT_ONCE: Final = 4 << 20

_FUA: Final = 0x08
_BYTCHK: Final = 0x06
_BYTCHK_ONE_BLOCK: Final = 0x06
_IMMED: Final = 0x02


def read(device: VdiskDevice, cmd: Command) -> Answer:
    """READ in all sizes."""
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)
    if not cmd.has_memory:
        return Until(cmd.when_memory, partial(read, device, cmd))
    buffer = cmd.allocate(length)
    if length <= AT_ONCE and store.try_read(offset, buffer):
        return buffer

    def program() -> Ending:
        yield from store_steps.read(offset, buffer)
        return buffer

    return Program(store.submit, program())


def write(device: VdiskDevice, cmd: Command) -> Answer:
    """WRITE in all sizes; FUA makes the data durable before the answer."""
    store, (offset, _) = device.medium.need_store(), _range(device, cmd)
    data, durable = memoryview(cmd.data), _is_durable(device, cmd)
    if not durable and len(data) <= AT_ONCE and _try_write(device, store, offset, data):
        return b""
    return _done_by(store, store_steps.write(offset, data, durable=durable))


def _try_write(device: VdiskDevice, store: Store, offset: int, data: memoryview) -> bool:
    """Write ``data`` of a command, which stays, if that takes no time."""
    shared = device.shared
    deadline = 0 if shared is None else shared.fence.address
    return store.try_write(offset, data, stays=True, deadline=deadline)


def write_and_verify(device: VdiskDevice, cmd: Command) -> Answer:
    """WRITE AND VERIFY: written durably and read back."""
    store, (offset, _) = device.medium.need_store(), _range(device, cmd)
    data, durable = memoryview(cmd.data), device.flushes
    compares = device.kind.keeps_data and bool(_bytchk(cmd))

    def program() -> StoreSteps:
        yield from store_steps.write(offset, data, durable=durable)
        if compares:
            yield from _verify(offset, data)

    return _done_by(store, program())


def verify(device: VdiskDevice, cmd: Command) -> Answer:
    """VERIFY: the medium can be read and, with BYTCHK, holds the data that was sent."""
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)
    data, bytchk = memoryview(cmd.data), _bytchk(cmd)
    if not device.kind.keeps_data or not length:
        return b""
    if bytchk == _BYTCHK_ONE_BLOCK:
        data = _whole_block(device, cmd)

    def program() -> StoreSteps:
        if not bytchk:
            room = store_steps.room(min(length, store_steps.MOST))
            for start, size in _while_wanted(cmd, store_steps.pieces(offset, length)):
                yield from store_steps.read(start, room[:size])
        elif bytchk == _BYTCHK_ONE_BLOCK:
            repeated = _repeated(data, length)
            for start, size in _while_wanted(cmd, store_steps.pieces(offset, length, len(data))):
                yield from _verify(start, repeated[:size])
        else:
            yield from _verify(offset, data)

    return _done_by(store, program())


def compare_and_write(device: VdiskDevice, cmd: Command) -> Answer:
    """COMPARE AND WRITE: no other command touches the blocks meanwhile (SBC-3 5.2).

    The task set sees to that (Flag.ATOMIC).  Where the blocks are in memory it is done on the
    spot: locks of cluster file systems are taken this way.
    """
    block.check_compare_and_write(cmd.parsed.length, cmd.expected_length)
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)
    data, durable = memoryview(cmd.data), _is_durable(device, cmd)
    expected, new = data[:length], data[length:]
    present = store_steps.room(length)
    # Compared at most once: a write that was declined may have happened in part.
    compared = not durable and store.try_read(offset, present)
    if compared:
        _require_equal(present, expected)
        if _try_write(device, store, offset, new):
            return b""

    def program() -> StoreSteps:
        for start, size in store_steps.pieces(0, 0 if compared else length):
            yield from _read_first(offset + start, present[:size])
            _require_equal(present[:size], expected[start : start + size], start)
        yield from store_steps.write(offset, new, durable=durable)

    return _done_by(store, program())


def orwrite(device: VdiskDevice, cmd: Command) -> Answer:
    """ORWRITE: bits are added to the medium's (SBC-3 5.9)."""
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)
    data, durable = memoryview(cmd.data), _is_durable(device, cmd)
    total = min(length, len(data))

    def program() -> StoreSteps:
        room = store_steps.room(min(total, store_steps.MOST))
        for start, size in store_steps.pieces(0, total):
            part = room[:size]
            yield from _read_first(offset + start, part)
            merged = int.from_bytes(part, "big") | int.from_bytes(data[start:][:size], "big")
            part[:] = merged.to_bytes(size, "big")
            yield from store_steps.write(offset + start, part, durable=durable)

    return _done_by(store, program())


def write_atomic(device: VdiskDevice, cmd: Command) -> Answer:
    """WRITE ATOMIC(16): all blocks or none, whatever happens (SBC-4 5.48).

    A single block needs no help: no disk writes half of one.
    """
    block.check_write_atomic(cmd.cdb)
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)
    if length > atomic.MOST_BYTES:
        raise invalid_field_in_cdb(12)
    if length <= 1 << device.block_shift or not device.kind.keeps_data:
        return write(device, cmd)
    data, undo = memoryview(cmd.data), device.undo

    def work() -> bytes:
        atomic.write(store, undo, offset, data)
        return b""

    return Job(work)


def write_same(device: VdiskDevice, cmd: Command) -> Answer:
    """WRITE SAME: one block many times, or zeros, or blocks given back."""
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)
    unit = device.describe()
    unmap = provisioning.check_write_same(cmd.parsed.op, cmd.cdb, length, unit)
    # Without data (NDOB) the block is one of zeros (SBC-3 5.43).
    pattern = memoryview(bytes(unit.block_size))
    if cmd.parsed.direction is not Direction.NONE:
        pattern = _whole_block(device, cmd)
    durable, zeros = device.writes_through, not any(pattern)

    def program() -> StoreSteps:
        if not zeros:
            repeated = _repeated(pattern, length)
            for start, size in store_steps.pieces(offset, length, len(pattern)):
                yield from store_steps.write(start, repeated[:size])
        elif unmap:
            yield from store.zeroing_by_discard(offset, length)
        else:
            yield from store.zeroing(offset, length)
        if durable:
            yield from store_steps.flush()

    return _done_by(store, program())


def unmap(device: VdiskDevice, cmd: Command) -> Answer:
    """UNMAP: blocks are given back; all of them have to exist.

    A descriptor of no blocks may be anywhere, as with SCST.
    """
    extents: list[LbaRange] = cmd.descriptors  # type: ignore[assignment]
    provisioning.check_unmap(cmd.cdb, extents, device.describe())
    store, shift, blocks = device.medium.need_store(), device.block_shift, device.blocks
    if any(extent.blocks and extent.lba + extent.blocks > blocks for extent in extents):
        raise CheckCondition(sense.LBA_OUT_OF_RANGE)
    durable = device.writes_through

    def program() -> StoreSteps:
        for extent in extents:
            if extent.blocks:
                yield from store.discarding(extent.lba << shift, extent.blocks << shift)
        if durable:
            # What is gone must not come back with a power failure, since it reads as zeros.
            yield from store_steps.flush()

    return _done_by(store, program())


def get_lba_status(device: VdiskDevice, cmd: Command) -> Answer:
    """GET LBA STATUS: what the file system says about holes."""
    store, shift, lba = device.medium.need_store(), device.block_shift, cmd.parsed.lba or 0
    if lba >= device.blocks:
        raise CheckCondition(sense.LBA_OUT_OF_RANGE)
    limit = provisioning.lba_status_count(cmd.parsed.length)
    start, end = lba << shift, device.blocks << shift

    def work() -> bytes:
        runs = [
            LbaStatus(first, blocks, Provisioning.MAPPED if allocated else Provisioning.DEALLOCATED)
            for first, blocks, allocated in itertools.islice(_runs(store, start, end, shift), limit)
        ]
        return provisioning.get_lba_status(runs)

    return Job(work)


def pre_fetch(device: VdiskDevice, cmd: Command) -> Answer:
    """PRE-FETCH: the page cache is told; GOOD does not say whether all fits (SBC-3 5.13)."""
    store, (offset, length) = device.medium.need_store(), _range(device, cmd)

    def work() -> bytes:
        # No length means the rest of the medium, here and there.
        store.prefetch(offset, length)
        return b""

    return Job(work)


def read_defect_data(device: VdiskDevice, cmd: Command) -> Answer:
    """READ DEFECT DATA: there are none."""
    return block.read_defect_data(cmd.cdb)


def synchronize_cache(device: VdiskDevice, cmd: Command) -> Answer:
    """SYNCHRONIZE CACHE: the whole device, whatever range was asked for; IMMED does not wait."""
    _trace_order(device, cmd, "SYNCHRONIZE CACHE")
    if not cmd.cdb[1] & _IMMED:
        return _flush(device)
    store = device.medium.store
    if store is not None and device.flushes:
        hold = device.tasks.hold(in_background=True)

        def done(error: int) -> None:
            if error:
                log.error("%s: cannot write cached data: %s", device, os.strerror(error))
                device.medium.flush_error = error
            device.tasks.release(hold)

        store.submit(DiskRequest(RequestKind.FLUSH, done=done))
    return b""


def start_stop_unit(device: VdiskDevice, cmd: Command) -> Answer:
    """START STOP UNIT: flushes and changes nothing, as in SCST."""
    return _flush(device)


def _flush(device: VdiskDevice) -> Answer:
    store = device.medium.store
    if store is None or not device.flushes:
        return b""
    lost = device.medium.take_flush_error()

    def program() -> Ending:
        error = yield DiskRequest(RequestKind.FLUSH)
        if error or lost:
            # No command that writes, but what fails is a write.
            raise store_errors.translate(OSError(error or lost, ""), writing=True)
        return b""

    return Program(store.submit, program())


def _done_by(store: Store, work: StoreSteps) -> Program:
    """GOOD without data when ``work`` has been done."""

    def program() -> Ending:
        yield from work
        return b""

    return Program(store.submit, program())


def _range(device: VdiskDevice, cmd: Command) -> tuple[int, int]:
    """Offset and length of the medium that the command touches (bytes)."""
    decoded = cmd.parsed
    return (decoded.lba or 0) << device.block_shift, decoded.data_length


def _is_durable(device: VdiskDevice, cmd: Command) -> bool:
    """What the command writes must be safe before it is answered."""
    fua = _wants_fua(cmd)
    if fua:
        _trace_order(device, cmd, "FUA")
    return device.writes_through or (device.flushes and fua)


def _trace_order(device: VdiskDevice, cmd: Command, what: str) -> None:
    """Log a request for durable data or an order of commands (``trace_level``: order)."""
    device.kind.trace.event(
        "order", "%s: %s from %s: %s", device.name, what, cmd.session.initiator_name, cmd.cdb.hex()
    )


def _wants_fua(cmd: Command) -> bool:
    # Only the CDBs of 10 bytes and more have the bit; those of 32 bytes elsewhere.
    size = cmd.parsed.op.cdb_length
    return size > 6 and bool(cmd.cdb[10 if size == 32 else 1] & _FUA)


def _bytchk(cmd: Command) -> int:
    return cmd.cdb[10 if cmd.parsed.op.cdb_length == 32 else 1] & _BYTCHK


def _whole_block(device: VdiskDevice, cmd: Command) -> memoryview:
    """The one block of data of a command; raises CheckCondition if less or more was announced.

    SCST takes what there is.
    """
    data = memoryview(cmd.data)
    if not len(data) == cmd.expected_length == 1 << device.block_shift:
        raise CheckCondition(sense.INVALID_FIELD_IN_INFORMATION_UNIT)
    return data


def _repeated(block: memoryview, length: int) -> memoryview:
    """``block`` as often as one step takes, of which no more than ``length`` bytes are needed."""
    size = min(length, max(store_steps.MOST, len(block)))
    repeated = store_steps.room(size // len(block) * len(block))
    repeated[:] = bytes(block) * (size // len(block))
    return repeated


def _while_wanted(cmd: Command, steps: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Take ``store_steps`` until ``cmd`` is aborted.

    Without data to transfer a single command may concern terabytes: an abort or a reset must not
    wait for all of them.
    """
    for step in steps:
        if cmd.abort is not None:
            raise CheckCondition(sense.ABORTED)
        yield step


def _read_first(offset: int, into: memoryview) -> StoreSteps:
    """Read for a command that writes: it must be seen which of the two failed."""
    try:
        yield from store_steps.read(offset, into)
    except OSError as error:
        raise store_errors.translate(error, writing=False) from error


def _verify(offset: int, data: memoryview) -> StoreSteps:
    """Raise MISCOMPARE unless the medium holds ``data``."""
    room = store_steps.room(min(len(data), store_steps.MOST))
    for start, size in store_steps.pieces(0, len(data)):
        part = room[:size]
        yield from _read_first(offset + start, part)
        if part != data[start : start + size]:
            raise CheckCondition(sense.MISCOMPARE)


def _require_equal(present: memoryview, expected: memoryview, origin: int = 0) -> None:
    """Raise MISCOMPARE with the offset of the first difference, counted from ``origin`` on."""
    if present == expected:
        return
    low, high = 0, len(expected)
    while high - low > 1:
        middle = (low + high) // 2
        if present[low:middle] != expected[low:middle]:
            high = middle
        else:
            low = middle
    raise CheckCondition(sense.MISCOMPARE.with_information(origin + low))


def _runs(store: Store, start: int, end: int, shift: int) -> Iterator[tuple[int, int, bool]]:
    """Runs of (LBA, blocks, allocated); a block that is allocated in part counts as allocated."""
    lba, last = start >> shift, end >> shift
    pending: tuple[int, int, bool] | None = None
    for extent in store.extents(start, end - start):
        first = max(lba, (extent.start + ((1 << shift) - 1)) >> shift)
        stop = extent.end >> shift
        if extent.allocated:
            first, stop = max(lba, extent.start >> shift), -(-extent.end >> shift)
        stop = min(stop, last)
        if stop <= first:
            continue
        if pending is not None and pending[2] == extent.allocated:
            pending = (pending[0], stop - pending[0], extent.allocated)
        else:
            if pending is not None:
                yield pending
            pending = (first, stop - first, extent.allocated)
        lba = stop
    if pending is not None:
        yield pending


COMMANDS: Final[Mapping[str, Callable[[VdiskDevice, Command], Answer]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            read,
            write,
            write_and_verify,
            verify,
            compare_and_write,
            orwrite,
            write_atomic,
            write_same,
            unmap,
            get_lba_status,
            pre_fetch,
            read_defect_data,
            synchronize_cache,
            start_stop_unit,
        )
    }
)
