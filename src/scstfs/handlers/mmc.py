"""Multi-media commands (MMC-6) of vcdrom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.device import Answer
from scstfs.scsi import mmc
from scstfs.scsi.mmc import MediaEvent

if TYPE_CHECKING:
    from scstfs.handlers.vdisk import VdiskDevice


def read_toc(device: VdiskDevice, cmd: Command) -> Answer:
    """READ TOC/PMA/ATIP."""
    return mmc.read_toc(cmd.cdb, device.blocks)


def get_configuration(device: VdiskDevice, cmd: Command) -> Answer:
    """GET CONFIGURATION."""
    return mmc.get_configuration(cmd.cdb, 0 if device.medium.store is None else device.blocks)


def get_event_status_notification(device: VdiskDevice, cmd: Command) -> Answer:
    """GET EVENT STATUS NOTIFICATION: each nexus gets each change of the medium once."""
    event = None
    if mmc.wants_media_event(cmd.cdb):
        event = device.medium.events.get(cmd.tgt_dev, MediaEvent.NO_CHANGE)
        # If only the header fits, the event has not been reported.
        if cmd.parsed.length > mmc.EVENT_HEADER_LENGTH:
            device.medium.events.pop(cmd.tgt_dev, None)
    return mmc.event_status(event, present=device.medium.store is not None)


def mechanism_status(device: VdiskDevice, cmd: Command) -> Answer:
    """MECHANISM STATUS."""
    return mmc.mechanism_status()


def read_disc_information(device: VdiskDevice, cmd: Command) -> Answer:
    """READ DISC INFORMATION."""
    return mmc.read_disc_information(cmd.cdb)


COMMANDS: Final[Mapping[str, Callable[[VdiskDevice, Command], Answer]]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            read_toc,
            get_configuration,
            get_event_status_notification,
            mechanism_status,
            read_disc_information,
        )
    }
)
