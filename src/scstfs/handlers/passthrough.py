"""SCSI devices of this machine, and the handlers that they can be given to (``dev_disk`` ...).

Every device in /sys/class/scsi_device is shown under its address H:C:I:L, without a handler at
first.  Commands to it are not passed through yet: a device with a handler says who it is and that
it is NOT READY; one without is no logical unit at all.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core import devices
from scstfs.core.device import DEFAULT_MAX_TGT_DEV_COMMANDS, Answer, Device
from scstfs.core.trace import TraceLog
from scstfs.scsi import inquiry
from scstfs.scsi.identity import Identity
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import NO_SENSE, CheckCondition, Sense, SenseKey
from scstfs.scsi.unit import LogicalUnit, Port
from scstfs.sysfs.errors import SysfsError, invalid

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.core.scst import Scst

log = logging.getLogger(__name__)

SCSI_DEVICES: Final = Path("/sys/class/scsi_device")

_ADDRESS: Final = re.compile(r"\d{1,10}:\d{1,10}:\d{1,10}:\d{1,20}", re.ASCII)

#: LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED: nothing an initiator could do makes it
#: ready, so it had better not wait or try to start it.
NOT_PASSED_THROUGH: Final = Sense(SenseKey.NOT_READY, 0x04, 0x03)


@dataclass(frozen=True, slots=True, eq=False)
class PassThroughHandler:
    """A handler of one type of SCSI devices."""

    name: str
    type: DeviceType
    trace: TraceLog
    threads_num: int = 1
    max_tgt_dev_commands: int = DEFAULT_MAX_TGT_DEV_COMMANDS


def pass_through_handlers() -> list[PassThroughHandler]:
    """dev_disk and its like; those of one type share their trace level."""
    handlers = []
    for name, kind, has_perf in _KINDS:
        trace = TraceLog(name, "")
        handlers.append(PassThroughHandler(name, kind, trace))
        if has_perf:
            handlers.append(PassThroughHandler(f"{name}_perf", kind, trace, threads_num=0))
    return handlers


_KINDS: Final = (
    ("dev_cdrom", DeviceType.CD_ROM, False),
    ("dev_changer", DeviceType.CHANGER, False),
    ("dev_disk", DeviceType.DISK, True),
    ("dev_modisk", DeviceType.OPTICAL, True),
    ("dev_processor", DeviceType.PROCESSOR, False),
    ("dev_raid", DeviceType.RAID, False),
    ("dev_tape", DeviceType.TAPE, True),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What the machine says about one of its devices.

    ``path`` leads to it from the directory that holds ``kernel/scst_tgt``: ``../../devices/...``.
    """

    type: DeviceType
    path: str
    vendor: bytes = b""
    model: bytes = b""
    revision: bytes = b""


class ScsiDevice(Device):
    """A SCSI device of this machine."""

    def __init__(self, scst: Scst, name: str, found: Found) -> None:
        super().__init__(scst, name, found.type)
        self.found = found

    @property
    def sysfs_path(self) -> str:
        """Where the link ``scsi_device`` leads."""
        return self.found.path

    def assign(self, handler: PassThroughHandler | None) -> None:
        """Give the device to a handler, or to none."""
        if handler is self.handler:
            return
        concerned = handler or self.handler
        if concerned is not None:
            change = "given to" if handler is not None else "taken from"
            concerned.trace.event("mgmt", "device %s is %s %s", self.name, change, concerned.name)
        self.handler = handler
        self.max_tgt_dev_commands = 0 if handler is None else handler.max_tgt_dev_commands
        self.configure_threads(
            0 if handler is None else handler.threads_num, self.threads_pool_type
        )
        self.refresh()

    def execute(self, cmd: Command) -> Answer:
        """Say who is there, and that nothing can be done with it."""
        answer = _COMMANDS.get(cmd.parsed.op.execute)
        if answer is None:
            raise CheckCondition(NOT_PASSED_THROUGH)
        return answer(self, cmd)

    def _inquiry(self, cmd: Command) -> Answer:
        found = self.found
        identity = Identity(
            t10_vend_id=found.vendor,
            prod_id=found.model,
            prod_rev_lvl=found.revision,
            t10_dev_id=b"",
            usn=b"",
            vend_specific_id=self.name.encode(),
        )
        target = cmd.session.target
        port = Port(
            rel_tgt_id=target.rel_tgt_id,
            transport_version=cmd.session.scsi_transport_version,
            physical_version=target.phys_transport_version,
        )
        unit = LogicalUnit(identity=identity, device_type=self.type)
        return inquiry.inquiry(cmd.cdb, unit, port)

    def _request_sense(self, cmd: Command) -> Answer:
        return NO_SENSE.encode()


_COMMANDS: Final = MappingProxyType(
    {"inquiry": ScsiDevice._inquiry, "request_sense": ScsiDevice._request_sense}
)


class ScsiBus:
    """Keeps the SCSI devices of the machine and those of the core the same."""

    def __init__(self, scst: Scst, directory: Path = SCSI_DEVICES) -> None:
        """``directory`` is where the machine lists them."""
        self._scst = scst
        self._directory = directory

    async def rescan(self) -> None:
        """Look again; never raises for what a device or the system does.

        Where the system does not list its devices, those that are known stay.
        """
        try:
            found = await self._scst.runtime.run_blocking(lambda: scan(self._directory))
        except OSError as error:
            log.error("SCSI devices can not be looked for: %s", error)
            return
        for name, device in list(self._scst.devices.items()):
            if isinstance(device, ScsiDevice) and found.get(name) != device.found:
                devices.unregister(self._scst, device)
        for name, what in found.items():
            if name not in self._scst.devices and name not in self._scst.reserved_names:
                await self._appear(name, what)

    async def _appear(self, name: str, what: Found) -> None:
        device = ScsiDevice(self._scst, name, what)
        try:
            with devices.reserved_name(self._scst, name):
                await devices.register(self._scst, device, lambda: None, lambda nothing: None)
        except SysfsError as error:
            log.error("SCSI device %s can not be used: %s", name, error)


def find(scst: Scst, address: str) -> ScsiDevice:
    """The device at an address H:C:I:L; what follows the fourth number is ignored.

    Raises SysfsError EINVAL.
    """
    numbers = re.match(r"(\d+):(\d+):(\d+):(\d+)", address, re.ASCII)
    if numbers is None:
        raise invalid(f'Syntax error on "{address}"')
    name = ":".join(str(int(number)) for number in numbers.groups())
    device = scst.devices.get(name)
    if not isinstance(device, ScsiDevice):
        raise invalid(f"Device {name} not found")
    return device


def scan(directory: Path = SCSI_DEVICES) -> Mapping[str, Found]:
    """The SCSI devices of the machine by address; blocking.

    Raises OSError if they can not be listed.
    """
    found: dict[str, Found] = {}
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        # A machine without SCSI.
        return found
    for name in names:
        if _ADDRESS.fullmatch(name):
            try:
                found[name] = _examine(directory, name)
            except (OSError, ValueError) as error:
                # It went away, or is of a kind that does not say what it is.
                log.info("SCSI device %s is left out: %s", name, error)
    return found


def _examine(directory: Path, name: str) -> Found:
    entry = directory / name
    device = entry / "device"
    root = directory.resolve().parent.parent
    path = os.path.join("../..", os.path.relpath(entry.resolve(), root))
    return Found(
        type=DeviceType(int((device / "type").read_bytes())),
        path=path,
        vendor=_text(device / "vendor"),
        model=_text(device / "model"),
        revision=_text(device / "rev"),
    )


def _text(file: Path) -> bytes:
    try:
        return file.read_bytes().strip()
    except FileNotFoundError:
        return b""
