"""The recorded unit, and what it takes to execute the commands SCST refuses."""

from __future__ import annotations

from scstfs.scsi import logs, mmc, provisioning, sbc, sense, spc, tokens, xcopy
from scstfs.scsi.cdb import Decoded
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status, TaskStatus

from .recorded_unit import RecordedUnit


class ExtendedUnit(RecordedUnit):
    def do_log_sense(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        thin = self.unit.thin is not None
        use = logs.ProvisioningUse(self.unit.blocks - 8, 8)
        return logs.log_sense(cdb, use if thin else None)

    def do_get_lba_status(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        assert decoded.lba is not None
        if decoded.lba >= self.unit.blocks:
            raise CheckCondition(sense.LBA_OUT_OF_RANGE)
        run = provisioning.LbaStatus(
            decoded.lba, self.unit.blocks - decoded.lba, provisioning.Provisioning.MAPPED
        )
        return provisioning.get_lba_status([run][: provisioning.lba_status_count(decoded.length)])

    def do_pre_fetch(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        raise TaskStatus(Status.CONDITION_MET)

    def do_read_defect_data(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return sbc.read_defect_data(cdb)

    def do_orwrite(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        medium = self.do_read(cdb, decoded, data)
        both = bytes(here | there for here, there in zip(data, medium, strict=False))
        return self.do_write(cdb, decoded, both)

    def do_write_atomic(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        sbc.check_write_atomic(cdb)
        return self.do_write(cdb, decoded, data)

    def do_sanitize_overwrite(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        sbc.sanitize_overwrite(cdb, data, self.unit.block_size)
        return b""

    def do_sanitize_block_erase(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        sbc.check_sanitize(cdb)
        self.blocks.clear()
        return b""

    do_sanitize_exit_failure_mode = do_sanitize_block_erase

    def do_receive_diagnostic_results(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return spc.receive_diagnostic_results(cdb)

    def do_report_identifying_information(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return spc.report_identifying_information(cdb)

    def do_report_timestamp(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return spc.report_timestamp(1_600_000_000_000, spc.TimestampOrigin.OTHER)

    def do_extended_copy_lid4(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return self._copy(xcopy.decode_header_lid4(cdb, data), data)

    def do_populate_token(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        assert self.unit.tokens is not None
        tokens.decode_populate(cdb, data, self.unit.tokens)
        return b""

    def do_write_using_token(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        assert self.unit.tokens is not None
        tokens.decode_write(cdb, data, self.unit.tokens)
        return b""

    def do_receive_copy_status_lid4(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        raise tokens.unknown_list_identifier()

    do_receive_rod_token_information = do_receive_copy_status_lid4

    def do_get_configuration(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return mmc.get_configuration(cdb, self.unit.blocks)

    def do_get_event_status_notification(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        event = mmc.MediaEvent.NO_CHANGE if mmc.wants_media_event(cdb) else None
        return mmc.event_status(event, present=not self.empty)

    def do_mechanism_status(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return mmc.mechanism_status()

    def do_read_disc_information(self, cdb: bytes, decoded: Decoded, data: bytes) -> bytes:
        return mmc.read_disc_information(cdb)
