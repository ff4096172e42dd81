"""Virtual devices: what vdisk_fileio, vdisk_blockio, vdisk_nullio and vcdrom have in common.

A device here is its settings, its identity, its mode pages and a store; the commands are functions
in ``spc``, ``sbc``, ``mmc`` and their like, found by the name in the opcode table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from scstfs.core import gates
from scstfs.core.blocks import Blocks
from scstfs.core.command import Command
from scstfs.core.device import MAX_TRANSFER, Answer, Device
from scstfs.core.gated import Gated
from scstfs.core.quick import Quick
from scstfs.core.session import TgtDev
from scstfs.handlers import atomic, medium_change, protection, store_errors
from scstfs.handlers.identity_attributes import IdentityAttributes
from scstfs.handlers.medium import Medium
from scstfs.handlers.settings import VdiskSettings
from scstfs.handlers.store import Store
from scstfs.handlers.store_copy import StoreBlocks
from scstfs.scsi import mode_text, sense
from scstfs.scsi.cdb import Decoded, OpcodeTable, opcode_table
from scstfs.scsi.control import ControlValues
from scstfs.scsi.modes import Geometry, ModePages
from scstfs.scsi.opcodes import DeviceType, Feature, Flag, Unit
from scstfs.scsi.sense import CheckCondition, Sense, invalid_field_in_cdb
from scstfs.scsi.status import TaskStatus
from scstfs.scsi.unit import LogicalUnit, Port, TokenLimits
from scstfs.scsi.vpd import designators
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.text import encode

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.handlers.vdisk_kind import VdiskKind
    from scstfs.scsi.alua import AccessState

log = logging.getLogger(__name__)


_SANITIZE: Final = 0x48

#: Association bits of a designation descriptor: the logical unit if none is set.
_ASSOCIATION: Final = 0x30

#: What there is besides the commands of every device, for (thin, explicit_alua).
_FEATURES: Final = {
    (thin, explicit): Feature.TOKEN_COPY
    | (Feature.THIN if thin else Feature.NONE)
    | (Feature.EXPLICIT_ALUA if explicit else Feature.NONE)
    for thin in (False, True)
    for explicit in (False, True)
}


def token_limits(block_size: int) -> TokenLimits:
    """What a copy by token may be (ODX): 256 MiB at once, best in pieces of 64 MiB."""
    return TokenLimits(
        max_ranges=64,
        max_transfer_blocks=(256 << 20) // block_size,
        optimal_transfer_blocks=(64 << 20) // block_size,
        default_timeout=60,
        max_timeout=3600,
    )


class _ModePages(ModePages):
    """Mode pages of which gates look at some values."""

    current: Gated[ControlValues] = Gated()
    write_through: Gated[bool] = Gated()


class Occupation(Protocol):
    """A long operation (``handlers.long_operation``)."""

    #: Commands with one of these flags are executed all the same.
    leaves: Flag

    @property
    def condition(self) -> Sense:
        """What all other commands get."""

    def stop(self) -> None:
        """End as soon as possible."""


class VdiskDevice(Device):
    """A virtual device of one of the four handlers."""

    in_copy_manager = True
    #: What keeps the device busy (FORMAT UNIT, SANITIZE), if anything does.
    busy: Gated[Occupation | None] = Gated(None)
    #: A SANITIZE failed; the value says whether EXIT FAILURE MODE ends that state.
    sanitize_failed: Gated[bool | None] = Gated(None)

    def __init__(self, scst: Scst, handler: VdiskKind, name: str, settings: VdiskSettings) -> None:
        super().__init__(scst.env, name, handler.type)
        self.scst = scst
        self.handler = handler
        self.kind = handler
        self.settings = settings
        self.read_only = settings.read_only or handler.type is DeviceType.CD_ROM
        self.identity = IdentityAttributes(name, scst.setup_id, handler.vendor)
        if settings.t10_dev_id is not None:
            self.identity.set("t10_dev_id", encode(settings.t10_dev_id))
        self._nv_cache: Final = settings.nv_cache
        #: Opened here, in the event loop; stores are opened in threads.
        self.disks: Final = scst.env.disks
        self.undo = scst.env.state.undo_log(name)
        self.medium: Final = Medium(
            settings, self.tasks, self.rows, thin_by_default=handler.thin_by_default
        )
        self.read_zero = False
        self.block_shift = settings.block_shift
        self.threads.number = handler.threads_num
        self.max_tgt_dev_commands = handler.max_tgt_dev_commands
        self.numa_node_id = settings.numa_node_id
        self.cluster_mode = settings.cluster_mode
        self.modes: Final = self._new_mode_pages()

    def _new_mode_pages(self) -> _ModePages:
        settings = self.settings
        control = ControlValues()
        return _ModePages(
            device_type=self.type,
            task_set=settings.tst,
            saving=self.scst.env.state.can_save_modes,
            nv_cache=settings.nv_cache,
            fixed_cache=self.kind.fixed_cache,
            cluster_mode=settings.cluster_mode,
            write_through=settings.write_through,
            default=control,
            current=control,
            saved=control,
        )

    # The store

    @property
    def blocks(self) -> int:
        """Logical blocks that can be addressed."""
        return self.medium.blocks

    @property
    def writes_through(self) -> bool:
        """Writes are durable when they are done: by the cache setting in force."""
        return self.modes.write_through and not self._nv_cache

    @property
    def flushes(self) -> bool:
        """SYNCHRONIZE CACHE has something to do."""
        return self.kind.flushes and not self._nv_cache

    def open_store(self) -> Store | None:
        """Open what is behind a new device; runs in a worker thread.

        Raises OSError, and SysfsError for settings that do not go together.
        """
        settings = self.settings
        default_file = self.scst.env.state.protection_path(self.name)
        protection.settle(settings, default_file, block=self.kind.is_block)
        if settings.o_direct and not settings.asynchronous:
            raise invalid(f"{settings.filename}: using o_direct without setting async")
        return self.kind.open_store(self, settings.filename) if self.medium.active else None

    def access_state_changed(self, state: AccessState) -> None:
        """See Device; block devices are closed for other nodes to use them."""
        if self.kind.is_block and self.settings.bind_alua_state:
            medium_change.follow_access_state(self, state)

    def when_reopened(self, call: Callable[[], None]) -> None:
        """See Device."""
        reopening = self.medium.reopening
        if reopening is None:
            call()
        else:
            reopening.waiting.append(call)

    @property
    def is_protected(self) -> bool:
        """See Device."""
        return self.settings.dif_type != 0

    # What the device looks like to commands

    @property
    def opcodes(self) -> OpcodeTable:
        """The commands that the device understands."""
        return opcode_table(self.type, _FEATURES[self.medium.thin, self.explicit_alua])

    def describe(self) -> LogicalUnit:
        """The device as INQUIRY, READ CAPACITY and their like show it."""
        settings, medium = self.settings, self.medium
        block_size = 1 << self.block_shift
        physical = None if medium.store is None else medium.store.physical_block_size
        return LogicalUnit(
            identity=self.identity.as_identity(),
            device_type=self.type,
            blocks=self.blocks,
            block_size=block_size,
            removable=settings.removable or self.type is DeviceType.CD_ROM,
            dummy=settings.dummy,
            rotational=settings.rotational,
            volatile_cache=not (self.modes.write_through or settings.nv_cache),
            optimal_transfer=medium.opt_trans_len,
            physical_block_size=physical if settings.lb_per_pb_exp else None,
            thin=medium.thin_limits if medium.thin else None,
            tokens=token_limits(block_size) if self.type is DeviceType.DISK else None,
            max_atomic=atomic.MOST_BYTES,
            explicit_alua=self.explicit_alua,
        )

    @property
    def geometry(self) -> Geometry:
        """What the mode pages tell of the medium."""
        return Geometry(self.blocks, 1 << self.block_shift, locked=bool(self.medium.prevented_by))

    @property
    def control(self) -> ControlValues:
        """See Device."""
        return self.modes.current

    @property
    def separate_task_sets(self) -> bool:
        """TST of the control mode page."""
        return self.settings.tst == 1

    def load_modes(self) -> None:
        """Take over saved mode pages; runs in a worker thread."""
        text = self.scst.env.state.load_modes(self.name)
        if not mode_text.decode(self.modes, text):
            log.warning("%s: saved mode parameters are understood in part only", self)

    # Executing

    def check_range(self, decoded: Decoded) -> None:
        """Refuse blocks behind the end before anything is transferred, where SCST does so."""
        # An allocation length is no more than room for an answer, however large (SPC-4 4.2.5.6).
        counts_blocks = decoded.lba is not None and decoded.op.unit is Unit.BLOCKS
        if counts_blocks and decoded.length > MAX_TRANSFER:
            raise invalid_field_in_cdb(decoded.op.length.offset if decoded.op.length else 0)
        if self.kind.checks_range_early:
            self.require_range(decoded)

    def require_range(self, decoded: Decoded) -> None:
        """Raise CheckCondition unless all blocks of the command exist."""
        if decoded.lba is None:
            return
        # Of commands that count bytes, the length is that of data about the medium.
        length = decoded.data_length if decoded.op.unit is Unit.BLOCKS else 0
        if (decoded.lba << self.block_shift) + length > self.medium.size:
            empty = self.type is DeviceType.CD_ROM and self.medium.store is None
            raise CheckCondition(sense.MEDIUM_NOT_PRESENT if empty else sense.LBA_OUT_OF_RANGE)

    def execute(self, cmd: Command) -> Answer:
        """Find the function for the command and call it."""
        self.check_ready(cmd)
        return self.kind.commands[cmd.parsed.op.execute](self, cmd)

    def check_ready(self, cmd: Command) -> None:
        """Refuse what the state of the medium does not allow."""
        flags, medium = cmd.flags, self.medium
        if medium.store is None and not flags & self.kind.allowed_without_store:
            raise CheckCondition(sense.MEDIUM_NOT_PRESENT)
        if medium.changed and not flags & Flag.SKIP_UA:
            medium.changed = False
            raise CheckCondition(sense.MEDIUM_CHANGED)
        if not self.kind.checks_range_early:
            self.require_range(cmd.parsed)

    def check_available(self, cmd: Command) -> None:
        """Refuse nearly everything during FORMAT UNIT and SANITIZE, and after a failed one."""
        if self.busy is not None and not cmd.flags & self.busy.leaves:
            raise CheckCondition(self.busy.condition)
        spared = cmd.flags & Flag.SANITIZING_OK or cmd.cdb[0] == _SANITIZE
        if self.sanitize_failed is not None and not spared:
            raise CheckCondition(sense.SANITIZE_FAILED)

    def translate(self, error: OSError, *, writing: bool) -> CheckCondition | TaskStatus:
        """An error of the store as status and sense data."""
        return store_errors.translate(error, writing=writing)

    # Copies

    def identifiers(self) -> list[bytes]:
        """What copies call the device: the designators of the logical unit itself."""
        return [d for d in designators(self.describe(), Port()) if not d[1] & _ASSOCIATION]

    def copy_blocks(self) -> Blocks:
        """The store for a copy; raises CheckCondition while there is none."""
        if self.busy is not None:
            raise CheckCondition(self.busy.condition)
        if self.sanitize_failed is not None:
            raise CheckCondition(sense.SANITIZE_FAILED)
        return StoreBlocks(self.medium.need_store(), self.medium.thin, self.writes_through)

    def decide(self, tgt_dev: TgtDev) -> Quick:
        """See Device: READ and WRITE go straight to the store, where no gate would look at them."""
        quick = super().decide(tgt_dev)
        store = self.medium.store
        reads, writes = gates.clear_paths(tgt_dev)
        occupied = self.busy is not None or self.sanitize_failed is not None
        writes = writes and not self.tasks.watchers
        if store is None or self.medium.changed or occupied:
            return quick
        tries = store.tries
        return quick._replace(
            read=store.try_read if tries and reads else None,
            write=store.try_write if tries and writes and not self.writes_through else None,
            lend=store.lend,
            submit_read=store.submit if reads else None,
            submit_write=store.submit if writes else None,
            durable=self.writes_through,
        )

    def reset(self) -> None:
        """A logical unit reset: saved mode pages, medium removal allowed."""
        self.modes.reset()
        self.medium.prevented_by.clear()

    def nexus_ended(self, tgt_dev: TgtDev) -> None:
        """See Device."""
        self.medium.forget(tgt_dev)

    # Changes from the tree

    def change_identity(self, name: str, value: bytes) -> None:
        """Set an identification attribute and tell the initiators."""
        self.identity.set(name, value)
        self.report_to_all(sense.INQUIRY_DATA_CHANGED)
        self.scst.device_changed(self)

    def report_capacity_changed(self) -> None:
        """CAPACITY DATA HAS CHANGED to all nexuses, for disks."""
        if self.type is DeviceType.DISK:
            self.report_to_all(sense.CAPACITY_CHANGED)

    def retire(self) -> None:
        """The device is being deleted: no initiator is left to get the result of an operation."""
        if self.busy is not None:
            self.busy.stop()

    def close(self) -> None:
        """The device is deleted."""
        super().close()
        self.medium.close()
