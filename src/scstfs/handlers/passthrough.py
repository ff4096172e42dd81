"""SCSI devices of this machine, and their handlers (``dev_disk`` ...).

Every device in /sys/class/scsi_device is shown under its address H:C:I:L. At first it has no
handler, and without one it is not a logical unit.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scstfs.core import device_registration
from scstfs.core.device import DEFAULT_MAX_TGT_DEV_COMMANDS
from scstfs.core.trace import TraceLog
from scstfs.handlers.device_node import Opener, open_node
from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.handlers.scsi_kinds import KINDS
from scstfs.scsi.opcodes import DeviceType
from scstfs.sysfs.errors import SysfsError, invalid

if TYPE_CHECKING:
    from scstfs.core.scst import Scst

log = logging.getLogger(__name__)

SCSI_DEVICES: Final = Path("/sys/class/scsi_device")

_ADDRESS: Final = re.compile(r"\d{1,10}:\d{1,10}:\d{1,10}:\d{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class PassThroughHandler:
    """A handler of one type of SCSI devices."""

    name: str
    type: DeviceType
    trace: TraceLog
    threads_num: int = 1
    max_tgt_dev_commands: int = DEFAULT_MAX_TGT_DEV_COMMANDS


def pass_through_handlers() -> list[PassThroughHandler]:
    """dev_disk and so on; handlers of one type share their trace level.

    The second handler of a type, NAME_perf, behaves as the first. SCST's answers READ and WRITE
    with GOOD and moves no data, for measurements.
    """
    handlers = []
    for kind in KINDS.values():
        trace = TraceLog(kind.handler, "")
        handlers.append(PassThroughHandler(kind.handler, kind.type, trace))
        if kind.has_perf:
            perf = PassThroughHandler(f"{kind.handler}_perf", kind.type, trace, threads_num=0)
            handlers.append(perf)
    return handlers


class ScsiBus:
    """Keeps the core's devices in step with the SCSI devices of the machine."""

    def __init__(
        self, scst: Scst, directory: Path = SCSI_DEVICES, opener: Opener | None = None
    ) -> None:
        """``directory`` lists the machine's devices; ``opener`` opens their nodes."""
        self._scst = scst
        self._directory = directory
        self._opener = opener or partial(open_node, directory)

    async def rescan(self) -> None:
        """Look for changes; errors of a device or the system are logged, not raised.

        If the system does not list its devices, the known ones stay.
        """
        try:
            found = await self._scst.env.runtime.run_blocking(lambda: scan(self._directory))
        except OSError as error:
            log.error("SCSI devices cannot be looked for: %s", error)
            return
        for name, device in list(self._scst.devices.items()):
            if isinstance(device, ScsiDevice) and found.get(name) != device.found:
                device_registration.unregister(self._scst, device)
        for name, what in found.items():
            if name not in self._scst.devices and name not in self._scst.reserved_names:
                await self._appear(name, what)

    async def _appear(self, name: str, what: FoundDevice) -> None:
        device = ScsiDevice(self._scst, name, what, self._opener)
        try:
            with device_registration.reserved_name(self._scst, name):
                await device_registration.register(
                    self._scst, device, lambda: None, lambda nothing: None
                )
        except SysfsError as error:
            log.error("SCSI device %s cannot be used: %s", name, error)


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


def scan(directory: Path = SCSI_DEVICES) -> Mapping[str, FoundDevice]:
    """The SCSI devices of the machine by address; blocking.

    Raises OSError if they cannot be listed.
    """
    found: dict[str, FoundDevice] = {}
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
                # It went away, or does not say what it is.
                log.info("SCSI device %s is left out: %s", name, error)
    return found


def _examine(directory: Path, name: str) -> FoundDevice:
    entry = directory / name
    device = entry / "device"
    root = directory.resolve().parent.parent
    path = os.path.join("../..", os.path.relpath(entry.resolve(), root))
    return FoundDevice(
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
