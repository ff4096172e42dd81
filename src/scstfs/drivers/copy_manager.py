"""The copy manager as a target driver: a target, a session, and a LUN of every virtual device.

EXTENDED COPY reaches devices through this session (``scstfs.drivers.copying``); this module has
what the tree shows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from scstfs.core import access
from scstfs.core.errors import Refused
from scstfs.core.session import Session
from scstfs.core.session_lifecycle import open_session
from scstfs.core.target import Acg, AcgDev, Target
from scstfs.core.trace import TraceLog
from scstfs.scsi.lun import MAX_LUN, AddressMethod
from scstfs.scsi.transport_id import Protocol, TransportId

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.scst import Scst

log = logging.getLogger(__name__)

TARGET_NAME: Final = "copy_manager_tgt"
SESSION_NAME: Final = "copy_manager_sess"

#: Allocation length of SCST's INQUIRY to a device (bytes).
INQUIRY_LENGTH: Final = 4096


class CopyManagerTarget(Target):
    """The one target; it has no groups, and read-only LUNs only of devices that are read-only."""

    carries_protection = True

    def check_group(self, name: str) -> None:
        """See Target."""
        raise Refused("Copy Manager does not support security groups")

    def check_lun(self, device: Device, *, read_only: bool) -> None:
        """See Target."""
        super().check_lun(device, read_only=read_only)
        # The LUNs that the driver makes are shown as read-only, and so a saved configuration has
        # that.
        if read_only and not device.read_only:
            raise Refused("Copy Manager does not support read only LUNs")

    def lun_added(self, acg_dev: AcgDev) -> None:
        """See Target."""
        _count_inquiry(self.session)

    @property
    def session(self) -> Session:
        """The one session."""
        return self.sessions[SESSION_NAME]


class _Transport:
    """There is no initiator."""

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """Does nothing: each copy reads the present state."""
        return True

    def close(self) -> None:
        """Does nothing: the session exists as long as the copy manager."""


class CopyManager:
    """The driver; as a watcher (``scstfs.core.scst.Watcher``) it is told of every device."""

    name: Final = "copy_manager"
    addr_method: Final = AddressMethod.PERIPHERAL
    protocol: Final = int(Protocol.COPY_MANAGER)
    scsi_transport_version: Final = 0

    def __init__(self, scst: Scst) -> None:
        """Register with ``scst`` as driver and as watcher."""
        self.scst: Final = scst
        self.env: Final = scst.env
        self.trace = TraceLog("copy_manager", "")
        #: Copies between devices that the initiator cannot reach are allowed.
        self.allow_not_connected_copy = False
        self.target = CopyManagerTarget(self, TARGET_NAME, scst.env.cpus)
        self.targets: dict[str, Target] = {TARGET_NAME: self.target}
        self._next_lun = 0
        open_session(self.target, SESSION_NAME, _Transport(), TransportId.copy_manager())
        scst.drivers[self.name] = self
        scst.watchers.append(self)

    @property
    def _acg(self) -> Acg:
        return self.target.default_acg

    # Watcher

    def device_appeared(self, device: Device) -> None:
        """Take the next LUN for a virtual device."""
        if not device.in_copy_manager:
            return
        lun = self._free_lun()
        if lun is None:
            log.warning("%s: no LUN is left for %s", TARGET_NAME, device)
            return
        access.add_lun(self._acg, device, lun, read_only=False, tell=False, ask=False)
        _count_inquiry(self.target.session)

    def device_changed(self, device: Device) -> None:
        """Count another INQUIRY."""
        for acg_dev in device.exports.values():
            if acg_dev.acg is self._acg:
                _count_inquiry(self.target.session)

    def device_disappears(self, device: Device) -> None:
        """Remove the LUN of the device."""

    def _free_lun(self) -> int | None:
        """The next number, reused only after all others; None if all are in use."""
        for _ in range(MAX_LUN):
            lun, self._next_lun = self._next_lun, (self._next_lun + 1) % MAX_LUN
            if lun not in self._acg.luns:
                return lun
        return None


def _count_inquiry(session: Session) -> None:
    """Count SCST's INQUIRY for a device's identification; no command is needed here."""
    session.counters.read.count(INQUIRY_LENGTH, 0)
