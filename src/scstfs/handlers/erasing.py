"""FORMAT UNIT and SANITIZE of virtual devices (SBC-4 5.4, 5.34)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.device import Answer
from scstfs.core.operation import Stopped
from scstfs.handlers.long_operation import BlockingStep, LongOperation
from scstfs.handlers.store_steps import StoreSteps, run
from scstfs.scsi import sbc as block
from scstfs.scsi import sense
from scstfs.scsi.opcodes import Flag
from scstfs.scsi.sbc import Overwrite
from scstfs.scsi.sense import CheckCondition, invalid_field_in_cdb

if TYPE_CHECKING:
    from scstfs.handlers.store import Store
    from scstfs.handlers.vdisk import VdiskDevice

#: Bytes that one step gives back, and that one step writes.
DISCARD_STEP: Final = 1 << 30
WRITE_STEP: Final = 4 << 20

_IMMED: Final = 0x80
_AUSE: Final = 0x20


def format_unit(device: VdiskDevice, cmd: Command) -> Answer:
    """FORMAT UNIT: a thin device gives all its blocks back, others stay as they are."""
    plan = block.format_unit(cmd.cdb, bytes(cmd.data), protection=0)
    if plan is None or not device.medium.thin:
        return b""
    store, size = device.medium.need_store(), device.blocks << device.block_shift
    operation = LongOperation(
        device,
        "FORMAT UNIT",
        sense.FORMAT_IN_PROGRESS,
        Flag.FORMATTING_OK,
        _flushed(store, _steps(store, store.discarding, size)),
        size,
        lambda error: error,
    )
    return operation.begin(cmd, immediate=plan.immediate)


def sanitize_block_erase(device: VdiskDevice, cmd: Command) -> Answer:
    """SANITIZE with BLOCK ERASE: every block reads as zeros, what can be given back is."""
    block.check_sanitize(cmd.cdb)
    store, size = device.medium.need_store(), device.blocks << device.block_shift
    erase = store.zeroing_by_discard if device.medium.thin else store.zeroing
    return _sanitize(device, cmd, _flushed(store, _steps(store, erase, size)), size)


def sanitize_overwrite(device: VdiskDevice, cmd: Command) -> Answer:
    """SANITIZE with OVERWRITE: every block is written with the pattern, as often as requested."""
    block_size = 1 << device.block_shift
    plan = block.sanitize_overwrite(cmd.cdb, bytes(cmd.data), block_size)
    store, size = device.medium.need_store(), device.blocks << device.block_shift
    return _sanitize(device, cmd, _passes(store, size, block_size, plan), size * plan.count)


def sanitize_exit_failure_mode(device: VdiskDevice, cmd: Command) -> Answer:
    """SANITIZE with EXIT FAILURE MODE: use the device again after a SANITIZE that failed.

    Only where that one allowed it (AUSE); GOOD if none failed.
    """
    block.check_sanitize(cmd.cdb)
    if device.sanitize_failed is False:
        raise invalid_field_in_cdb(1, 4)
    device.sanitize_failed = None
    return b""


def _sanitize(
    device: VdiskDevice, cmd: Command, steps: Iterator[BlockingStep], total: int
) -> Answer:
    unrestricted = bool(cmd.cdb[1] & _AUSE)
    if device.sanitize_failed is False and unrestricted:
        # Once restricted, only a SANITIZE that succeeds leads out (SBC-4 4.11.1).
        raise invalid_field_in_cdb(1, 5)

    def ended(error: BaseException | None) -> BaseException | None:
        if error is None or isinstance(error, Stopped):
            device.sanitize_failed = None
            return error
        # What went wrong with the store matters less than that blocks are left.
        device.sanitize_failed = unrestricted
        return CheckCondition(sense.SANITIZE_FAILED)

    operation = LongOperation(
        device,
        "SANITIZE",
        sense.SANITIZE_IN_PROGRESS,
        Flag.SANITIZING_OK,
        steps,
        total,
        ended,
    )
    return operation.begin(cmd, immediate=bool(cmd.cdb[1] & _IMMED))


def _steps(
    store: Store, erase: Callable[[int, int], StoreSteps], size: int
) -> Iterator[BlockingStep]:
    """Do ``erase(offset, length)`` to ``size`` bytes."""
    for offset in range(0, size, DISCARD_STEP):
        length = min(DISCARD_STEP, size - offset)
        yield partial(run, store, erase(offset, length)), length


def _flushed(store: Store, steps: Iterator[BlockingStep]) -> Iterator[BlockingStep]:
    yield from steps
    yield store.flush, 0


def _passes(store: Store, size: int, block_size: int, plan: Overwrite) -> Iterator[BlockingStep]:
    """Write everything ``plan.count`` times; inverted, if at all, so that the last pass is not."""
    for left in reversed(range(plan.count)):
        pattern = plan.pattern
        if plan.invert and left % 2:
            pattern = bytes(byte ^ 0xFF for byte in pattern)
        one = (pattern * -(-block_size // len(pattern)))[:block_size]
        data = memoryview(one * (WRITE_STEP // block_size))

        for offset in range(0, size, WRITE_STEP):
            length = min(WRITE_STEP, size - offset)
            yield partial(store.write, offset, data[:length]), length
        yield store.flush, 0


#: By the name in the opcode table.
COMMANDS: Final[Mapping[str, Callable[[VdiskDevice, Command], Answer]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            format_unit,
            sanitize_block_erase,
            sanitize_overwrite,
            sanitize_exit_failure_mode,
        )
    }
)
