"""A logical unit made of nothing but the pure SCSI package and a dictionary of blocks.

It executes commands the way the recorded ones were executed: one initiator, one target, no
reservations and no unit attentions.  Every row's `execute` is a method here, so that a row nobody
executes is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scstfs.scsi import (
    alua,
    capacity,
    inquiry,
    logs,
    lun,
    mmc,
    pr,
    provisioning,
    report_supported,
    sbc,
    sense,
    spc,
    xcopy,
)
from scstfs.scsi.cdb import Decoded, OpcodeTable, opcode_table
from scstfs.scsi.modes import Geometry, ModePages
from scstfs.scsi.opcodes import DeviceType, Direction, Feature, Flag
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus
from scstfs.scsi.unit import LogicalUnit, Port
from scstfs.scsi.vpd import designators


@dataclass(frozen=True)
class Answer:
    status: int
    sense: bytes = b""
    data: bytes = b""


@dataclass(frozen=True)
class CopyTarget:
    of: RecordedUnit

    @property
    def block_size(self) -> int:
        return self.of.unit.block_size

    @property
    def read_only(self) -> bool:
        return self.of.read_only


@dataclass
class RecordedUnit:
    """`early_range` is what vdisk_fileio and vcdrom do: look at the LBA before anything else."""

    unit: LogicalUnit
    port: Port
    modes: ModePages
    read_only: bool = False
    early_range: bool = True
    luns: tuple[int, ...] = (0,)
    extensions: bool = False
    blocks: dict[int, bytes] = field(default_factory=dict)
    table: OpcodeTable = field(init=False)

    def __post_init__(self) -> None:
        features = Feature.THIN if self.unit.thin is not None else Feature.NONE
        if self.unit.tokens is not None:
            features |= Feature.TOKEN_COPY
        self.table = opcode_table(
            self.unit.device_type, features, self.unit.protection, self.extensions
        )

    @property
    def empty(self) -> bool:
        return self.unit.device_type == DeviceType.CD_ROM and not self.unit.blocks

    def execute(self, cdb: bytes, direction: Direction, data: bytes, expected: int) -> Answer:
        try:
            answer = self._execute(cdb, direction, data, expected)
        except CheckCondition as refused:
            d_sense = bool(self.modes.current.d_sense)
            return Answer(Status.CHECK_CONDITION, refused.sense.encode(d_sense))
        except TaskStatus as ended:
            return Answer(ended.status)
        return Answer(Status.GOOD, data=answer[:expected])

    def _execute(self, cdb: bytes, direction: Direction, data: bytes, expected: int) -> bytes:
        decoded = self.table.decode(cdb, self.unit.block_size.bit_length() - 1)
        if self.early_range:
            self._check_range(decoded)
        decoded = decoded.settle(direction, expected)
        cdb = decoded.cdb
        if decoded.op.execute == "unmap":
            provisioning.unmap_extents(cdb, data)
        if decoded.flags & Flag.WRITES_MEDIUM and (self.read_only or self.modes.current.swp):
            raise CheckCondition(sense.WRITE_PROTECTED)
        local = decoded.flags & Flag.LOCAL and decoded.op.execute != "request_sense"
        if not local or decoded.op.execute in ("reserve", "release"):
            if self.empty and not decoded.flags & Flag.NO_MEDIUM_OK:
                raise CheckCondition(sense.MEDIUM_NOT_PRESENT)
            if not self.early_range:
                self._check_range(decoded)
        body: bytes = getattr(self, f"do_{decoded.op.execute}")(cdb, decoded, data)
        return body[: decoded.length]

    def _check_range(self, decoded: Decoded) -> None:
        if decoded.lba is None:
            return
        size = self.unit.block_size
        if decoded.lba * size + decoded.data_length > self.unit.blocks * size:
            raise CheckCondition(sense.MEDIUM_NOT_PRESENT if self.empty else sense.LBA_OUT_OF_RANGE)

    # The commands, by the names in the table.

    def do_invalid_opcode(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        raise CheckCondition(sense.INVALID_OPCODE)

    def do_invalid_service_action(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        raise sense.invalid_field_in_cdb(1, 0)

    def do_internal_target_failure(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        raise CheckCondition(sense.INTERNAL_TARGET_FAILURE)

    def do_log_refused(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        raise logs.log_refused()

    def do_nothing(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return b""

    do_test_unit_ready = do_synchronize_cache = do_start_stop_unit = do_nothing
    do_prevent_allow_medium_removal = do_send_diagnostic = do_release = do_nothing

    def do_reserve(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        spc.check_reserve(cdb)
        return b""

    def do_inquiry(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return inquiry.inquiry(cdb, self.unit, self.port)

    def do_request_sense(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return spc.request_sense(cdb, sense.NO_SENSE)

    def do_report_luns(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        lun.check_report_luns(cdb)
        return lun.report_luns(lun.report_luns_order(self.luns))

    def do_mode_sense(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        geometry = Geometry(self.unit.blocks, self.unit.block_size)
        return self.modes.sense(cdb, geometry, self.read_only)

    def do_mode_select(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        for step in self.modes.select(cdb, data):
            if self.modes.apply(step):
                self.modes.keep(step)
        return b""

    def do_read_capacity_10(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return capacity.read_capacity_10(cdb, self.unit)

    def do_read_capacity_16(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return capacity.read_capacity_16(cdb, self.unit)

    def do_report_supported_opcodes(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return report_supported.report_supported_opcodes(cdb, self.table.reported())

    def do_report_supported_tmf(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return report_supported.report_supported_tmf(cdb)

    def do_report_target_port_groups(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return alua.report_target_port_groups(cdb, ())

    def do_set_target_port_groups(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        alua.check_set_target_port_groups(self.unit.explicit_alua)
        return b""

    def do_persistent_reserve_in(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return {
            pr.InAction.READ_KEYS: pr.read_keys(0, []),
            pr.InAction.READ_RESERVATION: pr.read_reservation(0, None),
            pr.InAction.REPORT_CAPABILITIES: pr.report_capabilities(False),
            pr.InAction.READ_FULL_STATUS: pr.read_full_status(0, [], None),
        }[pr.check_in_action(cdb)]

    def do_persistent_reserve_out(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        action = cdb[1] & 0x1F
        if action not in (pr.OutAction.REGISTER, pr.OutAction.REGISTER_AND_IGNORE):
            raise TaskStatus(Status.RESERVATION_CONFLICT)
        pr.decode_out(cdb, data)
        return b""

    def do_extended_copy(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return self._copy(xcopy.decode_header(cdb, data), data)

    def _copy(self, header: xcopy.CopyHeader | None, data: bytes) -> bytes:
        names = designators(self.unit, self.port)
        lookup = xcopy.Lookup(
            find=lambda name: CopyTarget(self) if name in names else None,
            accessible=lambda device: True,
        )
        for segment in [] if header is None else xcopy.decode_segments(header, data, lookup):
            for index in range(min(segment.length // self.unit.block_size, 64)):
                block = self._block(segment.source_lba + index)
                self.blocks[segment.destination_lba + index] = block
        return b""

    def do_receive_copy_results(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        action = xcopy.check_receive_action(cdb)
        if action is not xcopy.ReceiveAction.OPERATING_PARAMETERS:
            raise xcopy.unknown_list_id()
        return xcopy.operating_parameters()

    def do_read_toc(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return mmc.read_toc(cdb, self.unit.blocks)

    def do_format_unit(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        sbc.format_unit(cdb, data, self.unit.protection)
        return b""

    # Commands that move blocks.

    def _block(self, lba: int) -> bytes:
        return self.blocks.get(lba, bytes(self.unit.block_size))

    def _lbas(self, decoded: Decoded) -> range:
        assert decoded.lba is not None
        return range(decoded.lba, decoded.lba + decoded.data_length // self.unit.block_size)

    def do_read(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return b"".join(self._block(lba) for lba in self._lbas(decoded))

    def do_write(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        size = self.unit.block_size
        for index, lba in enumerate(self._lbas(decoded)):
            self.blocks[lba] = data[index * size : (index + 1) * size]
        return b""

    do_write_and_verify = do_write

    def do_verify(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        medium = self.do_read(cdb, decoded, data)
        if decoded.direction is Direction.OUT and data != medium:
            raise CheckCondition(sense.MISCOMPARE)
        return b""

    def do_compare_and_write(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        sbc.check_compare_and_write(decoded.length, len(data))
        half = decoded.data_length
        for index, (there, here) in enumerate(
            zip(self.do_read(cdb, decoded, data), data, strict=False)
        ):
            if there != here:
                raise CheckCondition(sense.MISCOMPARE.with_information(index))
        return self.do_write(cdb, decoded, data[half:])

    def do_write_same(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        unmap = provisioning.check_write_same(decoded.op, cdb, decoded.data_length, self.unit)
        for lba in self._lbas(decoded):
            self.blocks[lba] = bytes(self.unit.block_size) if unmap else data
        return b""

    def do_unmap(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        provisioning.check_unmap(cdb, provisioning.unmap_extents(cdb, data), self.unit)
        return b""
