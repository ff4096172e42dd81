"""Commands for a LUN that has no device, or one without a handler (SPC-4 5.4, SAM-5 5.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scstfs.scsi import lun as scsi_lun
from scstfs.scsi import sense
from scstfs.scsi.inquiry import no_unit_inquiry
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.spc import no_unit_request_sense

if TYPE_CHECKING:
    from scstfs.core.command import Command

_INQUIRY: Final = 0x12
_REQUEST_SENSE: Final = 0x03
_REPORT_LUNS: Final = 0xA0
_EVPD: Final = 0x01


def answer(cmd: Command) -> bytes:
    """The data for ``cmd``; raises CheckCondition LOGICAL UNIT NOT SUPPORTED for most."""
    cdb = cmd.cdb
    if cdb[0] == _INQUIRY and not cdb[1] & _EVPD:
        return no_unit_inquiry(int.from_bytes(cdb[3:5], "big"))
    if cdb[0] == _REQUEST_SENSE:
        return no_unit_request_sense(cdb)[: cdb[4]]
    if cdb[0] == _REPORT_LUNS:
        scsi_lun.check_report_luns(cdb, minimum=0)
        session = cmd.session
        session.luns_were_reported()
        luns = scsi_lun.report_luns_order(session.tgt_devs)
        length = int.from_bytes(cdb[6:10], "big")
        # Eight bytes at least, whatever was asked for: as SCST does.
        return scsi_lun.report_luns(luns, max(length, 8), session.acg.addr_method)
    raise CheckCondition(sense.LUN_NOT_SUPPORTED)
