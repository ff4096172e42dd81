"""What the four kinds of virtual devices differ in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from scstfs.core.device import DEFAULT_MAX_TGT_DEV_COMMANDS, Answer
from scstfs.core.trace import TraceLog
from scstfs.handlers.settings import MIN_BLOCK_SHIFT
from scstfs.handlers.store import Store
from scstfs.scsi.opcodes import DeviceType, Flag

# The first argument of both is a VdiskDevice, which is not known here.

OpenStore: TypeAlias = Callable[[Any, str | None], Store | None]
"""``(device, filename)``: opens what is in a file, or nothing; raises OSError.

It runs in a worker thread.
"""

Execute: TypeAlias = Callable[[Any, Any], Answer]
"""``(device, command)``: executes a command."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VdiskKind:
    """What all devices of a handler have in common."""

    name: str
    type: DeviceType
    vendor: bytes
    trace: TraceLog
    threads_num: int
    max_tgt_dev_commands: int = DEFAULT_MAX_TGT_DEV_COMMANDS
    #: Opens what is in a file, or nothing; runs in a worker thread; raises OSError.
    open_store: OpenStore
    commands: Mapping[str, Execute]
    block_shift: int = MIN_BLOCK_SHIFT
    size: int = 0
    #: Blocks behind the end are refused before data is transferred.
    checks_range_early: bool = False
    #: What is behind a device is a block device, which may check protection information.
    is_block: bool = False
    #: MODE SELECT cannot switch the cache.
    fixed_cache: bool = False
    flushes: bool = True
    #: What was written can be read back.
    keeps_data: bool = True
    thin_by_default: bool = False
    #: A command with one of these flags is executed even while there is no store.
    allowed_without_store: Flag = Flag.INACTIVE_OK
