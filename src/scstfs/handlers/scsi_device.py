"""A SCSI device of this machine, and what happens to commands for it.

As for any device, the core decides which nexus may send what and when, and executes commands that
concern more than one nexus. All others go to the device unchanged, through its node, in its own
threads. To the device, all initiators are one, this machine. So conditions that it reports only
once, mainly unit attentions, are passed to all of them here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from scstfs.core.aca import Aca
from scstfs.core.device import MAX_TRANSFER, Answer, DevHandler, Device, Elsewhere
from scstfs.core.device_registration import give_to_handler
from scstfs.core.waiting import settled
from scstfs.handlers import scsi_no_node, scsi_transfer
from scstfs.handlers.device_link import DeviceLink
from scstfs.handlers.device_node import DeviceNode, NoNodeError, Opener
from scstfs.handlers.scsi_command import PassThroughCommand
from scstfs.handlers.scsi_kinds import KINDS, ScsiKind
from scstfs.handlers.scsi_probe import Control, Findings, examine
from scstfs.scsi import cdb as cdbs
from scstfs.scsi import sense
from scstfs.scsi.control import ControlValues
from scstfs.scsi.opcodes import CommandRow, DeviceType, Direction, Flag, Unit
from scstfs.scsi.sense import CheckCondition, Sense, invalid_field_in_cdb
from scstfs.scsi.status import TaskStatus
from scstfs.sysfs.errors import failed, removed

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.scst import Scst
    from scstfs.core.session import Session, TgtDev
    from scstfs.scsi.cdb import Decoded

log = logging.getLogger(__name__)

_LUN_BITS: Final = 0xE0
_FIXED: Final = 0x01
_RESET_ASC: Final = 0x29

#: Commands that targets with ``forward_src`` leave to the device behind them.
_FORWARDED: Final = frozenset(
    {
        "compare_and_write",
        "extended_copy",
        "extended_copy_lid4",
        "receive_copy_results",
        "receive_copy_status_lid4",
    }
)

#: Flags of commands that are executed here, by the core or the copy manager.
_OURS: Final = Flag.LOCAL | Flag.FULLY_LOCAL | Flag.THIRD_PARTY | Flag.DESCRIPTORS


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device as the machine lists it.

    ``path`` leads to it from the directory that holds ``kernel/scst_tgt``: ``../../devices/...``.
    """

    type: DeviceType
    path: str
    vendor: bytes = b""
    model: bytes = b""
    revision: bytes = b""


class ScsiDevice(Device):
    """A SCSI device of this machine."""

    def __init__(self, scst: Scst, name: str, found: FoundDevice, opener: Opener) -> None:
        """``opener`` opens its node, when the device is given to a handler."""
        super().__init__(scst.env, name, found.type)
        self.scst = scst
        self.found = found
        self._opener = opener
        self._link: DeviceLink | None = None
        self._control = Control(separate_task_sets=True)
        #: Bytes, any number; block_shift is 0 unless it is a power of two.
        self.block_size = 0
        #: The session that has sent the device a RESERVE.
        self._reserved_for: Session | Elsewhere | None = None

    @property
    def kind(self) -> ScsiKind:
        """The row of the device's type."""
        return KINDS[self.type]

    @property
    def sysfs_path(self) -> str:
        """Where the link ``scsi_device`` leads."""
        return self.found.path

    # Handlers

    async def assign(self, handler: DevHandler | None) -> None:
        """Give the device to a handler, or to none.

        The first handler opens its node and reads its properties, which may take long. Raises
        SysfsError, for example with the errno of open(2), without changing anything. If there is no
        node, the handler gets the device all the same, and the next handler looks for the node
        again.
        """
        if handler is self.handler:
            return
        if handler is not None and self._link is None:
            await self._open()
        concerned = handler or self.handler
        if concerned is not None:
            change = "given to" if handler is not None else "taken from"
            concerned.trace.event("mgmt", "device %s is %s %s", self, change, concerned.name)
        give_to_handler(self.scst, self, handler)
        self.max_tgt_dev_commands = 0 if handler is None else handler.max_tgt_dev_commands
        self.threads.configure(
            0 if handler is None else handler.threads_num, self.threads.pool_type
        )
        if handler is None:
            # del_device must not return before the node is closed.
            await settled(self._close_link)

    async def _open(self) -> None:
        kind = self.kind

        def work() -> tuple[DeviceNode, Findings]:
            node = self._opener(self.name)
            try:
                return node, examine(node, kind)
            except BaseException:
                node.close()
                raise

        try:
            node, findings = await self.scst.env.runtime.run_blocking(work)
        except NoNodeError as error:
            log.warning("%s; no command will reach it", error.strerror)
            return
        except OSError as error:
            raise failed(self.name, error) from error
        if self.scst.devices.get(self.name) is not self:
            node.close()
            raise removed()
        if self._link is not None:
            # Another command was faster.
            node.close()
            return
        self._link = DeviceLink(self.name, node, kind.lanes, self.scst.env.completions)
        self.set_block_size(findings.block_size)
        self.learn(findings)
        for tgt_dev in self.tgt_devs:
            tgt_dev.aca = Aca() if self.separate_task_sets else self.aca
        log.info("%s: blocks of %d bytes, %s", self, self.block_size, self._control.values)

    def _close_link(self, closed: Callable[[], None]) -> None:
        """Close the node when the last command has ended; then call ``closed``."""
        link, self._link = self._link, None
        if link is None:
            closed()
            return
        release = self._reserved_for is not None
        self.tasks.when_idle(partial(link.close, closed, release=release), background_too=True)
        if release:
            self.reserved_by = self._reserved_for = None

    def retire(self) -> None:
        """See Device."""
        self._close_link(lambda: None)

    def is_linked(self, link: DeviceLink) -> bool:
        """Whether ``link`` is in use: its threads accept work."""
        return link is self._link

    # Properties of the device

    def set_block_size(self, size: int) -> None:
        """Blocks have ``size`` bytes; 0 if that is unknown or varies."""
        if size == self.block_size:
            return
        self.block_size = size
        is_power_of_two = size.bit_count() == 1
        self.block_shift = size.bit_length() - 1 if is_power_of_two else 0

    def learn(self, findings: Findings, known: Sense | None = None) -> None:
        """Apply newly read properties of the device.

        ``known`` is a condition that all nexuses concerned have been told.
        """
        if findings.control is not None:
            self._control = findings.control
        for condition in findings.unit_attentions:
            if known is None or condition.triple != known.triple:
                self.spread(condition, told=None)

    @property
    def control(self) -> ControlValues:
        """See Device."""
        return self._control.values

    @property
    def separate_task_sets(self) -> bool:
        """TST of the device."""
        return self._control.separate_task_sets

    # Understanding commands

    def decode(self, cmd: Command) -> Decoded:
        """See Device; unknown commands are passed on with the initiator's direction and length."""
        table, cdb = self.opcodes, cmd.cdb
        if not table.knows(cdb):
            return cdbs.decode_unknown(cdb)
        if self.kind.without_lun and len(cdb) > 1:
            cdb = bytes((cdb[0], cdb[1] & ~_LUN_BITS)) + bytes(cdb[2:])
        decoded = table.decode(cdb, self.block_shift)
        if self.block_size and not self.block_shift and self._counts_blocks(decoded):
            size = self.block_size
            decoded = replace(
                decoded, length=decoded.length * size, data_length=decoded.data_length * size
            )
        if decoded.direction is Direction.BIDIRECTIONAL:
            # The system's interface does not support it.
            raise CheckCondition(sense.INVALID_OPCODE)
        if decoded.flags & Flag.LOCAL and self._is_passed(cmd, decoded.op):
            op, flags = _passed(decoded.op), Flag(decoded.flags & ~_OURS)
            decoded = replace(decoded, op=op, flags=flags)
        if decoded.length > MAX_TRANSFER and decoded.direction is Direction.IN:
            decoded = _shortened(decoded, cmd.expected_length)
        return decoded

    def _counts_blocks(self, decoded: Decoded) -> bool:
        if self.type is DeviceType.TAPE:
            return decoded.op.unit is Unit.BLOCKS and bool(decoded.cdb[1] & _FIXED)
        return decoded.op.unit is Unit.BLOCKS

    def _is_passed(self, cmd: Command, op: CommandRow) -> bool:
        """Return whether a command that we could execute is passed to the device."""
        if op.execute == "report_target_port_groups":
            return self.group is None
        return cmd.session.target.forward_src and op.execute in _FORWARDED

    def check_range(self, decoded: Decoded) -> None:
        """Refuse more data than may be in memory; the device itself checks the LBA."""
        if decoded.length > MAX_TRANSFER:
            length = decoded.op.length
            raise invalid_field_in_cdb(length.offset if length is not None else 0)

    # Executing commands

    def execute(self, cmd: Command) -> Answer:
        """Let the device execute the command, or execute it here."""
        link = self._link
        if link is None:
            return scsi_no_node.answer(self, cmd)
        return PassThroughCommand(self, link, cmd).begin()

    def pass_on(self, cmd: Command, effect: Callable[[], None]) -> Answer:
        """Pass RESERVE and RELEASE to the device, too: other machines may have to see them."""
        link = self._link
        if link is None:
            raise scsi_no_node.refusal(self)
        if cmd.session.target.forward_src:
            return super().pass_on(cmd, effect)

        def done() -> None:
            is_new = self.reserved_by is None
            effect()
            self._reserved_for = self.reserved_by
            if is_new and (cmd.tgt_dev.is_gone or cmd.abort is not None):
                # The session ended meanwhile, or the command was aborted.
                self.reserved_by = None
                self._release_at_device()

        return PassThroughCommand(self, link, cmd, done).begin()

    def translate(self, error: OSError, *, writing: bool) -> CheckCondition | TaskStatus:
        """See Device."""
        return scsi_transfer.translate(error, writing=writing)

    # Telling initiators

    def spread(self, condition: Sense, told: Command | None) -> None:
        """The device reports ``condition`` only to the nexus of ``told``; queue it for all others.

        An aborted command delivers no sense, so its nexus must be told, too.
        """
        if condition.asc == _RESET_ASC:
            # The reset ended the reservation (SPC-2 5.5.1).
            self.reserved_by = self._reserved_for = None
        plain = Sense(condition.key, condition.asc, condition.ascq)
        self.tell_others(told if told is not None and told.abort is None else None, plain)

    def tell_others(self, told: Command | None, condition: Sense) -> None:
        """Queue a unit attention for every nexus but the one of ``told``."""
        spared = None if told is None else told.tgt_dev
        for tgt_dev in self.tgt_devs:
            if tgt_dev is not spared:
                tgt_dev.queue_unit_attention(condition)

    # Reservations that end without a RELEASE

    def reset(self) -> None:
        """See Device; the device itself is not reset, as with SCST on Linux 5.2 and later."""
        self._release_at_device()

    def nexus_ended(self, tgt_dev: TgtDev) -> None:
        """See Device."""
        if tgt_dev.session is self._reserved_for:
            self._release_at_device()

    def _release_at_device(self) -> None:
        if self._reserved_for is not None and self._link is not None:
            self._link.release()
        self._reserved_for = None


def _shortened(decoded: Decoded, expected: int) -> Decoded:
    """The CDB with its allocation length (SPC-4 4.2.5.6) cut to what the initiator expects.

    Allocation lengths are often huge; this limits the memory for the data.
    """
    field = decoded.op.length
    if field is None or decoded.op.unit is not Unit.BYTES:
        return decoded
    length = min(expected, MAX_TRANSFER)
    cdb = bytearray(decoded.cdb)
    cdb[field.offset : field.offset + field.size] = length.to_bytes(field.size, "big")
    return replace(decoded, cdb=bytes(cdb), length=length, data_length=length)


@cache
def _passed(op: CommandRow) -> CommandRow:
    """The row of a command that is passed to the device, whose executor is the device."""
    return replace(op, execute="passed_through")
