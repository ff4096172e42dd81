"""The dev handlers of virtual devices: what distinguishes the four, and adding and deleting."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scstfs.core import device_registration
from scstfs.handlers import vdisk_rows
from scstfs.handlers.settings import VdiskParameter, VdiskSettings, apply
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.handlers.vdisk_kind import VdiskKind
from scstfs.scsi.identity import default_identity
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import Parameter
from scstfs.sysfs.text import encode

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.core.session import TgtDev

log = logging.getLogger(__name__)

MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VdiskHandler(VdiskKind):
    """One of the handlers of virtual devices."""

    #: The usage text is not all: every parameter that any handler knows is accepted.
    accepts_all_parameters: bool = False
    needs_filename: bool = False
    #: Write options on a read-only device are refused.
    checks_write_options: bool = False

    @property
    def usage(self) -> tuple[str, ...]:
        """Parameters of add_device as the usage text lists them."""
        return vdisk_rows.usage(self.name)

    def _takes(self, setting: VdiskParameter) -> bool:
        return self.accepts_all_parameters or self.name in setting.handlers

    async def add_device(
        self,
        scst: Scst,
        name: str,
        given: Sequence[Parameter],
        check_name: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Create a device; raises SysfsError.

        ``check_name`` raises it for a name that cannot be shown; other errors come first. Opening
        files may take long: it is done in a thread, and the name is taken meanwhile.
        """
        device = self._new_device(scst, name, given)
        check_name(name)
        with device_registration.reserved_name(scst, name):
            await device_registration.register(
                scst, device, device.open_store, device.medium.install
            )
        log.info("%s: device %s added", self.name, device)

    def _new_device(self, scst: Scst, name: str, given: Sequence[Parameter]) -> VdiskDevice:
        """All checks that need no files, in SCST's order."""
        existing = scst.devices.get(name)
        if isinstance(existing, VdiskDevice) or name in scst.reserved_names:
            raise SysfsError(errno.EEXIST, f"Device {name} already exists")
        if len(encode(name)) > MAX_NAME:
            raise invalid(f"Name {name} is too long (max allowed {MAX_NAME})")
        chosen = VdiskSettings(block_shift=self.block_shift, size=self.size)
        self._check_serial_number(scst, name)
        apply(chosen, given, filter(self._takes, vdisk_rows.SETTINGS))
        caches = chosen.write_through or chosen.nv_cache
        if self.checks_write_options and chosen.read_only and caches:
            raise invalid(f"Write options on read only device {name}")
        if self.needs_filename and chosen.filename is None:
            raise invalid(f"File name required (device {name})")
        if re.search(r"[/.]", name):
            raise invalid(f"Device name {name} contains a forbidden character")
        if existing is not None:
            raise SysfsError(errno.EEXIST, f"Device {name} already exists")
        return VdiskDevice(scst, self, name, chosen)

    def _check_serial_number(self, scst: Scst, name: str) -> None:
        usn = default_identity(encode(name), scst.setup_id, self.vendor).usn
        for device in scst.devices.values():
            if isinstance(device, VdiskDevice) and device.identity.get("usn") == usn:
                raise SysfsError(errno.EEXIST, f"New usn conflicts with one of dev {device.name}")


def delete_device(scst: Scst, name: str) -> list[TgtDev]:
    """Delete a virtual device, whichever of the handlers it belongs to; raises SysfsError.

    Returns the nexuses that ended with it.
    """
    device = scst.devices.get(name)
    if not isinstance(device, VdiskDevice):
        raise invalid(f"Device {name} not found")
    return device_registration.unregister(scst, device)
