"""A SCSI device that the machine lists but that cannot be sent commands.

This happens without the kernel's modules sg and bsg, or in a container that has the devices in its
/sys but not in its /dev. The device can be assigned and exported all the same. It answers INQUIRY,
and otherwise reports NOT READY.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.scsi import inquiry, sense, spc
from scstfs.scsi.identity import Identity
from scstfs.scsi.sense import NO_SENSE, CheckCondition, Sense, SenseKey
from scstfs.scsi.unit import LogicalUnit, Port

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.device import Answer
    from scstfs.handlers.scsi_device import ScsiDevice

#: LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED: no command makes it ready, so initiators
#: should neither wait nor try to start it.
NOT_REACHED: Final = Sense(SenseKey.NOT_READY, 0x04, 0x03)


def answer(device: ScsiDevice, cmd: Command) -> Answer:
    """Execute a command in place of the device; raises CheckCondition."""
    execute = _COMMANDS.get(cmd.parsed.op.execute)
    if execute is None or device.handler is None:
        raise refusal(device)
    return execute(device, cmd)


def refusal(device: ScsiDevice) -> CheckCondition:
    """The refusal of ``device``; without a handler it is not a logical unit."""
    return CheckCondition(sense.LUN_NOT_SUPPORTED if device.handler is None else NOT_REACHED)


def _inquiry(device: ScsiDevice, cmd: Command) -> Answer:
    found, target = device.found, cmd.session.target
    identity = Identity(
        t10_vend_id=found.vendor,
        prod_id=found.model,
        prod_rev_lvl=found.revision,
        t10_dev_id=b"",
        usn=b"",
        vend_specific_id=device.name.encode(),
    )
    port = Port(
        rel_tgt_id=target.rel_tgt_id,
        transport_version=cmd.session.scsi_transport_version,
        physical_version=target.phys_transport_version,
    )
    return inquiry.inquiry(cmd.cdb, LogicalUnit(identity=identity, device_type=device.type), port)


def _request_sense(device: ScsiDevice, cmd: Command) -> Answer:
    return spc.request_sense(cmd.cdb, NO_SENSE)


_COMMANDS: Final[Mapping[str, Callable[[ScsiDevice, Command], Answer]]] = MappingProxyType(
    {"inquiry": _inquiry, "request_sense": _request_sense}
)
