"""Primary commands (SPC-4) of virtual devices."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.alua import group_of
from scstfs.core.command import Command, Data
from scstfs.core.device import Answer, Job
from scstfs.scsi import capacity, mode_text, report_supported, sense
from scstfs.scsi import inquiry as inquiry_data
from scstfs.scsi import logs as log_pages
from scstfs.scsi import spc as primary
from scstfs.scsi.alua import connected
from scstfs.scsi.logs import ProvisioningUse
from scstfs.scsi.modes import ModeStep
from scstfs.scsi.sense import NO_SENSE, CheckCondition, invalid_field_in_cdb
from scstfs.scsi.spc import TimestampOrigin
from scstfs.scsi.unit import Port

if TYPE_CHECKING:
    from scstfs.handlers.vdisk import VdiskDevice

log = logging.getLogger(__name__)

_PREVENT: Final = 0x01

#: How the names of initiators begin that copy by token (ODX): Microsoft's.
_COPIES_BY_TOKEN: Final = "iqn.1991-05.com.microsoft:"


def test_unit_ready(device: VdiskDevice, cmd: Command) -> Answer:
    """TEST UNIT READY: the gates have made all checks."""
    return b""


def request_sense(device: VdiskDevice, cmd: Command) -> Answer:
    """REQUEST SENSE with nothing stored: the progress of a long operation, if there is one."""
    current = NO_SENSE if device.busy is None else device.busy.condition
    return primary.request_sense(cmd.cdb, current)


def inquiry(device: VdiskDevice, cmd: Command) -> Answer:
    """INQUIRY."""
    return inquiry_data.inquiry(cmd.cdb, device.describe(), _port(device, cmd))


def _port(device: VdiskDevice, cmd: Command) -> Port:
    target = cmd.session.target
    device_group = group_of(device)
    # By name, as in SCST: an entry made before the target may stand for one on another node.
    entry = None if device_group is None else device_group.find_entry(target.name)
    group = None if entry is None else entry[0]
    return Port(
        rel_tgt_id=target.rel_tgt_id,
        group_id=0 if group is None else group.group_id,
        in_device_group=device_group is not None,
        connected=group is None or connected(group.state),
        transport_version=cmd.session.scsi_transport_version,
        physical_version=target.phys_transport_version,
        wants_token_copies=cmd.session.initiator_name.startswith(_COPIES_BY_TOKEN),
    )


def mode_sense(device: VdiskDevice, cmd: Command) -> Answer:
    """MODE SENSE (6) and (10)."""
    is_protected = cmd.tgt_dev.read_only or bool(device.control.swp)
    return device.modes.sense(cmd.cdb, device.geometry, is_protected)


def mode_select(device: VdiskDevice, cmd: Command) -> Answer:
    """MODE SELECT (6) and (10): all pages or none, saved ones durably."""
    return _Select(device, cmd, device.modes.select(cmd.cdb, bytes(cmd.data))).proceed()


class _Select:
    """A MODE SELECT under way through its pages, each of which may have to be saved."""

    def __init__(self, device: VdiskDevice, cmd: Command, steps: Sequence[ModeStep]) -> None:
        self._device = device
        self._cmd = cmd
        self._steps = steps
        self._before = device.modes.values()

    def proceed(self) -> Answer:
        """Take all steps; a job if one of them has to be saved."""
        modes = self._device.modes
        saves = [step for step in self._steps if modes.apply(step)]
        if not saves:
            return self._end()
        save = partial(self._device.scst.env.state.save_modes, self._device.name)

        def then(_saved: object) -> Data:
            for step in saves:
                modes.keep(step)
            return self._end()

        def failed(error: BaseException) -> Answer:
            log.error("%s: cannot save mode pages: %s", self._device, error)
            modes.revert(self._before)
            raise CheckCondition(sense.INTERNAL_TARGET_FAILURE) from error

        return Job(partial(save, mode_text.encode(modes)), then, failed)

    def _end(self) -> Data:
        device = self._device
        for tgt_dev in device.tgt_devs:
            if tgt_dev is not self._cmd.tgt_dev:
                tgt_dev.queue_unit_attention(sense.MODE_PARAMETERS_CHANGED)
        return b""


def read_capacity_10(device: VdiskDevice, cmd: Command) -> Answer:
    """READ CAPACITY (10)."""
    return capacity.read_capacity_10(cmd.cdb, device.describe())


def read_capacity_16(device: VdiskDevice, cmd: Command) -> Answer:
    """READ CAPACITY (16)."""
    return capacity.read_capacity_16(cmd.cdb, device.describe())


def log_sense(device: VdiskDevice, cmd: Command) -> Answer:
    """LOG SENSE."""
    cdb, store, shift = cmd.cdb, device.medium.store, device.block_shift
    if not device.medium.thin or store is None:
        return log_pages.log_sense(cdb)
    thin = store

    def work() -> bytes:
        available, used = thin.usage()
        return log_pages.log_sense(cdb, ProvisioningUse(available >> shift, used >> shift))

    return Job(work)


def log_refused(device: VdiskDevice, cmd: Command) -> Answer:
    """LOG SELECT: there is nothing to set."""
    raise log_pages.log_refused()


def send_diagnostic(device: VdiskDevice, cmd: Command) -> Answer:
    """SEND DIAGNOSTIC: every self test passes."""
    return b""


def receive_diagnostic_results(device: VdiskDevice, cmd: Command) -> Answer:
    """RECEIVE DIAGNOSTIC RESULTS."""
    return primary.receive_diagnostic_results(cmd.cdb)


def report_supported_opcodes(device: VdiskDevice, cmd: Command) -> Answer:
    """REPORT SUPPORTED OPERATION CODES."""
    return report_supported.report_supported_opcodes(cmd.cdb, device.opcodes.reported())


def report_supported_tmf(device: VdiskDevice, cmd: Command) -> Answer:
    """REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS."""
    return report_supported.report_supported_tmf(cmd.cdb)


def report_identifying_information(device: VdiskDevice, cmd: Command) -> Answer:
    """REPORT IDENTIFYING INFORMATION: it is always empty."""
    return primary.report_identifying_information(cmd.cdb)


def report_timestamp(device: VdiskDevice, cmd: Command) -> Answer:
    """REPORT TIMESTAMP: the machine's clock."""
    return primary.report_timestamp(round(time.time() * 1000), TimestampOrigin.OTHER)


def prevent_allow_medium_removal(device: VdiskDevice, cmd: Command) -> Answer:
    """PREVENT ALLOW MEDIUM REMOVAL: counted per nexus."""
    if cmd.cdb[4] & _PREVENT:
        device.medium.prevented_by.add(cmd.tgt_dev)
    else:
        device.medium.prevented_by.discard(cmd.tgt_dev)
    return b""


def internal_target_failure(device: VdiskDevice, cmd: Command) -> Answer:
    """Service actions that SCST answers with an internal failure."""
    raise CheckCondition(sense.INTERNAL_TARGET_FAILURE)


def invalid_service_action(device: VdiskDevice, cmd: Command) -> Answer:
    """A known operation code with an unknown service action."""
    raise invalid_field_in_cdb(1, 0)


def invalid_opcode(device: VdiskDevice, cmd: Command) -> Answer:
    """Commands that other device types have."""
    raise CheckCondition(sense.INVALID_OPCODE)


COMMANDS: Final[Mapping[str, Callable[[VdiskDevice, Command], Answer]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            test_unit_ready,
            request_sense,
            inquiry,
            mode_sense,
            mode_select,
            read_capacity_10,
            read_capacity_16,
            log_sense,
            log_refused,
            send_diagnostic,
            receive_diagnostic_results,
            report_supported_opcodes,
            report_supported_tmf,
            report_identifying_information,
            report_timestamp,
            prevent_allow_medium_removal,
            internal_target_failure,
            invalid_service_action,
            invalid_opcode,
        )
    }
)
