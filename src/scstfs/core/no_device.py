"""Commands for a LUN that has no device, or one without a handler (SPC-4 5.4, SAM-5 5.11)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from scstfs.log import RateLimited, Subject, initiator_fields
from scstfs.scsi import lun as scsi_lun
from scstfs.scsi import sense
from scstfs.scsi.inquiry import no_unit_inquiry
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.spc import request_sense

if TYPE_CHECKING:
    from scstfs.core.command import Command

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

_INQUIRY: Final = 0x12
_REQUEST_SENSE: Final = 0x03
_REPORT_LUNS: Final = 0xA0
_EVPD: Final = 0x01


def answer(cmd: Command) -> bytes:
    """The data for ``cmd``; raises CheckCondition LOGICAL UNIT NOT SUPPORTED for most."""
    _tell(cmd)
    cdb = cmd.cdb
    if cdb[0] == _INQUIRY and not cdb[1] & _EVPD:
        return no_unit_inquiry()[: int.from_bytes(cdb[3:5], "big")]
    if cdb[0] == _REQUEST_SENSE:
        return request_sense(cdb, sense.LUN_NOT_SUPPORTED)[: cdb[4]]
    if cdb[0] == _REPORT_LUNS:
        scsi_lun.check_report_luns(cdb, minimum=0)
        session = cmd.session
        session.luns_were_reported()
        luns = scsi_lun.report_luns_order(session.tgt_devs)
        data = scsi_lun.report_luns(luns, session.acg.addr_method)
        return data[: int.from_bytes(cdb[6:10], "big")]
    raise CheckCondition(sense.LUN_NOT_SUPPORTED)


def _tell(cmd: Command) -> None:
    """Log, in SCST's words, that the initiator does not find a LUN.

    Initiators probe other LUNs all the time (``trace_level``: minor). LUN 0 is different:
    initiators send REPORT LUNS to it, so a LUN set without it may look empty to them.
    """
    session = cmd.session
    number = scsi_lun.unpack_lun(cmd.lun)
    tgt_dev = session.find(cmd.lun)
    if tgt_dev is not None:
        _incidents.info(
            "Dev handler for device %s (LUN %d) is NULL, the device will not be visible remotely",
            tgt_dev.device,
            number,
        )
        return
    text = "tgt_dev for LUN %s not found, command to unexisting LU? (initiator %s, target %s)"
    lun = cmd.lun.hex() if number is None else number
    trace = session.target.env.trace
    who = Subject(session.initiator_name, initiator_fields(session.initiator_name))
    if trace.enabled("minor"):
        trace.event("minor", text, lun, who, session.target)
    elif number == 0:
        _incidents.info(text, lun, who, session.target)
